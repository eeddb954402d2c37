"""Launches: a context that an app is started in, told by an opaque handle.

SMART App Launch 2.2, "Launch App: EHR Launch": the EHR opens the app's launch URL with ``iss`` and
``launch``; the app gives ``launch`` back when it asks for authorisation. "Scopes and Launch
Context": patient, encounter, fhirContext, intent.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fhir_server.postgres.database import Database
from resources.errors import Invalid
from smart_apps.authorization import secret

LIFETIME_SECONDS: Final = 300

KEEP: Final = """
INSERT INTO launch (digest, login, practitioner_role, context, expires)
VALUES ($1, $2, $3, $4, $5)
"""
FIND: Final = """
SELECT login, practitioner_role, context FROM launch WHERE digest = $1 AND expires > $2
"""
SWEEP: Final = "DELETE FROM launch WHERE expires <= $1"

MEMBERS: Final = frozenset({"patient", "encounter", "fhirContext", "intent"})
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
_RELATIVE: Final = re.compile(r"(?P<type>[A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}")
_INTENT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CONTEXT_MEMBERS: Final = frozenset({"reference", "canonical", "identifier", "type", "role"})
_MOST: Final = 20


class Launch(NamedTuple):
    """Who launched an app, in what role, and the context as it stands in a token response."""

    login: str
    practitioner_role: str
    context: Mapping[str, Any]


async def keep(database: Database, launch: Launch, instant: int) -> str:
    """Keep a context for a few minutes; give its handle."""
    handle = secret.new()
    text = json.dumps(launch.context)
    expires = instant + LIFETIME_SECONDS * 1_000_000
    params = (secret.digest(handle), launch.login, launch.practitioner_role, text, expires)
    await database.run(KEEP, params)
    return handle


async def find(database: Database, handle: str, instant: int) -> Launch | None:
    """Give the launch of a handle, if it is not too old."""
    rows = await database.run(FIND, (secret.digest(handle), instant))
    if not rows:
        return None
    login, practitioner_role, text = rows[0]
    return Launch(login, practitioner_role, json.loads(text))


def checked(context: Mapping[str, Any]) -> dict[str, Any]:
    """Take a context as a launching application gives it.

    Raises
    ------
    Invalid
        A member that is none, an id that is none, or a fhirContext that is no list of objects
        with a relative reference. Patient and Encounter have members of their own and stand in
        fhirContext only in a role other than ``launch``.
    """
    if unknown := set(context) - MEMBERS:
        raise Invalid(f"not part of a launch context: {', '.join(sorted(unknown))[:200]}")
    for name in ("patient", "encounter"):
        if name in context and not _matches(_ID, context[name]):
            raise Invalid(f"{name} is the id of a resource here")
    if "intent" in context and not _matches(_INTENT, context["intent"]):
        raise Invalid("intent is a word")
    others = context.get("fhirContext", [])
    if not isinstance(others, list) or len(others) > _MOST:
        raise Invalid(f"fhirContext is a list of at most {_MOST} objects")
    for other in others:
        _check_other(other)
    return dict(context)


def references(context: Mapping[str, Any]) -> list[str]:
    """List what a context leads to, as relative references: the launcher must see it."""
    named = [
        f"{type}/{context[name]}"
        for name, type in (("patient", "Patient"), ("encounter", "Encounter"))
        if name in context
    ]
    return named + [other["reference"] for other in context.get("fhirContext", [])]


def _check_other(other: Any) -> None:
    if not isinstance(other, dict) or set(other) - _CONTEXT_MEMBERS:
        raise Invalid("each fhirContext is an object with a reference, and perhaps type and role")
    if not _matches(_RELATIVE, other.get("reference")):
        raise Invalid("a fhirContext has a relative reference to a resource here")
    type = str(other["reference"]).partition("/")[0]
    if type in {"Patient", "Encounter"} and other.get("role", "launch") == "launch":
        raise Invalid(f"{type} is no fhirContext unless in a role of its own")


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None

"""SMART scopes: the grammar of ``patient/Task.rs?code=...`` and what a set of them grants.

SMART App Launch 2.2, "Scopes for requesting FHIR Resources": version 2 scopes, and the version 1
scopes (``.read``, ``.write``, ``.*``) that its section "Scope equivalence" translates. The letters
stand in the order c r u d s and nowhere else.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl

from resources.errors import Invalid

Context = Literal["patient", "user", "system"]
Only = tuple[tuple[str, str], ...]
"""Search parameters that a scope demands, all of them: ``(("code", "acknowledge"),)``."""

LETTERS: Final = {
    "c": ("create",),
    "r": ("read", "vread", "history-instance"),
    "u": ("update", "patch"),
    "d": ("delete",),
    "s": ("search-type", "history-type", "search-system", "history-system"),
}
"""Which interactions a letter covers. SMART App Launch 2.2, "SMART's scopes are used to delegate
access": type and system history count as search."""

VERSION_1: Final = {"read": "rs", "write": "cud", "*": "cruds"}
"""SMART App Launch 2.2, "Scopes for requesting FHIR Resources", scope equivalence."""

LAUNCH: Final = re.compile(
    r"openid|profile|fhirUser|offline_access|online_access"
    r"|launch(/[a-z]+(\?[^\s\"\\]+)?)?|fhircast/[A-Za-z-]+\.(read|write)"
)
"""Scopes that grant no FHIR resource by themselves and are passed through as they are."""

_RESOURCE: Final = re.compile(
    r"(?P<context>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]{1,63})"
    r"\.(?:(?P<old>read|write|\*)|(?P<letters>(?=[cruds])c?r?u?d?s?)(?:\?(?P<only>[^\s]+))?)"
)
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LONGEST: Final = 8000


class Grant(NamedTuple):
    """One resource scope, read: in this context, these letters, on this type, only these."""

    context: Context
    type: str
    letters: str
    only: Only = ()


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a token grants.

    Parameters
    ----------
    grants
        The resource scopes.
    launch
        The others, as they were written: ``openid``, ``launch/patient``, ...
    text
        All scopes as requested, for answers that repeat them.
    """

    grants: tuple[Grant, ...]
    launch: frozenset[str] = frozenset()
    text: str = ""

    def allow(self, type: str, letter: str, context: Context | None = None) -> bool:
        """Say whether any scope grants this letter on this type, in this context or in any."""
        return any(context in (None, grant.context) for grant in self.granting(type, letter))

    def granting(self, type: str, letter: str) -> Iterator[Grant]:
        """Give the scopes that grant this letter on this type."""
        for grant in self.grants:
            if letter in grant.letters and grant.type in ("*", type):
                yield grant

    def alternatives(
        self, type: str, letter: str, contexts: Iterable[Context]
    ) -> tuple[Only, ...] | None:
        """Give what a resource must match to be granted: one of these.

        None says that nothing is granted, an empty tuple that nothing need be matched.
        """
        wanted = frozenset(contexts)
        granting = [grant.only for grant in self.granting(type, letter) if grant.context in wanted]
        if not granting:
            return None
        return () if () in granting else tuple(dict.fromkeys(granting))

    def within(self, allowed: "Scopes") -> bool:
        """Say whether nothing here goes beyond `allowed`, as a client's registration must."""
        return self.launch <= allowed.launch and all(
            any(
                letter in other.letters
                and other.context == grant.context
                and other.type in ("*", grant.type)
                and set(other.only) <= set(grant.only)
                for other in allowed.grants
            )
            for grant in self.grants
            for letter in grant.letters
        )


EVERYTHING: Final = Scopes((Grant("system", "*", "cruds"),), text="system/*.cruds")


@lru_cache(maxsize=1024)
def parse(text: str) -> Scopes:
    """Read a space separated list of scopes.

    Raises
    ------
    Invalid
        A scope is neither a resource scope nor one of the known others. Modifiers and chains
        inside a search-scoped scope are experimental in the standard, and refused.

    Examples
    --------
    >>> parse("user/Task.rs openid").grants
    (Grant(context='user', type='Task', letters='rs', only=()),)
    >>> parse("system/*.read").allow("Patient", "s")
    True
    >>> parse("user/Task.sr")
    Traceback (most recent call last):
    resources.errors.Invalid: not a scope of this server: user/Task.sr
    """
    if len(text) > _LONGEST:
        raise Invalid(f"the scopes are longer than {_LONGEST} characters")
    grants: list[Grant] = []
    launch: set[str] = set()
    for word in text.split():
        if LAUNCH.fullmatch(word):
            launch.add(word)
        else:
            grants.append(_grant(word))
    return Scopes(tuple(dict.fromkeys(grants)), frozenset(launch), " ".join(text.split()))


def _grant(word: str) -> Grant:
    """Read one resource scope."""
    found = _RESOURCE.fullmatch(word)
    if found is None:
        raise Invalid(f"not a scope of this server: {word[:200]}")
    context: Context = found["context"]  # type: ignore[assignment]
    letters = VERSION_1[found["old"]] if found["old"] else found["letters"]
    return Grant(context, found["type"], letters, _only(word, found["only"] or ""))


def _only(word: str, query: str) -> Only:
    """Read the search parameters of a search-scoped scope."""
    if not query:
        return ()
    pairs = parse_qsl(query, keep_blank_values=True)
    well_formed = len(pairs) == query.count("&") + 1
    if not well_formed or not all(_PARAMETER.fullmatch(code) and value for code, value in pairs):
        raise Invalid(f"only plain search parameters can narrow a scope: {word[:200]}")
    return tuple(sorted(pairs))

"""Who is at the pages, and what of the record they may see: all of it asked in their name.

Each page is a row: where it is, for which roles, what it shows and what its form does. Whoever is
signed in asks as themselves through the gate; every page that is given is in the ledger first.

OWASP ASVS 5.0 V3.4, V3.5 (headers, CSRF), V7 (sessions); R014.1 of the requirements.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.responses import Response

from fhir_server.access.principal import Principal
from fhir_server.access.relationship import OPEN_TYPES
from fhir_server.audit import configuration, ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Transaction
from fhir_server.store.store import Store
from smart_apps.admin.markup import Markup
from smart_apps.authorization.key_sets import KeySets
from smart_apps.users import User

CLIENT: Final = "isocentre-admin"
"""What asks in a person's name, as the ledger has it."""

SCOPE: Final = "user/*.cruds"

AUDITOR: Final = "auditor"
OFFICER: Final = "safety-officer"
ADMINISTRATOR: Final = "administrator"
EVERYBODY: Final = frozenset({AUDITOR, OFFICER, ADMINISTRATOR})
"""The roles that these pages are for."""


class Page(NamedTuple):
    """What a page shows."""

    title: str
    body: Markup
    problem: str = ""
    status: int = 200


class Onward(NamedTuple):
    """Where a browser goes on to, by GET."""

    address: str


Answer = Page | Onward | Response

NAMED: Final = frozenset({"Organization", "PractitionerRole", "Practitioner"}) & OPEN_TYPES
"""What is called by its name on a page."""


@dataclass(frozen=True)
class Visit:
    """Somebody at a page.

    Parameters
    ----------
    user
        Who, in the role they chose.
    fields
        Of the form that was sent; of a GET, of the address.
    place
        The names in the address, such as ``id``.
    token
        Ties the forms of the page to the browser.
    origin
        The address that the request came from.
    """

    user: User
    fields: Mapping[str, str]
    place: Mapping[str, str]
    token: str
    origin: str

    @property
    def principal(self) -> Principal:
        """Who asks, to the gate."""
        return self.user.principal(SCOPE, CLIENT)

    def context(self, interaction: str) -> RequestContext:
        """One request in their name."""
        return RequestContext(self.principal, interaction, self.origin)

    def field(self, name: str) -> str:
        """The value of a field, without the spaces around it."""
        return self.fields.get(name, "").strip()


class Desk:
    """What the pages work with.

    Parameters
    ----------
    base_url
        Our FHIR base.
    key_sets
        Knows where clients may publish their keys.
    """

    def __init__(
        self, database: Database, store: Store, ledger: Ledger, base_url: str, key_sets: KeySets
    ) -> None:
        self.database = database
        self.store = store
        self.ledger = ledger
        self.base_url = base_url
        self.key_sets = key_sets

    async def note(self, visit: Visit, what: str, *, detail: str = "", outcome: int = 0) -> None:
        """Put into the ledger what somebody looked at or did here."""
        row = ledger.entry(
            visit.context("operation"), outcome=outcome, query=what, detail=detail or None
        )
        await self.ledger.append(row)

    @asynccontextmanager
    async def change(self, visit: Visit, what: str, detail: str) -> AsyncIterator[Transaction]:
        """Change who may do what in the block, and put it into the ledger; or neither."""
        async with self.database.transaction() as change:
            yield change
            context = visit.context(configuration.SECURITY)
            await configuration.note(change, context, detail, query=what)

    async def names(self, references: Iterable[str]) -> dict[str, str]:
        """What organisations and people are called.

        The directory is open to everybody who has signed in. It is read by the server, so that a
        page of the audit is not filled with the names that the page before had to look up.
        """
        kinds = {each: each.partition("/")[0] for each in dict.fromkeys(references)}
        wanted = [each for each, kind in kinds.items() if kind in NAMED]
        context = RequestContext(Principal.system("admin"), "read", "admin")
        found = await self.store.many(context, wanted)
        people = {
            reference: str(one.json.get("practitioner", {}).get("reference", ""))
            for reference, one in found.items()
            if one.type == "PractitionerRole"
        }
        behind = await self.store.many(context, [each for each in people.values() if each])
        named: dict[str, str] = {}
        for reference, one in found.items():
            person = behind.get(people.get(reference, ""), one).json
            named[reference] = _name(person) or reference
        return named


def _name(json: Mapping[str, object]) -> str:
    name = json.get("name")
    if isinstance(name, str):
        return name
    if isinstance(name, list) and name:
        first = name[0]
        parts = [*first.get("prefix", ()), *first.get("given", ()), first.get("family", "")]
        return str(first.get("text") or " ".join(filter(None, parts)))
    return ""


class Place(NamedTuple):
    """One page.

    Parameters
    ----------
    address
        Below ``/admin``; ``{id}`` stands for a name in it.
    title
        In the menu; empty for a page that others lead to.
    roles
        Who may see it.
    show
        What it shows.
    act
        What its form does, if it has one.
    """

    address: str
    title: str
    roles: frozenset[str]
    show: Callable[[Desk, Visit], Awaitable[Answer]]
    act: Callable[[Desk, Visit], Awaitable[Answer]] | None = None

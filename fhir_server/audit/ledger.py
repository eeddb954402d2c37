"""The audit ledger: compact rows, only ever added, durable before the answer they tell of.

A row that comes with other work is written by the same statement as that work (`COLUMNS` and
`arrays` are for those statements); all others go through `Ledger.append`, where the rows of
concurrent requests share one insert.

References
----------
* IHE BALP: what an audit record must hold
* DICOM PS3.15 Annex A.5
* FHIR AuditEvent.outcome
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from fhir_server.access import emergency, purposes
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Blobs, Database, Integers, Texts, unnest
from fhir_server.postgres.gathering import Gathering

SUCCESS: Final = 0
MINOR_FAILURE: Final = 4
SERIOUS_FAILURE: Final = 8
"""AuditEvent.outcome: 4, "Minor failure", is a request refused; 8, "Serious failure", our fault."""


class Entry(NamedTuple):
    """One row of the ledger: the columns of `tables.Audit` that a writer gives, in order."""

    instant: int
    interaction: str
    outcome: int
    subject: str
    organization: str | None
    client: str | None
    role: str
    origin: str
    request: str
    type: str | None = None
    id: str | None = None
    version: int | None = None
    patient: str | None = None
    query: str | None = None
    hits: int | None = None
    detail: str | None = None
    body: bytes | None = None
    purpose: str | None = None


_ARRAYS: Final[dict[str, tuple[type[list[Any]], str]]] = {
    "instant": (Integers, "bigint[]"),
    "outcome": (Integers, "bigint[]"),
    "version": (Integers, "bigint[]"),
    "hits": (Integers, "bigint[]"),
    "body": (Blobs, "bytea[]"),
}

COLUMNS: Final = ", ".join(Entry._fields)
"""For ``insert into audit(COLUMNS) select ...``, in the order of `Entry`."""


def unnested(first: int, names: Sequence[str] = Entry._fields) -> str:
    """The ``unnest(...)`` of entries whose arrays are the parameters from number `first` on.

    With `names`, of those columns only, as `arrays` gives them.
    """
    return unnest(*(_ARRAYS.get(name, (Texts, "text[]"))[1] for name in names), first=first)


INSERT: Final = f"insert into audit({COLUMNS}) select * from {unnested(1)}"


def arrays(entries: Sequence[Entry], names: Sequence[str] = Entry._fields) -> list[list[Any]]:
    """Entries turned into one array a column, ready to be parameters."""
    if names is not Entry._fields:
        picked = itemgetter(*map(Entry._fields.index, names))
        entries = [picked(each) for each in entries]
    columns = zip(*entries, strict=True) if entries else ((),) * len(names)
    return [
        _ARRAYS.get(name, (Texts, ""))[0](values)
        for name, values in zip(names, columns, strict=True)
    ]


def entry(
    context: RequestContext,
    *,
    outcome: int = SUCCESS,
    type: str | None = None,
    id: str | None = None,
    version: int | None = None,
    patient: str | None = None,
    query: str | None = None,
    hits: int | None = None,
    detail: str | None = None,
    body: bytes | None = None,
) -> Entry:
    """What the ledger says about this request."""
    who = context.principal
    return Entry(
        context.instant,
        context.interaction,
        outcome,
        who.subject,
        who.organization,
        who.client or None,
        who.role if who.emergency is None else emergency.told(who.role, who.emergency),
        context.origin,
        context.request_id,
        type,
        id,
        version,
        patient,
        query,
        hits,
        detail,
        body,
        _purpose(who),
    )


def _purpose(who: Principal) -> str | None:
    """What somebody asks for: in an emergency that, else what their token names, or their role."""
    if who.emergency is not None:
        return purposes.IN_EMERGENCY
    return who.purpose or purposes.BY_ROLE.get(who.role)


class Ledger:
    """The way to append rows that come with no other work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathering: Gathering[Entry, None] = Gathering(self._insert)

    async def append(self, entry: Entry) -> None:
        """Append one row; it is durable when this returns."""
        await self._gathering.ask(entry)

    async def _insert(self, entries: list[Entry]) -> list[Exception | None]:
        await self._database.run(INSERT, arrays(entries))
        return [None] * len(entries)

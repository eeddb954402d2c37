"""Referrers: what still refers to a resource that is to be deleted.

Search parameters reach most references; the others have a term of their own (`citations`), so the
index answers for all of them. A reference that another transaction writes in the very moment of a
deletion is not seen: whoever follows it is told that the resource is gone.

References
----------
* FHIR http, "delete": "the server ... refuses ... because of referential integrity ... 409"
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

from fhir_server.access import gate, withheld
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from fhir_server.search.terms import initials
from fhir_server.store.citations import CITED
from fhir_server.store.draft import Draft, Key
from resources.errors import Conflict, Forbidden
from resources.search_parameters import generation, indexed, types

NAMED: Final = 20
"""Referrers looked at to name one that the asker may see."""

REFERRERS: Final = f"""
select c.type, c.id, c.patient, c.organizations,
  $4::text is null or {withheld.seen("c", "$4::text", "$5::bigint")}
from current as c
where terms && $1::text[] and not deleted
  and (type, id) not in (select * from unnest($2::text[], $3::text[]))
limit {NAMED}
"""


class Runs(Protocol):
    """What runs a statement: the database, or a transaction."""

    async def run(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and fetch its rows."""


async def require_none(runs: Runs, drafts: Mapping[Key, Draft]) -> None:
    """Refuse deletions that would leave a reference to nothing.

    What the same unit of work writes is not asked for here: its references are checked by itself.

    Raises
    ------
    Conflict
        Something refers to it. It is named if the asker may see it.
    """
    gone = [draft for draft in drafts.values() if draft.write.stored.deleted]
    for draft in gone:
        keys = list(drafts)
        rows = await runs.run(
            REFERRERS,
            (
                Texts(sought(*draft.key)),
                Texts([type for type, _ in keys]),
                Texts([id for _, id in keys]),
                draft.context.principal.organization,
                draft.context.instant,
            ),
        )
        if rows:
            by = next((f"{row[0]}/{row[1]}" for row in rows if _sees(draft.context, row)), "")
            raise Conflict(
                f"{draft.write.stored.reference} is referred to{f' by {by}' if by else ''}.",
                draft.at,
            )


def sought(type: str, id: str) -> list[str]:
    """The terms of which a referrer has one.

    Examples
    --------
    >>> "SR.requester=Organization/o" in sought("Organization", "o")
    True
    """
    return [f"{name}={type}/{id}" for name in _names(type, generation())]


@lru_cache(maxsize=500)
def _names(target: str, generation: int) -> list[str]:
    """Begin the terms of every parameter by which a resource may refer to this type."""
    names = {
        f"{initials(type)}.{row.code}": None
        for type in types()
        for row in indexed(type).values()
        if row.kind == "reference" and (not row.targets or target in row.targets)
    }
    return [CITED, *names]


def _sees(context: RequestContext, row: Iterable[Any]) -> bool:
    """Whether the asker certainly sees a referrer: its organisation is a party to it."""
    type, _, patient, organizations, is_shown = row
    try:
        reach = gate.reach(context, "r", type)
    except Forbidden:
        return False
    return reach.everything or (
        is_shown
        and not reach.only
        and reach.patient in (None, patient)
        and reach.organization in (organizations or ())
    )

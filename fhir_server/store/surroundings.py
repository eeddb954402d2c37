"""What a unit of work needs around it: what the layers above hand in, and what a store shares.

The store calls rules, completions and consequences without knowing them; `main` hands them over.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store.referrers import Runs
from fhir_server.store.targets import Targets
from fhir_server.store.versions import Batch
from resources.content import Content

if TYPE_CHECKING:
    from fhir_server.store.unit_of_work import Work

Rule = Callable[[dict[str, Any] | None, dict[str, Any], RequestContext], None]
Completion = Callable[["Work", Content], Awaitable[Content]]
Follow = Callable[["Work"], Awaitable[None]]
Keep = Callable[[Runs, Mapping[str, Any]], Awaitable[None]]


async def nothing_follows(work: "Work") -> None:
    """Let nothing follow from what was written."""


class Hooks(NamedTuple):
    """What the layers above hand in.

    Parameters
    ----------
    rules
        By type: refuse a change from one state to another.
    completions
        By type: add to a resource what the server puts there, before it is written.
    follow
        Write what has become necessary; called once, when the block is left.
    keeps
        By type: refuse to delete a resource that says what is still held elsewhere, whatever the
        rules of the house.
    unaided
        Types whose completion looks behind no reference but as the asker: what they refer to may be
        written later in the same unit of work.
    """

    rules: Mapping[str, Rule] = {}
    completions: Mapping[str, Completion] = {}
    follow: Follow = nothing_follows
    keeps: Mapping[str, Keep] = {}
    unaided: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every unit of work of a store shares.

    Parameters
    ----------
    write
        Write a batch in a transaction of its own.
    base_url
        Our FHIR base: references below it are ours.
    strictly
        The rules of the house hold, not only those of FHIR.
    keep_days
        How long an organisation still sees a patient after its work for them has ended.
    """

    database: Database
    targets: Targets
    write: Callable[[Batch], Awaitable[None]]
    hooks: Hooks
    base_url: str
    strictly: bool
    keep_days: int

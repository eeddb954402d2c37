"""A draft: one version that a unit of work is going to write."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fhir_server.context import RequestContext
from fhir_server.search.stored import Stored
from fhir_server.store.standing import FULL, Standing
from fhir_server.store.targets import Target
from resources.content import Content

Key = tuple[str, str]
"""Type and id."""

NOBODYS: Final = Standing(None, frozenset())


class Write(NamedTuple):
    """One version written by a unit of work; `before` is None where nothing was."""

    before: dict[str, Any] | None
    after: dict[str, Any]
    stored: Stored


@dataclass(slots=True)
class Draft:
    """One version to write.

    Parameters
    ----------
    context
        As whom it is written.
    target
        What was current before the unit of work; None where nothing was.
    at
        Where in the request it stands.
    creator
        The organisation that created the resource; empty for the system.
    relates
        How far it relates those whom it is the first to name.
    """

    write: Write
    content: Content
    context: RequestContext
    target: Target | None
    at: str
    creator: str = ""
    standing: Standing = NOBODYS
    relates: int = FULL

    @property
    def key(self) -> Key:
        """Type and id."""
        return self.write.stored.type, self.write.stored.id

"""Stored: one version of a resource, as the bytes that were stored.

FHIR http, "vread": what is served is what was stored. The JSON is parsed only when somebody looks
into it; most of what a search finds is passed on as bytes.
"""

from functools import cached_property
from typing import Any, NamedTuple

import orjson


class _Version(NamedTuple):
    type: str
    id: str
    version: int
    instant: int
    interaction: str
    text: bytes


class Stored(_Version):
    """One version: type, id, version, instant, interaction and text, in this order.

    `instant` is in microseconds since 1970 UTC. `interaction` is C, U or D; the text of a deletion
    is empty.

    Examples
    --------
    >>> flag = Stored("Flag", "f1", 2, 0, "U", b'{"resourceType":"Flag","id":"f1"}')
    >>> flag.reference, flag.deleted, flag.json["id"]
    ('Flag/f1', False, 'f1')
    """

    @cached_property
    def json(self) -> dict[str, Any]:
        """The parse of `text`; not to be changed. A deletion has no members."""
        parsed: dict[str, Any] = orjson.loads(self.text) if self.text else {}
        return parsed

    @property
    def deleted(self) -> bool:
        """Whether this version says that the resource is no more."""
        return self.interaction == "D"

    @property
    def reference(self) -> str:
        """The relative reference, without the version."""
        return f"{self.type}/{self.id}"

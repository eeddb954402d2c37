"""Worklists: the named searches that people and systems work from, one file each.

References
----------
* R004.1, R005.1, R006.3, R011.1 of the requirements; `worklists/README.md`
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

_PLACE: Final = re.compile(r"\{(\w+)\}")


class Worklist(NamedTuple):
    """One worklist; fields as `worklists/README.md` tells."""

    name: str
    title: str
    description: str
    roles: frozenset[str]
    type: str
    criteria: tuple[tuple[str, str], ...]
    filters: Mapping[str, str]
    topic: str

    def filled(self, values: Mapping[str, Sequence[str]]) -> list[tuple[str, str]] | None:
        """The parameters of the search for one asker; None if there is nothing they could ask.

        Parameters
        ----------
        values
            Of each name in braces what it stands for: several values, or none.

        Examples
        --------
        >>> pairs = worklist("corrections").filled({"organization": ["Organization/a"]})
        >>> pairs[2]
        ('owner', 'Organization/a')
        >>> worklist("corrections").filled({}) is None
        True
        """
        pairs: list[tuple[str, str]] = []
        for name, text in self.criteria:
            listed = [part for each in text.split(",") for part in _put(each, values)]
            if not listed:
                return None
            pairs.append((name, ",".join(dict.fromkeys(listed))))
        return pairs


def _put(text: str, values: Mapping[str, Sequence[str]]) -> list[str]:
    """One value of a criterion, once for each of what stands in its braces."""
    place = _PLACE.search(text)
    if place is None:
        return [text]
    found = values.get(place[1], ())
    return [f"{text[: place.start()]}{value}{text[place.end() :]}" for value in found]


@cache
def worklists() -> tuple[Worklist, ...]:
    """All of them, in the order in which they are shown."""
    folder = Path(__file__).parent / "worklists"
    read = [json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")]
    return tuple(_worklist(said) for said in sorted(read, key=lambda said: int(said["order"])))


def worklist(name: str) -> Worklist:
    """The worklist of that name."""
    return next(one for one in worklists() if one.name == name)


def _worklist(said: Mapping[str, object]) -> Worklist:
    type_, _, criteria = str(said["search"]).partition("?")
    pairs = [pair.partition("=") for pair in criteria.split("&")]
    roles, filters = said["roles"], said["filters"]
    assert isinstance(roles, list)
    assert isinstance(filters, dict)
    return Worklist(
        name=str(said["name"]),
        title=str(said["title"]),
        description=str(said["description"]),
        roles=frozenset(roles),
        type=type_,
        criteria=tuple((name, value) for name, _, value in pairs),
        filters=filters,
        topic=str(said["topic"]),
    )

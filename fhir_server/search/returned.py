"""How the result of a search is to look: its order, its size, and what comes along.

What only shapes the answer (``_elements``, ``_format``) is known here, so that it is not taken for
a criterion, and left to the rim.

References
----------
* FHIR R4 search, "Managing Returned Resources"; FHIR http, "paging"
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from fhir_server.search.page import Sort
from resources.errors import Invalid
from resources.search_parameters import parameter, types

DEFAULT_COUNT: Final = 20
MOST_COUNT: Final = 1000
"""More may be asked for; a page is no longer."""
MOST_KEYS: Final = 10
MOST_INCLUDES: Final = 50


class Include(NamedTuple):
    """``_include`` or ``_revinclude``: what `source` refers to by `code`, of one type or of any."""

    source: str
    code: str
    target: str | None = None


class Wanted:
    """What has been read of it so far, for a search on one type."""

    def __init__(self, type: str) -> None:
        self.type = type
        self.count = DEFAULT_COUNT
        self.total: str | None = None
        self.cursor: str | None = None
        self.sort: tuple[Sort, ...] = ()
        self.includes: list[Include] = []
        self.revincludes: list[Include] = []

    def read(self, name: str, value: str) -> bool:
        """Read one parameter; False if it cannot be used.

        Only includes may have a modifier, ``:iterate``, which is not supported.

        Raises
        ------
        Invalid
            The value is not one that the parameter may have.
        """
        return name in PARAMETERS and PARAMETERS[name](self, value)


def included_types(include: Include) -> frozenset[str]:
    """Name the types that an include may bring in."""
    if include.target is not None:
        return frozenset({include.target})
    found = parameter(include.source, include.code)
    return frozenset(found.targets if found and found.targets else types())


_Read: TypeAlias = Callable[[Wanted, str], bool]


def _count(wanted: Wanted, value: str) -> bool:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise Invalid("_count is a whole number, 0 or more", at="_count")
    wanted.count = min(int(value), MOST_COUNT)
    return True


def _total(wanted: Wanted, value: str) -> bool:
    if value not in ("none", "estimate", "accurate"):
        raise Invalid("_total is none, estimate or accurate", at="_total")
    wanted.total = value
    return True


def _cursor(wanted: Wanted, value: str) -> bool:
    wanted.cursor = value
    return True


def _sort(wanted: Wanted, value: str) -> bool:
    """Read ``_sort=-date,code``; a key that cannot be sorted by makes the whole be ignored."""
    keys = []
    for name in value.split(","):
        code = name.removeprefix("-")
        found = parameter(wanted.type, code)
        if found is None:
            return False
        keys.append(Sort(code, found.kind, name != code))
    if len(keys) > MOST_KEYS:
        raise Invalid(f"more than {MOST_KEYS} keys to sort by", at="_sort")
    wanted.sort = tuple(dict.fromkeys(keys))
    return True


def _include(wanted: Wanted, value: str) -> bool:
    include = _read_include(wanted, value, "_include")
    known = include.source == wanted.type and parameter(include.source, include.code)
    if known:
        wanted.includes.append(include)
    return bool(known)


def _revinclude(wanted: Wanted, value: str) -> bool:
    include = _read_include(wanted, value, "_revinclude")
    known = include.source in types() and parameter(include.source, include.code)
    if not known or include.target not in (None, wanted.type):
        return False
    wanted.revincludes.append(include)
    return True


def _read_include(wanted: Wanted, value: str, name: str) -> Include:
    """Read ``Source:parameter`` or ``Source:parameter:Target``."""
    source, _, rest = value.partition(":")
    code, _, target = rest.partition(":")
    if not source or not code or (target and target not in types()):
        raise Invalid(f"{name} is Type:parameter or Type:parameter:Type", at=name)
    found = parameter(source, code) if source in types() else None
    if found is not None and found.kind != "reference":
        raise Invalid(f"{code} of {source} is not a reference", at=name)
    if len(wanted.includes) + len(wanted.revincludes) >= MOST_INCLUDES:
        raise Invalid(f"more than {MOST_INCLUDES} includes", at=name)
    return Include(source, code, target or None)


def _summary(wanted: Wanted, value: str) -> bool:
    """``_summary=count`` is a question about the number; the rest of it shapes the answer."""
    if value == "count":
        wanted.count = 0
    return True


def _left_to_the_answer(wanted: Wanted, value: str) -> bool:
    return True


PARAMETERS: Final[Mapping[str, _Read]] = {
    "_count": _count,
    "_cursor": _cursor,
    "_elements": _left_to_the_answer,
    "_format": _left_to_the_answer,
    "_include": _include,
    "_pretty": _left_to_the_answer,
    "_revinclude": _revinclude,
    "_sort": _sort,
    "_summary": _summary,
    "_total": _total,
}

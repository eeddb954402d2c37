"""How the result of a search is to look: its order, its size, and what comes along.

What only shapes the answer (``_elements``, ``_format``) is known here, so that it is not taken for
a criterion, and left to the rim.

References
----------
* FHIR R4 search, "Managing Returned Resources"; FHIR http, "paging"
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from fhir_server.search.criterion import Unusable
from fhir_server.search.page import Sort, is_sortable
from resources.errors import Invalid, Unsupported
from resources.models import TYPES
from resources.search_parameters import SearchParameter, parameter, parameters, types

DEFAULT_COUNT: Final = 20
MOST_COUNT: Final = 1000
"""More may be asked for; a page is no longer."""
MOST_KEYS: Final = 10
MOST_INCLUDES: Final = 50

ANY: Final = "*"
"""Stands for every reference parameter of a type."""


class Include(NamedTuple):
    """``_include`` or ``_revinclude``: what `source` refers to by `code`, of one type or of any.

    Parameters
    ----------
    iterate
        It applies to what was included as well, again and again.
    named
        The client names the type; otherwise it takes what there is.
    """

    source: str
    code: str
    target: str | None = None
    iterate: bool = False
    named: bool = True


class Wanted:
    """What has been read of it so far, for a search on one type."""

    def __init__(self, type: str) -> None:
        self.type = type
        self.count = DEFAULT_COUNT
        self.total: str | None = None
        self.cursor: str | None = None
        self.sort: tuple[Sort, ...] = ()
        self.types: tuple[str, ...] = ()
        self.includes: list[Include] = []
        self.revincludes: list[Include] = []
        self.asked = 0
        self.iterate = False

    def read(self, name: str, value: str) -> None:
        """Read one parameter.

        Raises
        ------
        Unusable
            It is known, but cannot be used so.
        Invalid
            The value is not one that the parameter may have.
        """
        code, colon, modifier = name.partition(":")
        if colon and (code not in INCLUDES or modifier != "iterate"):
            raise Unusable(f"{code} has no modifier {modifier}", at=code, code="not-supported")
        self.iterate = bool(colon)
        PARAMETERS[code](self, value)


def included_types(include: Include) -> frozenset[str]:
    """Name the types that an include may bring in."""
    if include.target is not None:
        return frozenset({include.target})
    found = parameter(include.source, include.code)
    return frozenset(found.targets if found and found.targets else types())


_Read: TypeAlias = Callable[[Wanted, str], None]


def _count(wanted: Wanted, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise Invalid("_count is a whole number, 0 or more", at="_count")
    wanted.count = min(int(value), MOST_COUNT)


def _total(wanted: Wanted, value: str) -> None:
    if value not in ("none", "estimate", "accurate"):
        raise Invalid("_total is none, estimate or accurate", at="_total")
    wanted.total = value


def _cursor(wanted: Wanted, value: str) -> None:
    wanted.cursor = value


def _sort(wanted: Wanted, value: str) -> None:
    """Read ``_sort=-date,code``; a key that cannot be sorted by makes the whole be ignored."""
    keys = []
    for name in value.split(","):
        code = name.removeprefix("-")
        found = parameter(wanted.type, code)
        of_all = wanted.type in TYPES or code in ("_id", "_lastUpdated")
        if found is None or not is_sortable(found.kind) or not of_all:
            raise Unusable(f"nothing is sorted by {code} here", at="_sort", code="not-supported")
        keys.append(Sort(code, found.kind, name != code))
    if len(keys) > MOST_KEYS:
        raise Invalid(f"more than {MOST_KEYS} keys to sort by", at="_sort")
    wanted.sort = tuple(dict.fromkeys(keys))


def _type(wanted: Wanted, value: str) -> None:
    """Read ``_type=Task,ServiceRequest``, which only a search on several types has."""
    if wanted.type in TYPES:
        raise Unusable("_type is for a search on several types", at="_type", code="not-supported")
    named = [each for each in value.split(",") if each]
    if not named or not set(named) <= TYPES:
        raise Invalid("_type names types of resources that are stored here", at="_type")
    wanted.types = tuple(dict.fromkeys((*wanted.types, *named)))


def _include(wanted: Wanted, value: str) -> None:
    value = f"{wanted.type}:{ANY}" if value == ANY else value
    source, target, codes = _references(wanted, value, "_include")
    if source != wanted.type and not wanted.iterate:
        raise Unusable(
            f"a match is no {source}: what comes from one is for _include:iterate",
            at="_include",
            code="not-supported",
        )
    wanted.includes += [Include(source, code, target, wanted.iterate) for code in codes]


def _revinclude(wanted: Wanted, value: str) -> None:
    if value == ANY and wanted.iterate:
        raise Unusable(
            "say which type is to be brought in, as in _revinclude:iterate=Provenance:*",
            at="_revinclude",
            code="not-supported",
        )
    if value == ANY and wanted.type in TYPES:
        wanted.revincludes += _from_anywhere(wanted.type)
        return
    value = f"{wanted.type}:{ANY}" if value == ANY else value
    source, target, codes = _references(wanted, value, "_revinclude")
    if target not in (None, wanted.type) and not wanted.iterate:
        raise Unusable(f"a match is no {target}", at="_revinclude", code="not-supported")
    wanted.revincludes += [Include(source, code, target, wanted.iterate) for code in codes]


def _from_anywhere(target: str) -> list[Include]:
    """Every reference that any type may make to this one."""
    return [
        Include(source, each.code, named=False)
        for source in sorted(types())
        for each in parameters(source).values()
        if _leads(each, target)
    ]


def _references(wanted: Wanted, value: str, name: str) -> tuple[str, str | None, list[str]]:
    """Read ``Source:parameter`` or ``Source:parameter:Target``, the parameter perhaps ``*``."""
    source, _, rest = value.partition(":")
    code, _, target = rest.partition(":")
    if not source or not code or (target and target not in types()):
        raise Invalid(f"{name} is Type:parameter or Type:parameter:Type", at=name)
    wanted.asked += 1
    if wanted.asked > MOST_INCLUDES:
        raise Invalid(f"more than {MOST_INCLUDES} includes", at=name)
    if wanted.type not in TYPES:
        raise Unusable(f"a search on several types has no {name}", at=name, code="not-supported")
    if source not in types():
        raise Unusable(f"there is no type {source} here", at=name, code="not-supported")
    if code == ANY:
        return (
            source,
            target or None,
            [each.code for each in parameters(source).values() if _leads(each, target)],
        )
    found = parameter(source, code)
    if found is None:
        raise Unusable(f"there is no {code} of {source} here", at=name, code="not-supported")
    if found.kind != "reference":
        raise Invalid(f"{code} of {source} is not a reference", at=name)
    return source, target or None, [code]


def _leads(found: SearchParameter, target: str) -> bool:
    is_reference = found.kind == "reference"
    return is_reference and (not target or not found.targets or target in found.targets)


def _summary(wanted: Wanted, value: str) -> None:
    """``_summary=count`` is a question about the number; the rest of it shapes the answer."""
    if value == "count":
        wanted.count = 0


def _left_to_the_answer(wanted: Wanted, value: str) -> None:
    return None


def _contained(wanted: Wanted, value: str) -> None:
    """``_contained=false`` is what this server does; else the matches would be others."""
    if value not in ("false", "true", "both"):
        raise Invalid("_contained is false, true or both", at="_contained")
    if value != "false":
        raise Unsupported("contained resources are not searched", at="_contained")


def _refused(name: str, why: str) -> _Read:
    """Say of what the standard has and this server has not."""

    def read(wanted: Wanted, value: str) -> None:
        raise Unusable(why, at=name, code="not-supported")

    return read


PARAMETERS: Final[Mapping[str, _Read]] = {
    "_contained": _contained,
    "_containedType": _refused("_containedType", "contained resources are not searched"),
    "_content": _refused("_content", "the text of resources is not searched"),
    "_count": _count,
    "_cursor": _cursor,
    "_elements": _left_to_the_answer,
    "_filter": _refused("_filter", "filter expressions are not read; write them as parameters"),
    "_format": _left_to_the_answer,
    "_include": _include,
    "_pretty": _left_to_the_answer,
    "_query": _refused("_query", "there are no named queries"),
    "_revinclude": _revinclude,
    "_score": _refused("_score", "matches are not ranked"),
    "_sort": _sort,
    "_summary": _summary,
    "_text": _refused("_text", "the narrative of resources is not searched"),
    "_total": _total,
    "_type": _type,
}
"""FHIR R4 search, "Summary" of the parameters: those that are no criterion, and those not had."""

INCLUDES: Final = frozenset({"_include", "_revinclude"})
"""Parameters that may have ``:iterate``."""

"""Search parameters that clients define: what one must be to be indexed, and how far it is.

A definition is checked when it is stored. One that is to be active is kept as a draft with the
tag `BUILDING` until the resources that are there are indexed by it.

References
----------
* FHIR R4 SearchParameter; FHIR R4 search, "Custom search parameters"
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import orjson

from resources import codes, paths, search_parameters, structures
from resources.errors import Issue, Unprocessable
from resources.models import DATATYPES, TYPES
from resources.path_grammar import ExpressionError
from resources.search_parameters import SearchParameter

BUILDING: Final = {"system": f"{codes.BASE}/CodeSystem/search-index", "code": "building"}
"""The tag of a definition that is active once its index is complete."""

CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9\-]{0,63}")
LONGEST: Final = 2000
"""Characters of an expression."""

KINDS: Final = frozenset(search_parameters.KINDS) - {"composite", "special"}
"""What a client may define."""


def is_ours(definition: Mapping[str, Any]) -> bool:
    """Whether it is one of those that the server publishes itself."""
    return definition.get("url") in search_parameters.published()


def is_wanted(definition: Mapping[str, Any]) -> bool:
    """Whether resources are to be indexed by it: it is active, or it is being built."""
    return definition.get("status") == "active" or is_building(definition)


def is_building(definition: Mapping[str, Any]) -> bool:
    """Whether it is to be active once its index is complete."""
    return definition.get("status") == "draft" and BUILDING in _tags(definition)


def begun(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a definition that is now to be built."""
    tags = [each for each in _tags(definition) if each != BUILDING]
    return {"status": "draft", "meta": {**definition.get("meta", {}), "tag": [*tags, BUILDING]}}


def done(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a definition whose index is complete."""
    meta = {key: value for key, value in definition.get("meta", {}).items() if key != "tag"}
    tags = [each for each in _tags(definition) if each != BUILDING]
    return {"status": "active", "meta": {**meta, "tag": tags} if tags else meta or None}


def check(definition: Mapping[str, Any]) -> None:
    """Refuse a definition that resources cannot be indexed by.

    Raises
    ------
    Unprocessable
        With an issue for everything that is wrong.
    """
    issues = [*_issues(definition, search_parameters.indexed)]
    if issues:
        raise Unprocessable(issues=issues)


def is_usable(definition: Mapping[str, Any]) -> bool:
    """Whether resources can be indexed by a definition that is stored, however it came there."""
    return not [*_issues(definition, search_parameters.of_the_server)]


def compiles(definition: Mapping[str, Any], type: str) -> str:
    """Say why an expression cannot be followed from a type; empty if it can."""
    try:
        path = paths.compile(definition["expression"], type, EVERY_CHOICE)
    except ExpressionError as error:
        return f"the expression cannot be compiled: {error}"
    return "" if path.branches else f"the expression says nothing of {type}"


def _issues(
    definition: Mapping[str, Any], of: Callable[[str], Mapping[str, SearchParameter]]
) -> Iterator[Issue]:
    """Find what is wrong; `of` names the parameters that a type has already."""

    def issue(text: str, member: str) -> Issue:
        return Issue("invalid", text, f"SearchParameter.{member}")

    kind, code = definition.get("type"), str(definition.get("code", ""))
    bases = definition.get("base", ())
    if kind not in KINDS:
        yield issue(f"parameters of type {kind} are not indexed for clients", "type")
    if CODE.fullmatch(code) is None:
        yield issue("a code is a letter, then letters, digits and hyphens", "code")
    expression = definition.get("expression")
    if not isinstance(expression, str) or len(expression) > LONGEST:
        yield issue(f"an expression of {LONGEST} characters at most is needed", "expression")
        return
    for base in bases:
        if base not in TYPES or base == "AuditEvent":
            yield issue(f"resources of type {base} are not searched here", "base")
            continue
        known = of(base).get(code)
        if known is not None and known.url != definition.get("url"):
            yield issue(f"{base} has a parameter {code} already", "code")
        elif why := compiles(definition, base):
            yield issue(why, "expression")


def _tags(definition: Mapping[str, Any]) -> list[Any]:
    tags: list[Any] = definition.get("meta", {}).get("tag", [])
    return tags


class _EveryChoice(Mapping[str, Collection[str]]):
    """The choice elements of all types, looked up in their definitions.

    A path that is no element of its type is an error: a client has mistyped it.
    """

    def __getitem__(self, path: str) -> Collection[str]:
        root, *names = path.split(".")
        if not names or root not in (*TYPES, *DATATYPES):
            raise KeyError(path)
        shape = structures.shape(root)
        for n, name in enumerate(names):
            members = shape.members or shape.compile()
            found = {key: each for key, each in members.items() if each.name == name}
            if not found:
                raise ExpressionError(f"{path} is not an element")
            types = [each.datatype for key, each in found.items()
                     if key != name and not key.startswith("_")]  # fmt: skip
            if n == len(names) - 1 and types:
                return types
            part = next((each.test for each in found.values()), None)
            if types or not isinstance(part, structures.Shape):
                raise KeyError(path)
            shape = part
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


EVERY_CHOICE: Final = _EveryChoice()


def digest_of(definition: Mapping[str, Any]) -> bytes:
    """All of a definition that the index depends on, as bytes to be hashed."""
    members = ("url", "code", "base", "type", "expression", "target")
    return orjson.dumps({each: definition.get(each) for each in members})

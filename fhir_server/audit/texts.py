"""Conditions on the text of events that others posted, and what they share with those on columns.

An event from outside is kept as it came (`body`); a pattern of JSON says what must be in it. Each
function writes a condition on a row `a`, or gives the one that does.

References
----------
* FHIR R4 auditevent, "Search Parameters"
* PostgreSQL documentation: jsonb containment, jsonpath
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from fhir_server.search import string, token
from fhir_server.search.query import Value
from fhir_server.search.terms import initials
from fhir_server.search.token import Token

Parameters = list[Any]

Condition = Callable[[Value, int, Parameters], str]

_FOLDED: Final = r"regexp_replace(normalize(lower({}), NFKD), E'[\u0300-\u036f]', '', 'g')"
"""A text as `search.string.fold` has it."""

_BODY: Final = "convert_from(a.body, 'UTF8')::jsonb"


def place(value: Any, params: Parameters) -> str:
    """Add a parameter, and give its place."""
    params.append(value)
    return f"${len(params)}"


def told(pattern: Callable[[Any], Any]) -> Condition:
    """Match what only events from outside say."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        if isinstance(value, Token):
            return received(pattern(value.code or ""), params)
        asked = references(value) if isinstance(value, tuple) else [str(value)]
        return " or ".join(received(pattern(one), params) for one in asked)

    return write


def text(ours: str | None, path: str, modifier: str) -> Condition:
    """Match a text: by its beginning, a part or all of it; of ours by a column, if we have it."""

    def write(value: Value, instant: int, params: Parameters) -> str:
        asked = str(value) if modifier == "exact" else string.fold(str(value))
        sought = f"{place(asked, params)}::text"
        compared = {
            "": f"{_FOLDED} ^@ {sought}",
            "exact": f"{{}} = {sought}",
            "contains": f"strpos({_FOLDED}, {sought}) > 0",
        }[modifier]
        each = compared.format("t #>> '{}'")
        found = f"exists (select from jsonb_path_query({_BODY}, '{path}') as t where {each})"
        outside = f"case when a.body is not null then {found} else false end"
        if ours is None:
            return outside
        return f"({compared.format(ours)} or {outside})"

    return write


def identified(types: Iterable[str], ours: str, pattern: Callable[[Any], list[Any]]) -> Condition:
    """Match an identifier: as an event from outside says it, or of the resource that ours name.

    `ours` is the condition on a row `a`, of a resource `c` that has it, and of the bare value.
    """

    def write(value: Value, instant: int, params: Parameters) -> str:
        assert isinstance(value, Token)
        terms = [
            term for type in types for term in token.sought(f"{initials(type)}.identifier", value)
        ]
        names: dict[str, str] = {}
        if "{resource}" in ours:
            names["resource"] = (
                f"from current as c where c.terms && {place(terms, params)}::text[]"
                f" and c.type = any({place(list(types), params)}::text[]) and not c.deleted"
            )
        if "{value}" in ours:
            bare = None if value.system else value.code
            names["value"] = f"{place(bare, params)}::text"
        condition = ours.format(**names)
        said = {"system": value.system, "value": value.code}
        identifier = {"identifier": {name: part for name, part in said.items() if part}}
        outside = [received(one, params) for one in pattern(identifier)]
        return f"(a.body is null and ({condition}) or {' or '.join(outside)})"

    return write


def given(value: Value) -> dict[str, str]:
    """Say what a coding must have to be the one that was asked for."""
    assert isinstance(value, Token)
    asked = {"system": value.system, "code": value.code}
    return {name: part for name, part in asked.items() if part}


def received(pattern: Any, params: Parameters) -> str:
    """Match an event from outside whose text has this in it."""
    said = place(orjson.dumps(pattern).decode(), params)
    return f"case when a.body is not null then {_BODY} @> {said}::jsonb else false end"


def references(value: Value) -> list[str]:
    """The references that a value means."""
    if isinstance(value, tuple):
        return [each for each in value if isinstance(each, str)]
    return []

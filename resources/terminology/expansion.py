"""Expand a value set: from what it includes and excludes to the list of its codes.

References
----------
* FHIR R4 ValueSet, "Composition Rules" and "Value Set Expansion"; ValueSet.compose.include.filter
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from resources.errors import NotFound, Unprocessable, Unsupported
from resources.terminology.systems import CodeSystem, Concept

Json = Mapping[str, Any]

DEEPEST: Final = 20
"""Value sets that import one another: no honest chain is longer."""


class Contained(NamedTuple):
    """One code of an expansion."""

    system: str
    code: str
    display: str = ""
    abstract: bool = False


class Shelf(Protocol):
    """Where code systems and value sets are found by their canonical URLs."""

    def code_system(self, url: str) -> CodeSystem:
        """Give a code system, or refuse with NotFound."""

    def value_set(self, url: str) -> Json:
        """Give a value set, or refuse with NotFound."""


Key = tuple[str, str]


def expand(value_set: Json, shelf: Shelf, within: Sequence[str] = ()) -> dict[Key, Contained]:
    """List the codes of a value set, in order, by system and code.

    A value set that came with its expansion and says nothing of how it was made is taken at its
    word.

    Parameters
    ----------
    within
        The canonical URLs of the value sets that import this one.

    Raises
    ------
    NotFound
        A code system or value set that it needs is not held here.
    Unsupported
        Its code system cannot be listed, or a filter is one that we do not apply.
    Unprocessable
        It imports itself.
    """
    url = str(value_set.get("url", ""))
    if url in within or len(within) > DEEPEST:
        raise Unprocessable("The value set imports itself.", "ValueSet.compose", "processing")
    compose = value_set.get("compose")
    if compose is None:
        return _given(value_set.get("expansion", {}).get("contains", ()))
    path = [*within, url] if url else list(within)
    found: dict[Key, Contained] = {}
    for part in compose.get("include", ()):
        for key, code in _part(part, shelf, path).items():
            found.setdefault(key, code)
    for part in compose.get("exclude", ()):
        for key in _part(part, shelf, path):
            found.pop(key, None)
    return found


def _given(contains: Sequence[Json]) -> dict[Key, Contained]:
    found: dict[Key, Contained] = {}
    for each in contains:
        if "code" in each:
            key = (str(each.get("system", "")), str(each["code"]))
            found[key] = Contained(*key, each.get("display", ""), each.get("abstract", False))
        found.update(_given(each.get("contains", ())))
    return found


def _part(part: Json, shelf: Shelf, within: Sequence[str]) -> dict[Key, Contained]:
    """Expand one include or exclude: what is in its system and in all the sets that it names."""
    sides = [expand(shelf.value_set(url), shelf, within) for url in part.get("valueSet", ())]
    if "system" in part:
        sides.insert(0, _of_system(part, shelf))
    if not sides:
        return {}
    first, *others = sides
    return {key: code for key, code in first.items() if all(key in each for each in others)}


def _of_system(part: Json, shelf: Shelf) -> dict[Key, Contained]:
    url = str(part["system"])
    if "concept" in part:
        return {(url, each["code"]): _listed(each, url, shelf) for each in part["concept"]}
    system = shelf.code_system(url)
    if not system.complete:
        raise Unsupported(f"Not all codes of {url} are held here.", code="too-costly")
    chosen: list[Concept] = [*system.concepts.values()]
    for row in part.get("filter", ()):
        passes = _filter(row, system)
        chosen = [each for each in chosen if passes(each)]
    return {
        (url, each.code): Contained(url, each.code, each.display, each.abstract) for each in chosen
    }


def _listed(each: Json, url: str, shelf: Shelf) -> Contained:
    """A code that the value set lists: shown as it says, or else as its system does."""
    if "display" in each:
        return Contained(url, each["code"], each["display"])
    try:
        known = shelf.code_system(url).find(each["code"])
    except NotFound:
        known = None
    return Contained(url, each["code"], known.display if known else "")


def _filter(row: Json, system: CodeSystem) -> Callable[[Concept], bool]:
    """Make the test of one filter; a regular expression of a stranger's is not run."""
    name, how, value = str(row["property"]), str(row["op"]), str(row["value"])
    on_concept = name in ("concept", "code")
    if on_concept and how in _BY_HIERARCHY:
        return _BY_HIERARCHY[how](system, value)
    if how not in _BY_VALUE:
        raise Unsupported(f"The filter {how} on {name} is not applied here.", code="too-costly")
    accepts = _BY_VALUE[how](value)

    def passes(concept: Concept) -> bool:
        values = [concept.code] if on_concept else [v for k, v in concept.properties if k == name]
        return accepts(values)

    return passes


def _among(codes: frozenset[str]) -> Callable[[Concept], bool]:
    return lambda concept: concept.code in codes


_BY_HIERARCHY: Final[Mapping[str, Callable[[CodeSystem, str], Callable[[Concept], bool]]]] = {
    "is-a":          lambda system, code: _among(system.descendants(code)),
    "descendent-of": lambda system, code: _among(system.descendants(code) - {code}),
    "is-not-a":      lambda system, code: _among(
        frozenset(system.concepts) - system.descendants(code)
    ),
    "generalizes":   lambda system, code: _among(system.ancestors(code)),
}  # fmt: skip
"""FHIR filter-operator, those that ask for the place of a concept in the hierarchy."""

_BY_VALUE: Final[Mapping[str, Callable[[str], Callable[[Sequence[str]], bool]]]] = {
    "=":      lambda value: lambda values: value in values,
    "in":     lambda value: lambda values: any(v in _split(value) for v in values),
    "not-in": lambda value: lambda values: not any(v in _split(value) for v in values),
    "exists": lambda value: lambda values: bool(values) == (value == "true"),
}  # fmt: skip
"""FHIR filter-operator, those that compare a property."""


def _split(value: str) -> list[str]:
    return [each.strip() for each in value.split(",")]

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

MOST: Final = 500_000
"""Codes that one expansion looks at, each as often as an include, a filter or an import does."""


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


def expand(value_set: Json, shelf: Shelf) -> dict[Key, Contained]:
    """List the codes of a value set, in order, by system and code.

    A value set that came with its expansion and says nothing of how it was made is taken at its
    word.

    Raises
    ------
    NotFound
        A code system or value set that it needs is not held here.
    Unsupported
        Its code system cannot be listed, a filter is one that we do not apply, or it takes more
        than `MOST`.
    Unprocessable
        It imports itself.
    """
    return _Expansion(shelf).of(value_set)


class _Expansion:
    """The expansion of one value set: what it imports is expanded once, and its work is counted."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._imported: dict[str, dict[Key, Contained]] = {}
        self._within: list[str] = []
        self._left = MOST

    def of(self, value_set: Json) -> dict[Key, Contained]:
        url = str(value_set.get("url", ""))
        if (url and url in self._within) or len(self._within) > DEEPEST:
            raise Unprocessable("The value set imports itself.", "ValueSet.compose", "processing")
        compose = value_set.get("compose")
        if compose is None:
            return _given(value_set.get("expansion", {}).get("contains", ()))
        self._within.append(url)
        found: dict[Key, Contained] = {}
        for part in compose.get("include", ()):
            for key, code in self._part(part).items():
                found.setdefault(key, code)
        for part in compose.get("exclude", ()):
            for key in self._part(part):
                found.pop(key, None)
        self._within.pop()
        return found

    def _part(self, part: Json) -> dict[Key, Contained]:
        """Expand one include or exclude: what is in its system and in all the sets it names."""
        sides = [self._import(url) for url in dict.fromkeys(part.get("valueSet", ()))]
        if "system" in part:
            sides.insert(0, self._of_system(part))
        if not sides:
            return {}
        first, *others = sides
        self._look_at(len(first) * len(sides))
        return {key: code for key, code in first.items() if all(key in each for each in others)}

    def _import(self, url: str) -> dict[Key, Contained]:
        if url not in self._imported:
            self._imported[url] = self.of(self._shelf.value_set(url))
        return self._imported[url]

    def _of_system(self, part: Json) -> dict[Key, Contained]:
        url = str(part["system"])
        if "concept" in part:
            self._look_at(len(part["concept"]))
            return {
                (url, each["code"]): _listed(each, url, self._shelf) for each in part["concept"]
            }
        system = self._shelf.code_system(url)
        if not system.complete:
            raise Unsupported(f"Not all codes of {url} are held here.", code="too-costly")
        chosen: list[Concept] = [*system.concepts.values()]
        for row in part.get("filter", ()):
            self._look_at(len(system.concepts))
            passes = _filter(row, system)
            chosen = [each for each in chosen if passes(each)]
        self._look_at(len(chosen))
        return {
            (url, each.code): Contained(url, each.code, each.display, each.abstract)
            for each in chosen
        }

    def _look_at(self, codes: int) -> None:
        self._left -= codes
        if self._left < 0:
            raise Unsupported(f"It takes looking at more than {MOST} codes.", code="too-costly")


def _given(contains: Sequence[Json]) -> dict[Key, Contained]:
    found: dict[Key, Contained] = {}
    for each in contains:
        if "code" in each:
            key = (str(each.get("system", "")), str(each["code"]))
            found[key] = Contained(*key, each.get("display", ""), each.get("abstract", False))
        found.update(_given(each.get("contains", ())))
    return found


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


def _in(wanted: frozenset[str]) -> Callable[[Sequence[str]], bool]:
    return lambda values: not wanted.isdisjoint(values)


def _not_in(unwanted: frozenset[str]) -> Callable[[Sequence[str]], bool]:
    return lambda values: unwanted.isdisjoint(values)


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
    "in":     lambda value: _in(_split(value)),
    "not-in": lambda value: _not_in(_split(value)),
    "exists": lambda value: lambda values: bool(values) == (value == "true"),
}  # fmt: skip
"""FHIR filter-operator, those that compare a property."""


def _split(value: str) -> frozenset[str]:
    return frozenset(each.strip() for each in value.split(","))

"""Code systems: what codes there are, how they are shown, and which is above which.

A system comes from our own tables, from the rows of ``code_systems.ndjson`` or from a CodeSystem
that a client has stored; here they are all the same.

References
----------
* FHIR R4 CodeSystem, "Determining subsumption"; CodeSystem.hierarchyMeaning, caseSensitive
* HL7 Terminology: ``subsumedBy`` gives a concept of v3 a second parent
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

Json = Mapping[str, Any]

PARENTS: Final = frozenset({"subsumedBy", "parent"})
"""FHIR R4 CodeSystem, "Properties": what names a parent besides the nesting."""


class Concept(NamedTuple):
    """One code: how it is shown, what is directly above it, whether it only gathers others."""

    code: str
    display: str = ""
    parents: tuple[str, ...] = ()
    abstract: bool = False
    definition: str = ""
    properties: tuple[tuple[str, str], ...] = ()


class CodeSystem:
    """All codes of a system.

    Parameters
    ----------
    complete
        All codes are listed; of a fragment, a code that is not may still be good.
    """

    def __init__(
        self,
        url: str,
        concepts: Iterable[Concept],
        *,
        version: str = "",
        name: str = "",
        case_sensitive: bool = True,
        complete: bool = True,
    ) -> None:
        self.url = url
        self.version = version
        self.name = name
        self.case_sensitive = case_sensitive
        self.complete = complete
        self.concepts: Mapping[str, Concept] = {each.code: each for each in concepts}

    def find(self, code: str) -> Concept | None:
        """Look a code up; in some systems the case of its letters does not matter."""
        found = self.concepts.get(code)
        if found is None and not self.case_sensitive:
            found = self._folded.get(code.casefold())
        return found

    def ancestors(self, code: str) -> frozenset[str]:
        """Give all codes above one, and itself."""
        return _reached(code, lambda each: self.concepts[each].parents, self.concepts)

    def descendants(self, code: str) -> frozenset[str]:
        """Give all codes below one, and itself."""
        return _reached(code, lambda each: self._children.get(each, ()), self.concepts)

    def subsumes(self, above: str, below: str) -> bool:
        """Tell whether the one code means all that the other does, or more.

        Examples
        --------
        >>> pets = CodeSystem("urn:pets", [Concept("dog"), Concept("pug", parents=("dog",))])
        >>> pets.subsumes("dog", "pug"), pets.subsumes("pug", "dog"), pets.subsumes("dog", "dog")
        (True, False, True)
        """
        return above in self.ancestors(below)

    @cached_property
    def _children(self) -> Mapping[str, list[str]]:
        below: dict[str, list[str]] = {}
        for concept in self.concepts.values():
            for parent in concept.parents:
                below.setdefault(parent, []).append(concept.code)
        return below

    @cached_property
    def _folded(self) -> Mapping[str, Concept]:
        return {each.code.casefold(): each for each in self.concepts.values()}


def _reached(start: str, next: Any, known: Mapping[str, Concept]) -> frozenset[str]:
    """Follow `next` from a code as far as it leads; a circle is walked once."""
    seen, waiting = {start}, [start]
    while waiting:
        code = waiting.pop()
        if code in known:
            new = [each for each in next(code) if each not in seen]
            seen.update(new)
            waiting += new
    return frozenset(seen)


def of_rows(row: Json) -> CodeSystem:
    """Read a line of ``code_systems.ndjson``: concepts are ``[code, display, parent, ...]``."""
    abstract = frozenset(row.get("abstract", ()))
    return CodeSystem(
        row["url"],
        (
            Concept(code, display, tuple(parents), code in abstract)
            for code, display, *parents in row["concept"]
        ),
        version=row.get("version", ""),
        name=row.get("title") or row.get("name", ""),
        case_sensitive=row.get("caseSensitive", True),
    )


def of_resource(resource: Json) -> CodeSystem:
    """Read a CodeSystem resource that passed validation.

    Examples
    --------
    >>> pets = of_resource({"url": "urn:pets", "content": "complete", "concept": [
    ...     {"code": "dog", "concept": [{"code": "pug", "display": "Pug"}]}]})
    >>> pets.concepts["pug"].parents
    ('dog',)
    """
    return CodeSystem(
        str(resource.get("url", "")),
        _concepts(resource),
        version=str(resource.get("version", "")),
        name=str(resource.get("title") or resource.get("name") or ""),
        case_sensitive=resource.get("caseSensitive", True),
        complete=resource.get("content") == "complete",
    )


def _concepts(node: Json, parent: str = "") -> Iterator[Concept]:
    for each in node.get("concept", ()):
        properties = tuple(
            (prop["code"], _text(value))
            for prop in each.get("property", ())
            for key, value in prop.items()
            if key.startswith("value")
        )
        above = ([parent] if parent else []) + [v for k, v in properties if k in PARENTS]
        yield Concept(
            each["code"],
            each.get("display", ""),
            tuple(dict.fromkeys(above)),
            ("notSelectable", "true") in properties,
            each.get("definition", ""),
            properties,
        )
        yield from _concepts(each, each["code"])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.get("code", "")) if isinstance(value, Mapping) else str(value)

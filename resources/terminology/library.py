"""The library: the code systems and value sets that are held here, found by canonical URL.

Held are those of R4 that an element of a stored type is bound to and that can be listed, the
context groups of DICOM that imaging uses, and our own. What clients have stored comes on top
(`Library.beside`), and is found first unless the standard says otherwise: nobody redefines HL7's.

References
----------
* FHIR R4 References, "Canonical URLs": ``url|version``
* ``README.md`` beside this module: sources and licences
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from resources import codes
from resources.errors import NotFound
from resources.terminology import systems
from resources.terminology.expansion import Contained, expand
from resources.terminology.systems import CodeSystem, Concept

Json = Mapping[str, Any]

_HERE: Final = Path(__file__).parent


class Library:
    """Code systems and value sets by canonical URL.

    Parameters
    ----------
    given
        CodeSystem and ValueSet resources that are there besides those held.
    """

    def __init__(self, given: Iterable[Json] = ()) -> None:
        self._given = {
            (str(each["resourceType"]), str(each["url"])): each for each in given if "url" in each
        }
        self._systems: dict[str, CodeSystem] = {}

    def code_system(self, url: str) -> CodeSystem:
        """Give a code system.

        Raises
        ------
        NotFound
            There is none of this URL, or none of the version it names.
        """
        bare, _, version = url.partition("|")
        found = _held_system(bare)
        if found is None and ("CodeSystem", bare) in self._given:
            if bare not in self._systems:
                self._systems[bare] = systems.of_resource(self._given["CodeSystem", bare])
            found = self._systems[bare]
        if found is None or (version and found.version and version != found.version):
            raise NotFound(f"The code system {url} is not held here.", code="not-found")
        return found

    def value_set(self, url: str) -> Json:
        """Give a value set as it is composed.

        Raises
        ------
        NotFound
            There is none of this URL, or none of the version it names.
        """
        bare, _, version = url.partition("|")
        found = _held_value_sets().get(bare) or self._given.get(("ValueSet", bare))
        if found is None or (version and found.get("version", version) != version):
            raise NotFound(f"The value set {url} is not held here.", code="not-found")
        return found

    def expansion(self, url: str) -> Mapping[tuple[str, str], Contained]:
        """Expand a value set, as `expand` does."""
        return expand(self.value_set(url), self)

    def needs(self, resource: Json) -> set[tuple[str, str]]:
        """Name by type and URL what a value set needs that is not here."""
        compose = resource.get("compose", {})
        wanted: set[tuple[str, str]] = set()
        for part in (*compose.get("include", ()), *compose.get("exclude", ())):
            if "system" in part:
                wanted.add(("CodeSystem", str(part["system"])))
            wanted |= {("ValueSet", url.partition("|")[0]) for url in part.get("valueSet", ())}
        return {each for each in wanted if not self.has(*each)}

    def has(self, type: str, url: str) -> bool:
        """Tell whether something of this type and URL is here."""
        held = url in _held_value_sets() if type == "ValueSet" else url in _rows()
        return held or url in _ours() or (type, url) in self._given

    @cached_property
    def urls(self) -> frozenset[str]:
        """The canonical URLs of all value sets here."""
        return frozenset(_held_value_sets()) | {
            url for type, url in self._given if type == "ValueSet"
        }


@cache
def _held_system(url: str) -> CodeSystem | None:
    if url in _ours():
        return _ours()[url]
    row = _rows().get(url)
    return None if row is None else systems.of_rows(row)


@cache
def _rows() -> Mapping[str, Json]:
    return _by_url("code_systems.ndjson")


@cache
def _held_value_sets() -> Mapping[str, Json]:
    return {**_by_url("value_sets.ndjson"), **_our_value_sets()}


def _by_url(name: str) -> Mapping[str, Json]:
    lines = (_HERE / name).read_text(encoding="utf-8").splitlines()
    return {row["url"]: row for row in map(json.loads, lines)}


@cache
def _ours() -> Mapping[str, CodeSystem]:
    """Our own code systems: every Coding that `resources.codes` writes under our base."""
    listed: dict[str, dict[str, Concept]] = {}
    for value in vars(codes).values():
        if isinstance(value, codes.Coding) and value.system.startswith(codes.BASE):
            listed.setdefault(value.system, {})[value.code] = Concept(value.code, value.display)
    return {
        url: CodeSystem(url, concepts.values(), version="1", name=url.rpartition("/")[2])
        for url, concepts in listed.items()
    }


def _our_value_sets() -> Mapping[str, Json]:
    """One value set for each of our code systems, of all its codes."""
    return {
        url.replace("/CodeSystem/", "/ValueSet/"): {
            "url": url.replace("/CodeSystem/", "/ValueSet/"),
            "version": "1",
            "name": url.rpartition("/")[2],
            "compose": {"include": [{"system": url}]},
        }
        for url in _ours()
    }


HELD: Final = Library()
"""What is held without anybody having stored it."""

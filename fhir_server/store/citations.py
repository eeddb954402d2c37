"""Citations: the references in what a unit of work is going to write, each resource searched once.

References
----------
* FHIR References, "Literal References"
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from fhir_server.search.terms import Terms, index
from resources import references
from resources.compartments import patient_of
from resources.content import Content
from resources.errors import Issue
from resources.references import Reference

_ELSEWHERE: Final = re.compile(r"#|(?!urn:(?:uuid|oid):)[A-Za-z][A-Za-z0-9+.\-]*:")
"""References that are not ours to follow: fragments, and addresses of others. A urn that no entry
of a transaction bore, a condition or a type that nobody knows is none of these."""

CITED: Final = "~"
"""What stands in an index term for a reference that no search parameter reaches."""


class Cited(NamedTuple):
    """A reference in a resource: its FHIRPath, as written, and as read if it is a literal one."""

    path: str
    literal: str
    reference: Reference | None


def indexed(json: Mapping[str, Any], base_url: str, cited: Iterable[Cited] | None = None) -> Terms:
    """Index a resource, with a term for each of ours that it refers to by no search parameter.

    So that whatever refers to a resource can be found when that is to be deleted.

    Parameters
    ----------
    cited
        Its references, where they have been found before.

    Examples
    --------
    >>> extension = {"url": "x", "valueReference": {"reference": "Task/1"}}
    >>> indexed({"resourceType": "Basic", "extension": [extension]}, "").terms
    ['~=Task/1']
    """
    found = index(json, base_url)
    known = {term.partition("=")[2] for term in found.terms}
    more = {
        f"{CITED}={reference.local}": None
        for _, _, reference in (_cited(json, base_url) if cited is None else cited)
        if reference is not None and not reference.base and reference.local not in known
    }
    return found._replace(terms=[*found.terms, *more]) if more else found


class Citations:
    """The references of resources, remembered for a unit of work."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._found: dict[int, tuple[Content, list[Cited]]] = {}

    def of(self, content: Content) -> list[Cited]:
        """The references of a resource."""
        held = self._found.get(id(content))
        if held is None:
            held = content, _cited(content.json, self._base_url)
            self._found[id(content)] = held
        return held[1]

    def about(self, content: Content) -> str | None:
        """The patient that a resource names; a Patient names none."""
        return None if content.type == "Patient" else patient_of(content.json, self._base_url)

    def dangling(
        self, content: Content, at: str, resolves: Callable[[Reference], bool]
    ) -> list[Issue]:
        """Name the references of a resource that lead nowhere.

        Parameters
        ----------
        at
            Where in the request the resource stands.
        resolves
            Whether a reference to one of ours leads to something.
        """
        issues: list[Issue] = []
        for path, literal, reference in self.of(content):
            if reference is None:
                if not _ELSEWHERE.match(literal):
                    issues.append(Issue("value", "This refers to nothing.", _place_of(path, at)))
            elif not reference.base and not resolves(reference):
                text = f"There is no {reference.local} to refer to."
                issues.append(Issue("not-found", text, _place_of(path, at)))
        return issues


def _cited(json: Mapping[str, Any], base_url: str) -> list[Cited]:
    return [
        Cited(path, literal, references.parse(literal, base_url))
        for path, literal, _ in references.find(json)
    ]


def _place_of(path: str, at: str) -> str:
    return f"{at}.{path.partition('.')[2]}" if at else path

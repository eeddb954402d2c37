"""Citations: the references in what a unit of work is going to write, each resource searched once.

References
----------
* FHIR References, "Literal References"
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

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


class Citations:
    """The references of resources, remembered for a unit of work."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._found: dict[int, tuple[Content, list[Cited]]] = {}

    def of(self, content: Content) -> list[Cited]:
        """The references of a resource."""
        held = self._found.get(id(content))
        if held is None:
            cited = [
                Cited(path, literal, references.parse(literal, self._base_url))
                for path, literal, _ in references.find(content.json)
            ]
            held = self._found[id(content)] = (content, cited)
        return held[1]

    def about(self, content: Content) -> str | None:
        """The patient that a resource names; a Patient names none."""
        return None if content.type == "Patient" else patient_of(content.json, self._base_url)

    def with_all(self, content: Content, terms: list[str]) -> list[str]:
        """Add a term for each of our resources that is referred to and not in the index yet.

        So that whatever refers to a resource can be found when that is to be deleted.
        """
        known = {term.partition("=")[2] for term in terms}
        more = {
            f"{CITED}={reference.local}": None
            for _, _, reference in self.of(content)
            if reference is not None and not reference.base and reference.local not in known
        }
        return [*terms, *more] if more else terms

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


def _place_of(path: str, at: str) -> str:
    return f"{at}.{path.partition('.')[2]}" if at else path

"""Links between the entries of a transaction, rewritten to what the entries become.

FHIR http, "Replacing hyperlinks and full-urls"; FHIR Bundle, "Resolving references in Bundles": a
relative reference in an entry whose fullUrl is a RESTful address is looked for under the same base
in the Bundle before it is looked for on the server.
"""

from collections.abc import Sequence

from fhir_server.rest.steps import Step
from resources import references
from resources.content import Content


class Links:
    """What the names of entries become."""

    def __init__(self, steps: Sequence[Step], base_url: str) -> None:
        self._absolute: dict[str, str] = {}
        self._relative: dict[str, dict[str, str]] = {}
        for step in steps:
            name = step.entry.full_url
            if not step.target or not name or name == f"{base_url}/{step.target}":
                continue
            self._absolute[name] = step.target
            if (literal := references.parse(name)) is not None:
                self._relative.setdefault(literal.base, {})[literal.local] = step.target

    def rewritten(self, step: Step) -> Content:
        """Give the resource of a step with its links to other entries replaced."""
        assert step.content is not None
        mapping = self._absolute
        if self._relative and (literal := references.parse(step.entry.full_url)) is not None:
            mapping = {**self._relative.get(literal.base, {}), **mapping}
        return references.rewrite(step.content, mapping)

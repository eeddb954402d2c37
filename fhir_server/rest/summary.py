"""_summary and _elements: answers that hold a part of each resource.

FHIR R4 search, "Summary": true, text, data, count, false; "Elements": "a comma-separated list of
base element names". Both at once is refused: the standard does not say which counts.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fhir_server.search.stored import Stored
from resources import summary
from resources.errors import Invalid
from resources.models import TYPES

NAMES: Final = frozenset({"_summary", "_elements"})

KINDS: Final = frozenset({"true", "text", "data", "count", "false"})


class Parts(NamedTuple):
    """What is left of each resource: `kind` is a value of ``_summary``, or `elements` are named.

    Parameters
    ----------
    elements
        Names by type; those under "" are for every type.
    """

    kind: str = "false"
    elements: tuple[tuple[str, frozenset[str]], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether resources are answered as they were stored."""
        return self.kind in ("false", "count") and not self.elements

    def text(self, type: str, text: bytes) -> bytes:
        """Cut the text of one resource."""
        if self.elements:
            asked = dict(self.elements)
            names = asked.get("", frozenset()) | asked.get(type, frozenset())
            return summary.part(text, summary.of_elements(type, names)) if names else text
        if self.kind == "data":
            return summary.without(text, "text")
        keep = summary.of_summary(type, self.kind)
        return text if keep is None else summary.part(text, keep)

    def cut(self, stored: Stored) -> Stored:
        """Cut one version; a deletion has nothing to be cut."""
        if self.whole or stored.deleted or not stored.text:
            return stored
        return stored._replace(text=self.text(stored.type, stored.text))

    def unknown(self, types: Iterable[str]) -> list[str]:
        """Name what is asked for and is no element of these types, or of the type that it names.

        Examples
        --------
        >>> read([("_elements", "status,statsu,Patient.name,Patient.alias")]).unknown(["Task"])
        ['statsu', 'Patient.alias']
        """
        unknown = []
        for type, names in self.elements:
            of = [each for each in ([type] if type else types) if each in TYPES]
            known = frozenset[str]().union(*map(summary.elements, of))
            unknown += [f"{type}.{name}" if type else name for name in sorted(names - known)]
        return unknown


def read(pairs: Sequence[tuple[str, str]]) -> Parts:
    """Read what the parameters of a request ask to be left.

    Examples
    --------
    >>> read([("_summary", "text")]).kind
    'text'
    >>> read([("_elements", "status,Patient.name")]).elements
    (('', frozenset({'status'})), ('Patient', frozenset({'name'})))

    Raises
    ------
    Invalid
        A value that the standard does not have, or both parameters at once.
    """
    kinds = [value for name, value in pairs if name == "_summary" and value]
    if any(kind not in KINDS for kind in kinds):
        raise Invalid("_summary is true, text, data, count or false", at="_summary", code="value")
    named = [each for name, value in pairs if name == "_elements" for each in value.split(",")]
    elements: dict[str, set[str]] = {}
    for name in filter(None, (each.strip() for each in named)):
        type, dot, element = name.rpartition(".")
        elements.setdefault(type if dot else "", set()).add(element)
    kind = kinds[-1] if kinds else "false"
    if elements and kind not in ("false", "count"):
        raise Invalid("_summary and _elements cannot be used together", at="_elements")
    return Parts(kind, tuple((type, frozenset(names)) for type, names in sorted(elements.items())))

"""Reference parameters: what a resource refers to.

A reference is indexed as it is compared: ``Type/id`` for what is on this server, whichever of our
URLs it was written with, else the whole URL. A reference to one version is also indexed without
the version, a canonical also without its business version.

References
----------
* FHIR R4 search, "reference"; references, "Literal References", "Version specific references"
* FHIR R4 references, "canonical"
"""

import re
from collections.abc import Callable, Collection
from typing import Any, Final

from fhir_server.search.escaping import plain
from resources.errors import Invalid

_RELATIVE: Final = re.compile(
    r"([A-Z][A-Za-z]{1,63})/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def read(
    text: str, code: str, targets: Collection[str], modifier: str, own_base: str
) -> tuple[str, ...]:
    """Read ``Type/id``, ``id`` or a URL into the references that it may mean.

    Parameters
    ----------
    targets
        Types that the parameter may point at: a bare id may be one of each.
    modifier
        A type, if the parameter was written ``code:Type``.
    own_base
        References below this URL are ours.

    Examples
    --------
    >>> read("p1", "subject", ["Patient", "Group"], "", "")
    ('Patient/p1', 'Group/p1')
    >>> read("https://a.example/fhir/Task/1", "focus", [], "", "https://a.example/fhir")
    ('Task/1',)

    Raises
    ------
    Invalid
        A bare id of which nobody can tell the type, or a reference of another type than `modifier`.
    """
    value = local(plain(text), own_base)
    relative = _RELATIVE.fullmatch(value)
    if relative is not None:
        if modifier and relative.group(1) != modifier:
            raise Invalid(f"{code}:{modifier} is asked for a {relative.group(1)}", at=code)
        return (value,)
    if _ID.fullmatch(value) is None:
        return (value,)
    types = (modifier,) if modifier else tuple(targets)
    if not types:
        raise Invalid(f"{code} may refer to any type: name it, as in {code}=Type/id", at=code)
    return tuple(f"{type}/{value}" for type in types)


def sought(prefix: str, references: Collection[str]) -> list[str]:
    """The index terms of which a resource must have one."""
    return [f"{prefix}={reference}" for reference in references]


def index(prefix: str, element: Any, own_base: str, add: Callable[[str], None]) -> None:
    """Add the terms of one element: a Reference, a canonical or URI, or a resource inside."""
    if element.__class__ is dict:
        reference = element.get("reference")
        if reference is None:
            if "resourceType" in element and "id" in element:
                add(f"{prefix}={element['resourceType']}/{element['id']}")
            return
    else:
        reference = element
    if reference.__class__ is not str or reference[:1] == "#":
        return
    if reference[:4] == "http":
        reference = local(reference, own_base)
    add(f"{prefix}={reference}")
    for mark in ("/_history/", "|"):
        if mark in reference:
            add(f"{prefix}={reference.partition(mark)[0]}")


def local(reference: str, own_base: str) -> str:
    """Say a reference to this server without the server."""
    return reference.removeprefix(own_base + "/") if own_base else reference

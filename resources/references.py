"""References: parse, find and rewrite what points from one resource to another.

A literal reference is an address: relative (``Patient/1``), absolute under our base, or absolute
under another server's. It may name a version. Fragments (``#x``) stay inside a resource, urn:uuid
and conditional references (``Patient?identifier=...``) are resolved in a transaction.

References
----------
* FHIR References, "Literal References"; FHIR http, "transaction" (Replacing hyperlinks and
  full-urls, Conditional References)
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from resources.content import Content
from resources.models import TYPES
from resources.structures import Shape, shape


class Reference(NamedTuple):
    """The address of a resource; `base` is empty for one of ours.

    A version id that is not a number names no version of ours: it is 0, which never exists.
    """

    type: str
    id: str
    version: int | None = None
    base: str = ""

    @property
    def local(self) -> str:
        """``Type/id``, without the version."""
        return f"{self.type}/{self.id}"


# FHIR References, the regular expression for RESTful references, with our list of types.
_LITERAL: Final = re.compile(
    r"(?:(?P<base>https?://[^\s?#]+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?"
)

# What the transaction rules rewrite: Reference.reference and the elements of type uri, url, oid
# and uuid that hold links. A name (Coding.system) is no link, and canonicals are not replaced.
LINKS: Final = (
    "reference", "url", "uri", "sourceUri", "targetUri",
    "valueOid", "valueUri", "valueUrl", "valueUuid",
)  # fmt: skip
_LINK: Final = re.compile(rb'("(?:%b)"\s*:\s*)("(?:[^"\\]|\\.)*")' % "|".join(LINKS).encode())
_NARRATIVE_LINK: Final = re.compile(rb"""(\b(?:href|src)\s*=\s*)(\\"|')([^"'\\]*)\2""")


def parse(reference: str, own_base: str = "") -> Reference | None:
    """Read a literal reference; anything else is ``None``.

    Parameters
    ----------
    own_base
        The address of this server's FHIR root; a reference under it is one of ours.

    Examples
    --------
    >>> parse("Patient/1")
    Reference(type='Patient', id='1', version=None, base='')
    >>> parse("https://x.example/fhir/Patient/1/_history/2", "https://x.example/fhir/").version
    2
    >>> parse("https://y.example/Patient/1").base
    'https://y.example'
    >>> parse("#p1"), parse("urn:uuid:9b1c"), parse("Patient?identifier=1"), parse("Ghost/1")
    (None, None, None, None)
    """
    match = _LITERAL.fullmatch(reference)
    if match is None or match["type"] not in TYPES:
        return None
    base = match["base"] or ""
    if base and base == own_base.rstrip("/"):
        base = ""
    vid = match["version"]
    version = None if vid is None else int(vid) if vid.isdecimal() else 0
    return Reference(match["type"], match["id"], version, base)


def find(json: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every Reference that has a literal: its FHIRPath, the literal, the element.

    Contained resources are searched too, the resources in a Bundle's entries are not: a Bundle's
    references are its entries' own.

    Examples
    --------
    >>> order = {"resourceType": "ServiceRequest", "performer": [{"reference": "Organization/1"}]}
    >>> [(path, literal) for path, literal, _ in find(order)]
    [('ServiceRequest.performer[0]', 'Organization/1')]
    """
    for trail, element in _references(json, ()):
        yield _path(json, trail), element["reference"], element


def rewrite(content: Content, mapping: Mapping[str, str]) -> Content:
    """Replace links to what a transaction has just given an address; no other byte changes.

    Parameters
    ----------
    mapping
        From ``urn:uuid:...`` (or a conditional reference) to ``Type/id``.
    """
    if not mapping:
        return content

    def link(match: re.Match[bytes]) -> bytes:
        target = mapping.get(orjson.loads(match[2]))
        return match[0] if target is None else match[1] + orjson.dumps(target)

    def narrative_link(match: re.Match[bytes]) -> bytes:
        target = mapping.get(match[3].decode())
        return match[0] if target is None else match[1] + match[2] + target.encode() + match[2]

    text = _LINK.sub(link, content.text)
    if b'"<div' in text:
        text = _NARRATIVE_LINK.sub(narrative_link, text)
    return content if text == content.text else Content(content.type, orjson.loads(text), text)


_Trail = tuple[Any, ...]


def _references(element: Mapping[str, Any], trail: _Trail) -> Iterator[tuple[_Trail, Any]]:
    """Walk the tree; a trail is (trail of the parent, name, index), so that most cost nothing."""
    for name, value in element.items():
        kind = value.__class__
        if kind is dict:
            yield from _reference(value, (trail, name, None))
        elif kind is list and value and value[0].__class__ is dict:
            for index, item in enumerate(value):
                if item.__class__ is dict:
                    yield from _reference(item, (trail, name, index))


def _reference(element: dict[str, Any], trail: _Trail) -> Iterator[tuple[_Trail, Any]]:
    if isinstance(element.get("reference"), str):
        yield trail, element
    if trail[1] != "resource" or "resourceType" not in element:
        yield from _references(element, trail)


def _path(json: Mapping[str, Any], trail: _Trail) -> str:
    """Write a trail as FHIRPath, which says ``value`` for the member ``valueReference``."""
    steps: list[tuple[str, int | None]] = []
    while trail:
        trail, name, index = trail
        steps.append((name, index))
    path, element, own = str(json.get("resourceType", "")), json, _shape_of(json)
    for name, index in reversed(steps):
        member = (own.members or own.compile()).get(name) if own else None
        path += f".{member.name if member else name}"
        path += "" if index is None else f"[{index}]"
        element = element[name] if index is None else element[name][index]
        part = member.test if member else None
        own = part if isinstance(part, Shape) else _shape_of(element)
    return path


def _shape_of(resource: Mapping[str, Any]) -> Shape | None:
    name = resource.get("resourceType")
    return shape(name) if isinstance(name, str) and name in TYPES else None

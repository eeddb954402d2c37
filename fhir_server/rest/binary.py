"""Binary: octets of any type, sent and served as they are, or as a resource with base64 in it.

What Accept or Content-Type names decides; FHIR's own type means the resource. An access control
rule of its own travels in X-Security-Context: who may see the resource named there may see the
octets.

References
----------
* FHIR R4 binary, "Serving Binary Resources using the RESTful API"
* RFC 9110 Section 12.5.1 (Accept); OWASP ASVS V3.2: what others uploaded does not run here
"""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fhir_server.rest.exchange import Answer, Header, Request
from fhir_server.rest.negotiate import NotAcceptable, UnsupportedMedia
from fhir_server.search.stored import Stored
from resources import content
from resources.content import Content
from resources.errors import Invalid

AS_RESOURCE: Final = frozenset({"application/fhir+json", "application/json", "text/json", "json"})
"""Types by which a Binary is asked for, or sent, as a FHIR resource."""

NOT_SPOKEN: Final = frozenset({"application/fhir+xml", "application/fhir+turtle"})
"""Types that mean the resource too, in a format that is not spoken here."""

READS: Final = frozenset({"read", "vread"})
"""Interactions that may be answered with the octets."""

CONFINED: Final[Header] = (
    b"content-security-policy",
    b"default-src 'none'; sandbox",
)

_MEDIA: Final = re.compile(
    r"[\w.+-]+/[\w.+-]+(?:\s?;\s?[\w.+-]+=(?:[\w.+-]+|\"[\w .+-]*\"))*", re.A
)
UNKNOWN: Final = "application/octet-stream"


def is_native(headers: Mapping[str, str]) -> bool:
    """Whether a body is the octets themselves."""
    kind = _kind(headers.get("content-type", ""))
    if not kind or kind in NOT_SPOKEN:
        raise UnsupportedMedia("A Binary comes as what it is, or as application/fhir+json.")
    return kind not in AS_RESOURCE


def received(request: Request) -> Content:
    """Make the resource of octets that came as they are."""
    json: dict[str, Any] = {"resourceType": "Binary"}
    if request.id:
        json["id"] = request.id
    json["contentType"] = request.headers["content-type"].strip()
    if _MEDIA.fullmatch(json["contentType"]) is None:
        raise UnsupportedMedia("The Content-Type is not a media type.")
    if context := request.headers.get("x-security-context", "").strip():
        json["securityContext"] = {"reference": context}
    if request.body:
        json["data"] = base64.b64encode(request.body).decode()
    return content.made(json)


def octets(json: Mapping[str, Any]) -> bytes:
    """Give the octets of a Binary resource."""
    try:
        return base64.b64decode("".join(json.get("data", "").split()), validate=True)
    except ValueError:
        raise Invalid("The data are not base64.", "Binary.data", "value") from None


def asks_for_octets(request: Request, media: str) -> bool:
    """Whether a read wants the octets, of this type, and not the resource.

    "...when a read request is made for the binary resource that doesn't explicitly specify the FHIR
    content types ..., then the content should be returned using the content type stored in the
    resource".

    Raises
    ------
    NotAcceptable
        Neither is among what the asker accepts.
    """
    if request.at:
        return False
    if any(name == "_format" for name, _ in request.pairs()):
        return False
    for wanted in _accepted(request.headers.get("accept") or "*/*"):
        if wanted in AS_RESOURCE and wanted != media:
            return False
        if wanted in ("*/*", media, f"{media.partition('/')[0]}/*"):
            return True
    raise NotAcceptable("This Binary is of another type.")


def shown(request: Request, stored: Stored, headers: tuple[Header, ...]) -> Answer | None:
    """Answer a read with the octets, or leave it to be answered with the resource."""
    declared = str(stored.json.get("contentType", ""))
    media = declared if _MEDIA.fullmatch(declared) else UNKNOWN
    if not asks_for_octets(request, _kind(media)):
        return None
    more = [CONFINED]
    reference = stored.json.get("securityContext", {}).get("reference", "")
    if reference.isascii() and reference.isprintable() and reference:
        more.append((b"x-security-context", reference.encode()))
    return Answer(200, octets(stored.json), (*headers, *more), stored.instant, media.encode())


def _accepted(accept: str) -> Iterator[str]:
    """Give the media ranges of an Accept header in order, without those of quality 0."""
    for choice in accept.split(","):
        if not re.search(r";\s*q=0(?:\.0*)?\s*(?:;|$)", choice):
            yield _kind(choice)


def _kind(media: str) -> str:
    return media.partition(";")[0].strip().lower()

"""Capabilities: which resources and methods there are, as WADL or JSON, from the route table.

References
----------
* PS3.18 Section 8.9 (Retrieve Capabilities Transaction) and Annex H (Capabilities Description)
* W3C Member Submission "Web Application Description Language", 31 August 2009
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from xml.etree import ElementTree

import orjson
from starlette.responses import Response

from dicom_bridge.dicomweb import accept
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.problems import NotAcceptable
from dicom_bridge.pixels import syntaxes
from dicom_bridge.pixels.wanted import FORMATS

WADL: Final = "application/vnd.sun.wadl+xml"
NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"

INSTANCES: Final = (
    f'{accept.RELATED}; type="{accept.DICOM}"',
    *(
        f'{accept.RELATED}; type="{accept.DICOM}"; transfer-syntax={syntax}'
        for syntax in ("*", *sorted(syntaxes.ENCODED))
    ),
    accept.DICOM,
)
FRAMES: Final = (
    f'{accept.RELATED}; type="{accept.OCTETS}"',
    f'{accept.RELATED}; type="{accept.OCTETS}"; transfer-syntax=*',
    *(
        f'{accept.RELATED}; type="{accept.FRAME_TYPES[syntax]}"; transfer-syntax={syntax}'
        for syntax in sorted(syntaxes.ENCAPSULATED)
    ),
    accept.OCTETS,
)


class Kind(NamedTuple):
    """What is asked with, and what is answered."""

    parameters: Sequence[str] = ()
    answers: Sequence[str] = ()
    takes: Sequence[str] = ()


SEARCH: Final = Kind(
    ("{attribute}", "includefield", "fuzzymatching", "limit", "offset"), (accept.DICOM_JSON,)
)
RENDERED: Final = Kind(("accept", "quality", "window", "viewport"), tuple(FORMATS))
STORE: Final = Kind(
    (),
    (accept.DICOM_JSON,),
    (f'{accept.RELATED}; type="{accept.DICOM}"', accept.DICOM),
)
KINDS: Final[Mapping[str, Kind]] = {
    "search":       SEARCH,
    "store":        STORE,
    "instances":    Kind(("accept",), INSTANCES),
    "metadata":     Kind(("accept",), (accept.DICOM_JSON,)),
    "frame_list":   Kind(("accept",), FRAMES),
    "bulk_data":    Kind(("accept",), (f'{accept.RELATED}; type="{accept.OCTETS}"', accept.OCTETS)),
    "instance":     RENDERED,
    "thumbnail":    RENDERED,
    "several":      RENDERED._replace(
        answers=tuple(f'{accept.RELATED}; type="{type}"' for type in FORMATS)
    ),
    "retrieve_uri": Kind(
        ("requestType", "studyUID", "seriesUID", "objectUID", "contentType", "charset",
         "transferSyntax", "rows", "columns", "region", "windowCenter", "windowWidth",
         "frameNumber", "imageQuality", "presentationUID", "presentationSeriesUID"),
        (accept.DICOM, *FORMATS),
    ),
}  # fmt: skip
"""What answers a transaction, and parameters and media types of it."""
SERVICES: Final[Mapping[str, str]] = {"QIDO-RS": "search", "STOW-RS": "store"}
"""Transactions of one service are asked for alike."""


class Row(Protocol):
    """A transaction of the route table."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def address(self) -> str:
        """The address, with its places in braces."""

    @property
    def interaction(self) -> str:
        """The service of PS3.18."""

    @property
    def answer(self) -> Any:
        """The function that answers."""


async def retrieve(rows: Sequence[Row], call: Call) -> Response:
    """Answer OPTIONS on the base of the service.

    Raises
    ------
    NotAcceptable
        The user agent takes neither WADL nor JSON.
    """
    base, wanted = call.web.base_url, call.acceptable()
    for one in wanted:
        if accept.wants([one], WADL):
            tree = ElementTree.Element("application", xmlns=NAMESPACE)
            resources = ElementTree.SubElement(tree, "resources", base=base)
            for node in _tree(rows):
                _write(resources, node)
            content = ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True)
            return Response(content, media_type=WADL)
        if accept.wants([one], "application/json"):
            return Response(
                orjson.dumps({"resources": {"base": base, "resource": _tree(rows)}}),
                media_type="application/json",
            )
    raise NotAcceptable(f"The capabilities are {WADL} or application/json", "Accept")


def _tree(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Nest the addresses: each resource has its methods and the resources below it."""
    top: list[dict[str, Any]] = []
    for row in rows:
        level, node = top, {}
        for part in row.address.strip("/").split("/"):
            node = next((one for one in level if one["path"] == part), {})
            if not node:
                node = {"path": part, "method": [], "resource": []}
                level.append(node)
            level = node["resource"]
        node["method"].append(_method(row))
    return top


def _method(row: Row) -> dict[str, Any]:
    name = SERVICES.get(row.interaction, row.answer.__name__)
    kind = KINDS.get("retrieve_uri" if row.address == "/wado" else name, Kind())
    return {
        "name": row.method,
        "id": f"{row.interaction} {name}".replace(" ", "."),
        "request": {
            "param": [{"name": one, "style": "query"} for one in kind.parameters],
            "representation": [{"mediaType": one} for one in kind.takes],
        },
        "response": {"representation": [{"mediaType": one} for one in kind.answers]},
    }


def _write(parent: ElementTree.Element, node: Mapping[str, Any]) -> None:
    own = ElementTree.SubElement(parent, "resource", path=node["path"])
    for place in re.findall(r"{(\w+)}", node["path"]):
        ElementTree.SubElement(own, "param", name=place, style="template")
    for method in node["method"]:
        written = ElementTree.SubElement(own, "method", name=method["name"], id=method["id"])
        for side in ("request", "response"):
            _write_side(written, side, method[side])
    for below in node["resource"]:
        _write(own, below)


def _write_side(method: ElementTree.Element, side: str, said: Mapping[str, Any]) -> None:
    """A response may say its status, a request its parameters (WADL Sections 2.9 and 2.10)."""
    written = ElementTree.SubElement(method, side)
    for name, attributes in _children(said):
        ElementTree.SubElement(written, name, attributes)


def _children(said: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    for name in ("param", "representation"):
        for attributes in said.get(name, ()):
            yield name, attributes

"""Capabilities: a machine is told what there is (PS3.18 Section 8.9)."""

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.dicom_bridge.dicomweb.conftest import Service

pytestmark = pytest.mark.anyio

WADL = "application/vnd.sun.wadl+xml"
NS = {"w": "http://wadl.dev.java.net/2009/02"}

# PS3.18 Table H-1, as far as there is a service for it: path below the base, methods.
RESOURCES = {
    "studies": {"GET", "POST"},
    "studies/{study}": {"GET", "POST"},
    "studies/{study}/metadata": {"GET"},
    "studies/{study}/rendered": {"GET"},
    "studies/{study}/thumbnail": {"GET"},
    "studies/{study}/series": {"GET"},
    "studies/{study}/series/{series}": {"GET"},
    "studies/{study}/series/{series}/metadata": {"GET"},
    "studies/{study}/series/{series}/rendered": {"GET"},
    "studies/{study}/series/{series}/instances": {"GET"},
    "studies/{study}/series/{series}/instances/{instance}": {"GET"},
    "studies/{study}/series/{series}/instances/{instance}/metadata": {"GET"},
    "studies/{study}/series/{series}/instances/{instance}/rendered": {"GET"},
    "studies/{study}/series/{series}/instances/{instance}/thumbnail": {"GET"},
    "studies/{study}/series/{series}/instances/{instance}/frames/{frames}": {"GET"},
    "studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered": {"GET"},
    "studies/{study}/instances": {"GET"},
    "series": {"GET"},
    "instances": {"GET"},
    "wado": {"GET"},
}


def methods(element: ElementTree.Element, above: str = "") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for resource in element.findall("w:resource", NS):
        path = f"{above}/{resource.get('path')}".strip("/")
        found[path] = {str(one.get("name")) for one in resource.findall("w:method", NS)}
        found |= methods(resource, path)
    return found


def methods_of_json(resources: list[dict[str, Any]], above: str = "") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for resource in resources:
        path = f"{above}/{resource['path']}".strip("/")
        found[path] = {one["name"] for one in resource["method"]}
        found |= methods_of_json(resource["resource"], path)
    return found


@pytest.mark.standard("PS3.18 8.9")
@pytest.mark.parametrize("address", ["", "/"])
async def test_the_resources_of_the_standard_are_told_as_wadl_and_as_json(
    service: Service, address: str
) -> None:
    client = service.client()

    wadl = await client.request("OPTIONS", service.base + address, headers={"Accept": WADL})
    json = await client.request(
        "OPTIONS", service.base + address, headers={"Accept": "application/json"}
    )

    assert (wadl.status_code, wadl.headers["content-type"]) == (200, WADL)
    (resources,) = ElementTree.fromstring(wadl.content).findall("w:resources", NS)
    assert resources.get("base") == service.base
    told = methods(resources)
    assert {path: told.get(path) for path in RESOURCES} == RESOURCES
    assert methods_of_json(json.json()["resources"]["resource"]) == told


@pytest.mark.standard("PS3.18 8.9")
async def test_the_media_types_and_transfer_syntaxes_are_told(service: Service) -> None:
    answer = await service.client().request("OPTIONS", service.base)

    tree = ElementTree.fromstring(answer.content)
    types = {one.get("mediaType") for one in tree.iter(f"{{{NS['w']}}}representation")}
    jpeg_ls = "1.2.840.10008.1.2.4.80"
    assert {
        "application/dicom",
        "application/dicom+json",
        "image/jpeg",
        f'multipart/related; type="application/dicom"; transfer-syntax={jpeg_ls}',
        f'multipart/related; type="image/jls"; transfer-syntax={jpeg_ls}',
    } <= types


async def test_it_is_neither_for_strangers_nor_in_another_form(service: Service) -> None:
    client = service.client()

    stranger = await client.request("OPTIONS", service.base, headers={"Authorization": ""})
    other = await client.request("OPTIONS", service.base, headers={"Accept": "text/html"})
    wrong = await client.get(service.base)

    assert (stranger.status_code, other.status_code, wrong.status_code) == (401, 406, 405)

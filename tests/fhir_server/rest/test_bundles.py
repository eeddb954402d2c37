import json

import pytest

from fhir_server.rest import bundles, outcomes
from fhir_server.rest.exchange import Answer
from fhir_server.search.stored import Stored
from resources import models
from resources.errors import Issue

BASE = b"https://records.example/fhir"
AT = 1_795_489_200_720_000
"""2026-11-24T03:00:00.720Z"""

FLAG = Stored("Flag", "f1", 2, AT, "U", b'{"resourceType":"Flag","id":"f1",  "x":0.40}')


def test_a_resource_stands_in_a_bundle_byte_for_byte() -> None:
    page = bundles.bundle(b"searchset", bundles.hits(BASE, [FLAG], b"match"), total=1)

    assert FLAG.text in page


@pytest.mark.standard("FHIR Bundle searchset")
def test_hits_say_where_they_live_and_why_they_are_there() -> None:
    (hit,) = map(json.loads, bundles.hits(BASE, [FLAG], b"include"))

    assert hit["fullUrl"] == "https://records.example/fhir/Flag/f1"
    assert hit["search"] == {"mode": "include"}


@pytest.mark.standard("FHIR JSON arrays")
def test_an_empty_bundle_has_no_empty_array() -> None:
    assert json.loads(bundles.bundle(b"searchset", [], total=0)) == {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 0,
    }


OURS = "01936b5e-4a00-7cc2-8d3f-9a8b7c6d5e4f"
"""A version 7 UUID, as the server gives them."""


@pytest.mark.standard("FHIR http history")
@pytest.mark.parametrize(
    ("id", "version", "interaction", "method", "url", "status"),
    [
        (OURS, 1, "C", "POST", "Flag", "201 Created"),
        (OURS, 3, "C", "PUT", f"Flag/{OURS}", "201 Created"),
        ("f1", 1, "C", "PUT", "Flag/f1", "201 Created"),
        ("f1", 2, "U", "PUT", "Flag/f1", "200 OK"),
        ("f1", 2, "D", "DELETE", "Flag/f1", "204 No Content"),
    ],
)
def test_a_version_tells_what_made_it(
    id: str, version: int, interaction: str, method: str, url: str, status: str
) -> None:
    text = b"" if interaction == "D" else b'{"resourceType":"Flag"}'
    row = Stored("Flag", id, version, AT, interaction, text)

    entry = json.loads(bundles.past(BASE, row))

    assert entry["request"] == {"method": method, "url": url}
    assert entry["response"] == {
        "status": status,
        "etag": f'W/"{version}"',
        "lastModified": "2026-11-24T03:00:00.720Z",
    }
    assert ("resource" in entry) is (interaction != "D")


@pytest.mark.standard("FHIR Bundle response")
def test_a_success_has_its_resource_and_a_failure_its_outcome() -> None:
    done = Answer(201, b'{"resourceType":"Flag"}', ((b"location", b"x/Flag/1/_history/1"),), AT)
    failed = Answer(404, outcomes.outcome([Issue("not-found", "Nothing is there.")]))

    success, failure = json.loads(bundles.response(done)), json.loads(bundles.response(failed))

    assert success["resource"] == {"resourceType": "Flag"}
    assert success["response"] == {
        "status": "201 Created",
        "location": "x/Flag/1/_history/1",
        "lastModified": "2026-11-24T03:00:00.720Z",
    }
    assert failure["response"]["status"] == "404 Not Found"
    assert failure["response"]["outcome"]["issue"][0]["code"] == "not-found"


def test_the_joined_bytes_are_a_bundle_to_somebody_else() -> None:
    text = bundles.bundle(
        b"searchset",
        [bundles.remark(outcomes.outcome([Issue("not-supported", "x", "y")], severity="warning"))],
        total=0,
        links=[("self", 'https://a/Flag?_id="\\')],
    )

    models.model("Bundle").model_validate_json(text)


@pytest.mark.standard("RFC 3986 2")
def test_an_address_carries_any_value() -> None:
    address = bundles.address("https://a/T", [("code:text", "a b&c=d#é%"), ("_sort", "-x,y")])

    assert address == "https://a/T?code:text=a%20b%26c%3Dd%23%C3%A9%25&_sort=-x,y"

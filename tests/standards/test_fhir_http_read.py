"""FHIR http, "read", "vread", "conditional read", "Support for HEAD", and bytes in, bytes out."""

import json

import httpx
import pytest

from resources import models
from tests.build import a_patient
from tests.server import Server
from tests.standards.asking import put, refused, stored

pytestmark = pytest.mark.standard("FHIR http read")

EXACT = (
    '{"resourceType":"Observation" , "status":"final",\n'
    '  "extension":[{"url":"https://isocentre.example/x","valueDecimal":0.40},'
    '{"valueInstant":"2026-03-14T10:15:30.720Z","url":"https://isocentre.example/y"}],\n'
    '  "code":{"text":"caf\\u00e9 \\/ é"},"effectiveDateTime":"2026-03-14T10:15:30+00:00",'
    '"issued":"2026-03-14T10:15:30.720+00:00",\t"valueQuantity":{"unit":"mm","value":1.0e2}}'
)
"""Decimals, instants, offsets, escapes, white space and key order that a rewriting would change."""


def test_what_was_sent_comes_back_byte_for_byte(api: httpx.Client) -> None:
    sent = EXACT.encode()
    id = api.post("/Observation", content=sent).json()["id"]

    text = api.get(f"/Observation/{id}").content

    head, tail = b'{"resourceType":"Observation"', sent.partition(b'"Observation"')[2]
    assert text.startswith(head)
    assert text.endswith(tail)
    ours = text[len(head) : -len(tail)]
    assert set(json.loads(b"{" + ours.strip(b",") + b"}")) == {"id", "meta"}


def test_a_resource_in_a_bundle_is_byte_for_byte_what_a_read_gives(api: httpx.Client) -> None:
    id = api.post("/Observation", content=EXACT.encode()).json()["id"]

    text = api.get(f"/Observation/{id}").content

    assert text in api.get("/Observation", params={"_id": id}).content
    assert text in api.get(f"/Observation/{id}/_history").content
    assert text == api.get(f"/Observation/{id}/_history/1").content


def test_meta_of_the_sender_is_kept_and_version_and_time_are_ours(api: httpx.Client) -> None:
    meta = {"tag": [{"system": "https://isocentre.example/t", "code": "a"}], "versionId": "99"}

    patient = stored(api, a_patient(None, meta=meta))

    assert patient["meta"]["versionId"] == "1"
    assert patient["meta"]["tag"] == meta["tag"]
    assert patient["meta"]["lastUpdated"].endswith("Z")


def test_a_read_names_its_version_and_its_time(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))

    answer = api.get(f"/Patient/{patient['id']}")

    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["last-modified"].endswith("GMT")
    assert answer.headers["content-type"] == "application/fhir+json; fhirVersion=4.0"
    models.model("Patient").model_validate_json(answer.content)


def test_head_is_get_without_the_body(api: httpx.Client) -> None:
    id = stored(api, a_patient(None))["id"]

    head, get = api.head(f"/Patient/{id}"), api.get(f"/Patient/{id}")

    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.standard("FHIR http conditional read")
def test_who_holds_the_version_already_is_told_so(api: httpx.Client) -> None:
    id = stored(api, a_patient(None))["id"]
    modified = api.get(f"/Patient/{id}").headers["last-modified"]

    for headers in ({"If-None-Match": 'W/"1"'}, {"If-Modified-Since": modified}):
        answer = api.get(f"/Patient/{id}", headers=headers)

        assert answer.status_code == 304
        assert answer.content == b""
        assert answer.headers["etag"] == 'W/"1"'


@pytest.mark.parametrize(
    "id", ["nothing-here", "a" * 65, "a_b", "%00", "a%00b", "%C3%A9", "%FF", "a%2Fb", "%20"]
)
def test_what_is_not_there_is_not_found(api: httpx.Client, id: str) -> None:
    refused(api.get(f"/Patient/{id}"), 404)


@pytest.mark.parametrize(
    "type", ["Ghost", "patient", "Resource", "DomainResource", "%00", "Патиент"]
)
def test_a_type_that_nobody_knows_is_not_found(api: httpx.Client, type: str) -> None:
    refused(api.get(f"/{type}/1"), 404, "not-supported")
    refused(api.get(f"/{type}"), 404, "not-supported")


@pytest.mark.standard("FHIR http vread")
def test_every_version_can_be_read_for_ever(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    put(api, {**patient, "active": True})

    first = api.get(f"/Patient/{patient['id']}/_history/1")
    second = api.get(f"/Patient/{patient['id']}/_history/2")

    assert first.json() == patient
    assert second.json()["active"] is True
    assert second.headers["etag"] == 'W/"2"'


@pytest.mark.standard("FHIR http vread")
@pytest.mark.parametrize("version", ["2", "0", "-1", "abc", "1e3", "9" * 40, "%00", "٣", "1.0"])
def test_a_version_that_never_was_is_not_found(api: httpx.Client, version: str) -> None:
    id = stored(api, a_patient(None))["id"]

    refused(api.get(f"/Patient/{id}/_history/{version}"), 404)


@pytest.mark.standard("threats T1")
def test_who_has_nothing_to_do_with_a_patient_learns_nothing_of_them(
    api: httpx.Client, other: httpx.Client
) -> None:
    id = stored(api, a_patient(None))["id"]

    hidden = other.get(f"/Patient/{id}")
    missing = other.get("/Patient/nothing-here")

    refused(hidden, 404, "not-found")
    assert hidden.text.replace(id, "") == missing.text.replace("nothing-here", "")
    refused(other.get(f"/Patient/{id}/_history/1"), 404)
    refused(other.get(f"/Patient/{id}/_history"), 404)
    assert other.get("/Patient", params={"_id": id, "_total": "accurate"}).json()["total"] == 0


@pytest.mark.standard("FHIR http _format")
@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Accept": "application/fhir+xml"}, ""),
        ({"Accept": "text/turtle"}, ""),
        ({}, "?_format=xml"),
        ({}, "?_format=application/fhir%2Bxml"),
        ({"Accept": "application/fhir+json; fhirVersion=3.0"}, ""),
    ],
)
def test_other_formats_are_not_acceptable(
    api: httpx.Client, headers: dict[str, str], query: str
) -> None:
    id = stored(api, a_patient(None))["id"]

    refused(api.get(f"/Patient/{id}{query}", headers=headers), 406, "not-supported")


@pytest.mark.standard("FHIR http _format")
@pytest.mark.parametrize("query", ["json", "application/json", "application/fhir%2Bjson"])
def test_format_overrides_accept(api: httpx.Client, query: str) -> None:
    id = stored(api, a_patient(None))["id"]

    answer = api.get(f"/Patient/{id}?_format={query}", headers={"Accept": "application/fhir+xml"})

    assert answer.status_code == 200


@pytest.mark.standard("FHIR http _pretty")
def test_pretty_changes_white_space_alone(api: httpx.Client) -> None:
    id = api.post("/Observation", content=EXACT.encode()).json()["id"]

    pretty = api.get(f"/Observation/{id}?_pretty=true")

    assert b'\n  "status": "final"' in pretty.content
    assert b"0.40" in pretty.content
    assert b"1.0e2" in pretty.content
    assert int(pretty.headers["content-length"]) == len(pretty.content)
    assert pretty.json() == api.get(f"/Observation/{id}").json()


def test_a_request_id_comes_back(api: httpx.Client) -> None:
    theirs = api.get("/Patient/x", headers={"X-Request-Id": "abc-123"})
    ours = api.get("/Patient/x", headers={"X-Request-Id": "not a word"})

    assert theirs.headers["x-request-id"] == "abc-123"
    assert len(ours.headers["x-request-id"]) > 8


@pytest.mark.standard("RFC 6750 3")
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer a b",
        "Basic dTpw",
        "Bearer a.b.c",
        "Bearer é",
        "Bearer " + "x" * 20000,
    ],
)
def test_who_is_not_known_is_told_nothing(shared_server: Server, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}

    for path in ("/Patient/x", "/Patient", "/Ghost", "/Patient/x/_history/1", "/"):
        answer = shared_server.stranger().get(path, headers=headers)  # type: ignore[arg-type]

        refused(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1/fhir/metadata?", "a b", "", "metadata", "x" * 5000, "[::1", "%00"],
)
def test_no_host_header_opens_a_door(shared_server: Server, host: str) -> None:
    answer = shared_server.stranger().get("/Patient/x", headers={"Host": host})

    assert answer.status_code in {400, 401}

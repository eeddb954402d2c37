"""FHIR R4 binary, "Serving Binary Resources using the RESTful API"."""

import base64
import uuid

import httpx
import pytest

from tests.build import a_patient
from tests.server import Server
from tests.standards.asking import Json, put, refused, stored

pytestmark = pytest.mark.standard("FHIR R4 binary")

OCTETS = b"\x89PNG\r\n\x00\xff not really"
JSON = {"Accept": "application/fhir+json"}


def sent(
    api: httpx.Client, context: str = "", *, octets: bytes = OCTETS, media: str = "image/png"
) -> httpx.Response:
    headers = {"Content-Type": media, **({"X-Security-Context": context} if context else {})}
    return api.post("/Binary", content=octets, headers=headers)


def test_octets_are_stored_with_their_content_type(api: httpx.Client) -> None:
    answer = sent(api)

    assert answer.status_code == 201
    made = answer.json()
    assert (made["resourceType"], made["contentType"]) == ("Binary", "image/png")
    assert base64.b64decode(made["data"]) == OCTETS


def test_octets_come_back_as_they_were_sent(api: httpx.Client) -> None:
    address = f"/Binary/{sent(api).json()['id']}"

    for accept in ("*/*", "image/png", "image/*", "text/html;q=0.5, image/png"):
        answer = api.get(address, headers={"Accept": accept})
        assert (answer.status_code, answer.content) == (200, OCTETS)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["etag"] == 'W/"1"'
        assert "sandbox" in answer.headers["content-security-policy"]
    vread = api.get(f"{address}/_history/1", headers={"Accept": "image/png"})
    assert vread.content == OCTETS


@pytest.mark.parametrize("accept", ["application/fhir+json", "application/json", "json"])
def test_who_asks_for_fhir_gets_the_resource(api: httpx.Client, accept: str) -> None:
    made = sent(api).json()

    assert api.get(f"/Binary/{made['id']}", headers={"Accept": accept}).json() == made
    assert api.get(f"/Binary/{made['id']}?_format=json").json() == made


def test_another_type_is_not_acceptable(api: httpx.Client) -> None:
    address = f"/Binary/{sent(api).json()['id']}"

    for accept in ("application/pdf", "image/png;q=0, text/plain", "application/fhir+xml"):
        refused(api.get(address, headers={"Accept": accept}), 406)
    refused(api.get(f"{address}?_format=xml"), 406)


def test_a_resource_with_base64_is_served_as_octets_as_well(api: httpx.Client) -> None:
    data = base64.b64encode(b"Hello").decode()
    made = stored(
        api, {"resourceType": "Binary", "contentType": "text/plain; charset=utf-8", "data": data}
    )

    answer = api.get(f"/Binary/{made['id']}", headers={"Accept": "text/plain"})

    assert (answer.text, answer.headers["content-type"]) == ("Hello", "text/plain; charset=utf-8")


def test_octets_are_updated_under_their_id(api: httpx.Client) -> None:
    made = sent(api).json()
    address = f"/Binary/{made['id']}"

    answer = api.put(address, content=b"two", headers={"Content-Type": "text/plain"})

    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    assert api.get(address, headers={"Accept": "*/*"}).content == b"two"


@pytest.mark.parametrize(
    "media", ["application/fhir+xml", "", "nonsense", "image png", "text/plain; =", "a/b/c"]
)
def test_what_is_not_a_type_or_not_spoken_is_refused(api: httpx.Client, media: str) -> None:
    refused(sent(api, media=media), 415)


def test_what_pretends_to_be_a_type_is_served_as_plain_octets(api: httpx.Client) -> None:
    made = put(
        api,
        {
            "resourceType": "Binary",
            "id": f"b-{uuid.uuid4()}",
            "contentType": "text/html\nX: y",
            "data": base64.b64encode(b"x").decode(),
        },
    )

    answer = api.get(f"/Binary/{made['id']}", headers={"Accept": "*/*"})

    assert answer.headers["content-type"] == "application/octet-stream"
    assert "x" not in answer.headers


def test_the_security_context_is_kept_and_told(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    context = f"Patient/{patient['id']}"

    made = sent(api, context).json()

    assert made["securityContext"] == {"reference": context}
    answer = api.get(f"/Binary/{made['id']}", headers={"Accept": "*/*"})
    assert answer.headers["x-security-context"] == context


def test_who_may_see_the_security_context_may_see_the_octets_and_nobody_else(
    api: httpx.Client, shared_server: Server, other: httpx.Client
) -> None:
    patient = stored(api, a_patient(None))
    apart = stored(api, a_patient(None))
    made = sent(api, f"Patient/{patient['id']}").json()
    address = f"/Binary/{made['id']}"

    def bound(to: Json) -> httpx.Client:
        return shared_server.client(scope="patient/*.rs", patient=to["id"])

    assert bound(patient).get(address, headers=JSON).status_code == 200
    refused(bound(apart).get(address, headers=JSON), 404)
    refused(other.get(address, headers=JSON), 404)


def test_a_security_context_that_is_hidden_is_one_that_is_not_there(
    api: httpx.Client, other: httpx.Client
) -> None:
    patient = stored(api, a_patient(None))
    basic = {
        "resourceType": "Basic",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient['id']}"},
    }
    hidden = stored(api, basic)["id"]

    answers = [sent(other, f"Basic/{id}") for id in (hidden, "nothing-here")]

    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].text.replace(hidden, "nothing-here") == answers[1].text


def test_in_a_bundle_a_binary_is_a_resource(api: httpx.Client) -> None:
    made = sent(api).json()
    entry = {"request": {"method": "GET", "url": f"Binary/{made['id']}"}}

    answer = api.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]})

    assert answer.json()["entry"][0]["resource"] == made

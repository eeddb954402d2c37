"""FHIR http, "Transaction Processing Rules": order, conditions, links and overlaps."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.build import a_patient, a_request
from tests.server import Server
from tests.standards.asking import Json, refused, stored

pytestmark = pytest.mark.standard("FHIR http transaction")

SYSTEM = "https://example.org/tests"


def a_person(value: str, **members: object) -> Json:
    return {**a_patient(None), "identifier": [{"system": SYSTEM, "value": value}], **members}


def about(reference: str, **members: object) -> Json:
    return a_request(None, subject={"reference": reference}, requester=None, **members)


def entry(method: str, url: str, resource: Json | None = None, **request: str) -> Json:
    made: Json = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    return made


def send(api: httpx.Client, *entries: Json, **headers: str) -> httpx.Response:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return api.post("", json=bundle, headers=headers)


def done(api: httpx.Client, *entries: Json) -> list[Json]:
    answer = send(api, *entries)
    assert answer.status_code == 200, answer.text
    responses: list[Json] = answer.json()["entry"]
    return responses


def statuses(responses: list[Json]) -> list[str]:
    return [each["response"]["status"][:3] for each in responses]


@pytest.fixture
def value() -> str:
    """The value of an identifier that nobody else has."""
    return str(uuid.uuid4())


def test_deletes_come_first_and_reads_last_whatever_their_order(api: httpx.Client) -> None:
    gone = stored(api, a_patient(None))
    kept = stored(api, a_patient(None))
    address = f"Patient/{kept['id']}"

    responses = done(
        api,
        entry("GET", address),
        entry("PUT", address, {**kept, "gender": "female"}),
        entry("POST", "Patient", a_patient(None)),
        entry("DELETE", f"Patient/{gone['id']}"),
    )

    assert statuses(responses) == ["200", "200", "201", "204"]
    assert responses[0]["resource"]["gender"] == "female"
    refused(api.get(f"/Patient/{gone['id']}"), 410)


def test_what_one_entry_deletes_another_does_not_refer_to(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"Patient/{patient['id']}"

    answer = send(api, entry("POST", "ServiceRequest", about(address)), entry("DELETE", address))

    refused(answer, 422, "", "Bundle.entry[0].resource.subject")
    assert api.get(f"/{address}").status_code == 200


def test_what_refers_to_each_other_goes_together(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"Patient/{patient['id']}"
    flag = stored(
        api,
        {
            "resourceType": "Flag",
            "status": "active",
            "code": {"text": "x"},
            "subject": {"reference": address},
        },
    )

    refused(send(api, entry("DELETE", address)), 409, "", "Bundle.entry[0].resource")
    responses = done(api, entry("DELETE", address), entry("DELETE", f"Flag/{flag['id']}"))

    assert statuses(responses) == ["204", "204"]


def test_a_delete_refused_undoes_the_rest(api: httpx.Client, value: str) -> None:
    patient = stored(api, a_patient(None))
    stored(api, about(f"Patient/{patient['id']}"))

    answer = send(
        api,
        entry("POST", "Patient", a_person(value)),
        entry("DELETE", f"Patient/{patient['id']}"),
    )

    refused(answer, 409)
    assert api.get("/Patient", params={"identifier": value}).json()["total"] == 0


@pytest.mark.standard("FHIR http conditional create")
def test_a_conditional_create_is_done_once_and_links_lead_to_what_is_there(
    api: httpx.Client, value: str
) -> None:
    def referral() -> list[Json]:
        patient = f"urn:uuid:{uuid.uuid4()}"
        create = entry(
            "POST", "Patient", a_person(value), ifNoneExist=f"identifier={SYSTEM}|{value}"
        )
        return done(
            api, {"fullUrl": patient, **create}, entry("POST", "ServiceRequest", about(patient))
        )

    first, second = referral(), referral()

    assert (statuses(first), statuses(second)) == (["201", "201"], ["200", "201"])
    assert second[0]["response"]["location"] == first[0]["response"]["location"]
    patient = first[0]["response"]["location"].split("/fhir/")[1].partition("/_history")[0]
    assert api.get("/ServiceRequest", params={"subject": patient}).json()["total"] == 2


@pytest.mark.standard("FHIR http conditional create")
def test_of_16_transactions_on_one_condition_one_creates(shared_server: Server, value: str) -> None:
    client = shared_server.client()
    create = entry("POST", "Patient", a_person(value), ifNoneExist=f"identifier={value}")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: done(client, create), range(16)))

    assert sorted(status for each in answers for status in statuses(each)) == ["200"] * 15 + ["201"]


@pytest.mark.standard("FHIR http conditional update")
@pytest.mark.standard("FHIR http conditional delete")
def test_conditions_stand_for_ids_in_every_write(api: httpx.Client, value: str) -> None:
    for suffix in ("-u", "-d"):
        stored(api, a_person(value + suffix))

    responses = done(
        api,
        entry("PUT", f"Patient?identifier={value}-u", a_person(f"{value}-u", gender="female")),
        entry("PUT", f"Patient?identifier={value}-n", a_person(f"{value}-n")),
        entry("DELETE", f"Patient?identifier={value}-d"),
        entry("DELETE", f"Patient?identifier={value}-x"),
    )

    assert statuses(responses) == ["200", "201", "204", "204"]
    found = api.get("/Patient", params={"identifier": f"{SYSTEM}|{value}-d"}).json()
    assert found["total"] == 0


@pytest.mark.parametrize(
    "entries",
    [
        [("PUT", "Patient?identifier={v}"), ("PUT", "Patient/{id}")],
        [("PUT", "Patient?identifier={v}"), ("DELETE", "Patient/{id}")],
        [("PUT", "Patient?identifier={v}"), ("PUT", "Patient?identifier=" + SYSTEM + "|{v}")],
        [("PUT", "Patient?identifier={v}n"), ("PUT", "Patient?identifier={v}n")],
        [("DELETE", "Patient/{id}"), ("DELETE", "Patient/{id}")],
    ],
)
def test_two_entries_that_mean_one_resource_are_refused(
    api: httpx.Client, value: str, entries: list[tuple[str, str]]
) -> None:
    patient = stored(api, a_person(value))
    made = [
        entry(
            method,
            url.format(v=value, id=patient["id"]),
            None if method == "DELETE" else {**patient},
        )
        for method, url in entries
    ]
    for each in made:
        if "?" in each["request"]["url"] and "resource" in each:
            del each["resource"]["id"]

    refused(send(api, *made), 400, "duplicate", "Bundle.entry[0].request.url")

    assert api.get(f"/Patient/{patient['id']}").json() == patient


@pytest.mark.standard("FHIR http conditional create")
def test_one_condition_twice_is_refused(api: httpx.Client, value: str) -> None:
    create = entry("POST", "Patient", a_person(value), ifNoneExist=f"identifier={value}")

    refused(send(api, create, create), 400, "duplicate")


def test_several_matches_fail_the_whole_at_their_place(api: httpx.Client, value: str) -> None:
    for _ in range(2):
        stored(api, a_person(value))
    create = entry("POST", "Patient", a_person(value), ifNoneExist=f"identifier={value}")

    answer = send(api, entry("POST", "Patient", a_patient(None)), create)

    refused(answer, 412, "multiple-matches", "Bundle.entry[1].request.ifNoneExist")


@pytest.mark.standard("FHIR http conditional references")
def test_a_conditional_reference_becomes_what_it_means(api: httpx.Client, value: str) -> None:
    patient = stored(api, a_person(value))
    reference = f"Patient?identifier={SYSTEM}|{value}"

    responses = done(api, entry("POST", "ServiceRequest", about(reference)))

    made = httpx.get(responses[0]["response"]["location"], headers=api.headers).json()
    assert made["subject"] == {"reference": f"Patient/{patient['id']}"}


@pytest.mark.standard("FHIR http conditional references")
@pytest.mark.parametrize(
    ("there", "status", "code"), [(0, 422, "not-found"), (2, 412, "multiple-matches")]
)
def test_a_conditional_reference_to_none_or_several_fails_the_whole(
    api: httpx.Client, value: str, there: int, status: int, code: str
) -> None:
    for _ in range(there):
        stored(api, a_person(value))
    request = entry("POST", "ServiceRequest", about(f"Patient?identifier={value}"))

    refused(send(api, request), status, code, "Bundle.entry[0].resource.subject")


@pytest.mark.standard("FHIR http conditional references")
def test_a_conditional_reference_finds_nothing_that_is_hidden(
    api: httpx.Client, other: httpx.Client, value: str
) -> None:
    stored(api, a_person(value))
    request = entry("POST", "ServiceRequest", about(f"Patient?identifier={value}"))

    refused(send(other, request), 422, "not-found")


@pytest.mark.standard("FHIR http conditional references")
def test_outside_a_transaction_a_conditional_reference_is_none(
    api: httpx.Client, value: str
) -> None:
    stored(api, a_person(value))

    refused(api.post("/ServiceRequest", json=about(f"Patient?identifier={value}")), 422)


@pytest.mark.standard("FHIR http concurrency")
def test_if_match_of_an_entry_counts(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"Patient/{patient['id']}"

    for method, resource in (("PUT", patient), ("DELETE", None)):
        stale = entry(method, address, resource, ifMatch='W/"9"')
        refused(send(api, stale), 412)
    responses = done(api, entry("DELETE", address, ifMatch='W/"1"'))

    assert statuses(responses) == ["204"]


@pytest.mark.standard("FHIR http conditional read")
def test_if_none_match_and_if_modified_since_of_an_entry_count(api: httpx.Client) -> None:
    patient = stored(api, a_patient(None))
    address = f"Patient/{patient['id']}"
    modified = patient["meta"]["lastUpdated"]

    responses = done(
        api,
        entry("GET", address, ifNoneMatch='W/"1"'),
        entry("GET", f"{address}/_history/1", ifModifiedSince=modified),
    )

    assert statuses(responses) == ["304", "304"]


@pytest.mark.standard("FHIR http return preference")
@pytest.mark.parametrize(
    ("prefer", "resource", "outcome"),
    [
        ("return=minimal", False, False),
        ("return=representation", True, False),
        ("return=OperationOutcome", False, True),
    ],
)
def test_prefer_of_the_whole_counts_for_each_entry(
    api: httpx.Client, prefer: str, resource: bool, outcome: bool
) -> None:
    answer = send(api, entry("POST", "Patient", a_patient(None)), Prefer=prefer)

    (response,) = answer.json()["entry"]
    assert ("resource" in response, "outcome" in response["response"]) == (resource, outcome)


def test_histories_and_searches_of_all_types_can_be_part_of_it(api: httpx.Client) -> None:
    responses = done(
        api,
        entry("GET", "Patient/_history?_count=1"),
        entry("GET", "_history"),
        entry("GET", "?_type=Patient,Flag&_count=1"),
    )

    assert [each["resource"]["type"] for each in responses] == ["history", "history", "searchset"]


EXAMPLE = Path(__file__).parent.parent / "examples" / "Bundle-bundle-transaction.json"


def test_the_transaction_that_the_standard_shows_is_done(server: Server) -> None:
    """The official example; but it asks a ValueSet for $lookup, which a CodeSystem has."""
    api = server.client()
    bundle = json.loads(EXAMPLE.read_bytes())
    for each in bundle["entry"]:
        if each["request"]["url"] == "ValueSet/$lookup":
            coding = {"system": "http://hl7.org/fhir/administrative-gender", "code": "male"}
            each["request"]["url"] = "CodeSystem/$lookup"
            each["resource"]["parameter"][0]["valueCoding"] = coding
    for id in ("123", "123a", "123a", "234", "12334"):
        api.put(f"/Patient/{id}", json=a_patient(id)).raise_for_status()

    answer = api.post("", json=bundle, headers={"Prefer": "return=minimal"})

    assert answer.status_code == 200, answer.text
    assert statuses(answer.json()["entry"]) == [
        "201", "201", "200", "201", "200", "204", "204", "200", "200", "200",
    ]  # fmt: skip
    refused(api.get("/Patient/234"), 410)
    assert api.get("/Patient/123a").headers["etag"] == 'W/"3"'


def test_a_refused_operation_fails_the_whole(api: httpx.Client, value: str) -> None:
    create = entry("POST", "Patient", a_person(value))

    refused(send(api, create, entry("GET", "Patient/nothing-here/$everything")), 404)

    assert api.get("/Patient", params={"identifier": value}).json()["total"] == 0

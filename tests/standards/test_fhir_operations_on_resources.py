"""FHIR R4 operations on resources: $validate, $meta, Patient and ServiceRequest $everything."""

from typing import Any

import httpx
import pytest

from tests.build import (
    a_patient,
    a_practitioner,
    a_report,
    a_request,
    a_role,
    a_step,
    a_study,
)
from tests.server import Server
from tests.standards.asking import Json, put, refused, stored

IMR_STUDY = "https://profiles.ihe.net/RAD/IMR/StructureDefinition/imr-imagingstudy"


def issues(answer: httpx.Response) -> list[tuple[str, str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    return [
        (each["severity"], each["code"], each.get("expression", [""])[0])
        for each in answer.json()["issue"]
    ]


def parameters(*rows: Json) -> Json:
    return {"resourceType": "Parameters", "parameter": list(rows)}


# --- $validate -------------------------------------------------------------------------------


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_a_good_resource_has_nothing_against_it(api: httpx.Client) -> None:
    answer = api.post("/Patient/$validate", json=a_patient())
    assert issues(answer) == [("information", "informational", "")]


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_all_that_is_wrong_is_told_with_its_place(api: httpx.Client) -> None:
    bad = a_patient(gender="red", birthDate="1970-02-30", colour="x")
    found = issues(api.post("/Patient/$validate", json=bad))
    assert {(code, place) for _, code, place in found} == {
        ("code-invalid", "Patient.gender"),
        ("value", "Patient.birthDate"),
        ("structure", "Patient.colour"),
    }
    assert {severity for severity, _, _ in found} == {"error"}


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_parameters_say_the_same_as_the_resource_alone(api: httpx.Client) -> None:
    bad = a_patient(gender="red")
    rows = ({"name": "resource", "resource": bad}, {"name": "mode", "valueCode": "create"})
    by_itself = issues(api.post("/Patient/$validate", json=bad))
    assert issues(api.post("/Patient/$validate", json=parameters(*rows))) == by_itself


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_validation_stores_nothing(api: httpx.Client) -> None:
    marked = a_patient(id="never-stored")
    issues(api.post("/Patient/$validate", json=marked))
    assert api.get("/Patient/never-stored").status_code == 404


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_an_update_needs_the_id_of_its_address(api: httpx.Client) -> None:
    held = stored(api, a_patient(id=None))
    path = f"/Patient/{held['id']}/$validate"
    rows = (
        {"name": "resource", "resource": a_patient("x")},
        {"name": "mode", "valueCode": "update"},
    )
    assert ("error", "invalid", "Patient.id") in issues(api.post(path, json=parameters(*rows)))
    assert issues(api.get(f"{path}?mode=update"))[0][0] == "information"


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_a_delete_is_asked_for_without_a_resource(api: httpx.Client) -> None:
    held = stored(api, a_patient(id=None))
    assert issues(api.get(f"/Patient/{held['id']}/$validate?mode=delete"))[0][0] == "information"
    refused(api.get("/Patient/nobody/$validate?mode=delete"), 404)
    refused(api.get("/Patient/$validate?mode=delete"), 400, "invalid", "mode")


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_a_create_that_would_be_refused_is_told_why(api: httpx.Client) -> None:
    held = stored(api, a_patient(id=None))
    about = {"reference": f"Patient/{held['id']}"}
    nowhere = a_study(id=None, subject=about, endpoint=[{"reference": "Endpoint/nowhere"}])
    create = {"name": "mode", "valueCode": "create"}
    rows = ({"name": "resource", "resource": nowhere}, create)
    found = issues(api.post("/ImagingStudy/$validate", json=parameters(*rows)))
    assert [severity for severity, _, _ in found] == ["error"]
    assert found[0][2].startswith("ImagingStudy.endpoint")
    good = a_study(id=None, uid="1.2.99", subject=about)
    rows = ({"name": "resource", "resource": good}, create)
    assert (
        issues(api.post("/ImagingStudy/$validate", json=parameters(*rows)))[0][0] == "information"
    )
    assert not api.get("/ImagingStudy?identifier=urn:oid:1.2.99").json().get("entry")


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_a_delete_of_what_is_referred_to_would_be_refused(api: httpx.Client) -> None:
    held = stored(api, a_patient(id=None))
    stored(api, a_study(id=None, uid="1.2.98", subject={"reference": f"Patient/{held['id']}"}))
    found = issues(api.get(f"/Patient/{held['id']}/$validate?mode=delete"))
    assert [(severity, code) for severity, code, _ in found] == [("error", "conflict")]
    assert api.get(f"/Patient/{held['id']}").status_code == 200


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_who_may_not_create_is_told_so(shared_server: Server) -> None:
    client = shared_server.client(scope="system/Patient.rs")
    rows = ({"name": "resource", "resource": a_patient()}, {"name": "mode", "valueCode": "create"})
    found = issues(client.post("/Patient/$validate", json=parameters(*rows)))
    assert [(severity, code) for severity, code, _ in found] == [("error", "forbidden")]


@pytest.mark.standard("IHE RAD IMR imr-imagingstudy")
def test_a_profile_that_is_claimed_is_checked_and_warned_of(api: httpx.Client) -> None:
    claimed = a_study(meta={"profile": [IMR_STUDY]})
    found = issues(api.post("/ImagingStudy/$validate", json=claimed))
    assert ("warning", "required", "ImagingStudy.endpoint") in found
    assert ("warning", "required", "ImagingStudy.started") in found


@pytest.mark.standard("FHIR R4 Resource $validate")
def test_a_profile_that_is_asked_for_is_binding(api: httpx.Client) -> None:
    rows = ({"name": "resource", "resource": a_study()}, {"name": "profile", "valueUri": IMR_STUDY})
    found = issues(api.post("/ImagingStudy/$validate", json=parameters(*rows)))
    assert ("error", "required", "ImagingStudy.endpoint") in found


def test_a_profile_nobody_knows_is_a_warning(api: httpx.Client) -> None:
    claimed = a_patient(meta={"profile": ["http://example.org/StructureDefinition/mine"]})
    found = issues(api.post("/Patient/$validate", json=claimed))
    assert found == [("warning", "not-supported", "Patient.meta.profile")]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"resourceType":"Parameters","parameter":[{}]}'])
def test_a_body_that_is_no_question_is_refused(api: httpx.Client, body: bytes) -> None:
    refused(api.post("/Patient/$validate", content=body), 400)


# --- $meta -----------------------------------------------------------------------------------


@pytest.mark.standard("FHIR R4 Resource $meta")
def test_the_meta_of_a_resource_is_given(api: httpx.Client) -> None:
    tag = {"system": "urn:tags", "code": "blue"}
    held = stored(api, a_patient(id=None, meta={"tag": [tag]}))
    (row,) = api.get(f"/Patient/{held['id']}/$meta").json()["parameter"]
    assert row["name"] == "return"
    assert row["valueMeta"] == held["meta"]
    assert row["valueMeta"]["tag"] == [tag]
    refused(api.get("/Patient/nobody/$meta"), 404)


@pytest.mark.standard("FHIR R4 Resource $meta")
def test_the_labels_of_all_resources_that_one_sees_are_given(
    shared_server: Server, api: httpx.Client
) -> None:
    tag = {"system": "urn:tags", "code": "green"}
    bare = {"code": "bare"}
    label = {
        "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
        "code": "N",
    }
    meta = {"profile": ["urn:profiles:green"], "security": [label], "tag": [tag, bare]}
    stored(api, a_patient(id=None, meta=meta))

    def said(client: httpx.Client, address: str) -> Json:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        (row,) = answer.json()["parameter"]
        told: Json = row["valueMeta"]
        return told

    for address in ("/Patient/$meta", "/$meta"):
        told = said(api, address)
        assert "urn:profiles:green" in told["profile"]
        assert label in told["security"]
        assert tag in told["tag"]
        assert bare in told["tag"]
        assert len(told["tag"]) == len({str(each) for each in told["tag"]})
    assert tag not in said(api, "/Task/$meta").get("tag", [])
    other = shared_server.client(organization="other")
    assert tag not in said(other, "/Patient/$meta").get("tag", [])
    tasks = shared_server.client(scope="system/Task.rs")
    assert tag not in said(tasks, "/$meta").get("tag", [])
    refused(tasks.get("/Patient/$meta"), 403)


# --- $everything -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(api: httpx.Client) -> dict[str, str]:
    """A patient, two requests of one requisition, steps, a study and a report of it."""
    put(api, a_practitioner())
    put(api, a_role())
    put(api, a_role("gp"))
    patient = stored(api, a_patient(id=None))["id"]
    about = {"reference": f"Patient/{patient}"}
    group = {"system": "urn:isr", "value": "ISR,|7"}
    request = stored(api, a_request(id=None, subject=about, requisition=group))["id"]
    second = stored(api, a_request(id=None, subject=about, requisition=group))["id"]
    study = stored(
        api, a_study(id=None, uid="1.2.3.77", request=request, subject=about,
                     started="2026-03-01T10:00:00Z")
    )["id"]  # fmt: skip
    report = stored(api, a_report(id=None, request=request, study=study, subject=about))["id"]
    step = stored(
        api,
        {
            **{k: v for k, v in a_step("prefetch").items() if k != "id"},
            "for": about,
            "focus": {"reference": f"ImagingStudy/{study}"},
            "basedOn": [{"reference": f"ServiceRequest/{request}"}],
        },
    )["id"]
    return {
        "patient": f"Patient/{patient}",
        "request": f"ServiceRequest/{request}",
        "second": f"ServiceRequest/{second}",
        "study": f"ImagingStudy/{study}",
        "report": f"DiagnosticReport/{report}",
        "step": f"Task/{step}",
    }


def names(bundle: Json, mode: str = "match") -> list[str]:
    return [
        f"{each['resource']['resourceType']}/{each['resource']['id']}"
        for each in bundle.get("entry", [])
        if each["search"]["mode"] == mode
    ]


def whole(api: httpx.Client, path: str) -> list[str]:
    """The matches of all pages."""
    found: list[str] = []
    for _ in range(50):
        answer = api.get(path)
        assert answer.status_code == 200, answer.text
        bundle = answer.json()
        found += names(bundle)
        links = {each["relation"]: each["url"] for each in bundle["link"]}
        if "next" not in links:
            return found
        path = links["next"]
    raise AssertionError("there is no end of pages")


@pytest.mark.standard("FHIR R4 Patient $everything")
@pytest.mark.requirement("R006.1")
def test_the_record_of_a_patient_has_all_that_is_about_them(
    api: httpx.Client, case: dict[str, str]
) -> None:
    found = whole(api, f"/{case['patient']}/$everything")
    assert set(case.values()) <= set(found)
    assert len(found) == len(set(found))
    bundle = api.get(f"/{case['patient']}/$everything").json()
    assert "Organization/lead" in names(bundle, "include")


@pytest.mark.standard("FHIR R4 Patient $everything")
def test_pages_of_a_record_make_up_the_whole(api: httpx.Client, case: dict[str, str]) -> None:
    path = f"/{case['patient']}/$everything"
    assert whole(api, f"{path}?_count=1") == whole(api, path)


@pytest.mark.standard("FHIR R4 Patient $everything")
def test_a_record_is_narrowed_by_type_and_time(api: httpx.Client, case: dict[str, str]) -> None:
    path = f"/{case['patient']}/$everything"
    assert set(whole(api, f"{path}?_type=ImagingStudy,DiagnosticReport")) == {
        case["study"],
        case["report"],
    }
    at = api.get(f"/{case['step']}").json()["meta"]["lastUpdated"]
    request, study = {"reference": case["request"]}, {"reference": case["study"]}
    about = {"reference": case["patient"]}
    step = {**a_step("share"), "for": about, "basedOn": [request], "focus": study}
    made = stored(api, {name: value for name, value in step.items() if name != "id"})
    late = whole(api, f"{path}?_since={at}")
    assert f"Task/{made['id']}" in late
    assert case["patient"] not in late
    march = whole(api, f"{path}?start=2026-03-01&end=2026-03-02&_type=ImagingStudy")
    april = whole(api, f"{path}?start=2026-04-01&_type=ImagingStudy")
    assert (march, april) == ([case["study"]], [])


@pytest.mark.standard("FHIR R4 Patient $everything")
@pytest.mark.parametrize(
    ("query", "status", "place"),
    [
        ("_type=Organisation", 400, "_type"),
        ("_cursor=x", 400, "_cursor"),
        ("_cursor=0.1.99999999999999999999999", 400, "_cursor"),
        ("_count=many", 400, "_count"),
        ("_since=yesterday", 400, "_since"),
        ("colour=red", 400, "colour"),
    ],
)
def test_a_record_cannot_be_asked_for_in_words_nobody_knows(
    api: httpx.Client, case: dict[str, str], query: str, status: int, place: str
) -> None:
    refused(api.get(f"/{case['patient']}/$everything?{query}"), status, "", place)


@pytest.mark.requirement("R014.1")
def test_another_organisation_sees_nothing_of_a_record(
    other: httpx.Client, case: dict[str, str]
) -> None:
    refused(other.get(f"/{case['patient']}/$everything"), 404)
    refused(other.get(f"/{case['request']}/$everything"), 404)


def test_who_sees_some_types_gets_those_of_a_record(
    shared_server: Server, case: dict[str, str]
) -> None:
    client = shared_server.client(scope="system/Patient.rs system/ImagingStudy.rs")
    assert whole(client, f"/{case['patient']}/$everything") == [case["patient"], case["study"]]


@pytest.mark.requirement("R014.1")
def test_who_asked_for_a_record_stands_in_the_audit(
    api: httpx.Client, shared_server: Server, case: dict[str, str]
) -> None:
    whole(api, f"/{case['patient']}/$everything")
    auditor = shared_server.client("auditor", scope="user/*.rs")
    found = auditor.get(f"/AuditEvent?patient={case['patient']}&subtype=operation").json()
    assert found["entry"]


@pytest.mark.standard("isocentre ServiceRequest $everything")
@pytest.mark.requirement("R001.1")
def test_a_request_comes_with_all_that_came_of_it(api: httpx.Client, case: dict[str, str]) -> None:
    answer = api.get(f"/{case['request']}/$everything")
    assert answer.status_code == 200, answer.text
    found = names(answer.json())
    wanted = {case[each] for each in ("request", "second", "study", "report", "step")}
    assert wanted <= set(found)
    assert any(each.startswith("Task/") for each in set(found) - wanted)
    assert any(each.startswith("Provenance/") for each in found)
    assert case["patient"] in names(answer.json(), "include")
    assert whole(api, f"/{case['second']}/$everything") != []


@pytest.mark.standard("FHIR R4 operations")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Patient/p/$nothing", 404),
        ("GET", "/Patient/$everything", 404),
        ("GET", "/Organization/lead/$everything", 404),
        ("GET", "/Patient/p/_history/1/$meta", 404),
        ("GET", "/$validate", 404),
        ("PUT", "/Patient/p/$meta", 405),
        ("DELETE", "/ValueSet/$expand", 405),
    ],
)
def test_an_operation_that_is_not_there_is_not_found(
    api: httpx.Client, method: str, path: str, status: int
) -> None:
    refused(api.request(method, path), status, "not-supported")


@pytest.mark.standard("FHIR R4 CapabilityStatement.rest.resource.operation")
def test_every_operation_that_is_declared_is_there(api: httpx.Client) -> None:
    statement: Any = api.get("/metadata").json()
    (rest,) = statement["rest"]
    declared = {
        (each["type"], row["name"])
        for each in rest["resource"]
        for row in each.get("operation", ())
    }
    assert {
        ("Patient", "validate"), ("Patient", "meta"), ("Patient", "everything"),
        ("ServiceRequest", "everything"), ("ValueSet", "expand"), ("ValueSet", "validate-code"),
        ("CodeSystem", "lookup"), ("CodeSystem", "subsumes"), ("CodeSystem", "validate-code"),
    } <= declared  # fmt: skip
    of_all = {(type, name) for type, name in declared if name in {"validate", "meta"}}
    assert len(of_all) == 2 * len(rest["resource"])
    for type, name in (declared - of_all) | {("Task", "validate"), ("Task", "meta")}:
        answers = {api.get(f"/{type}/$" + name), api.get(f"/{type}/nobody/$" + name)}
        assert any("There is no operation" not in answer.text for answer in answers), (type, name)


@pytest.mark.standard("FHIR http batch")
def test_an_operation_may_be_an_entry_of_a_batch(api: httpx.Client, case: dict[str, str]) -> None:
    entry = {"request": {"method": "GET", "url": f"{case['patient']}/$meta"}}
    answer = api.post("/", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]})
    (row,) = answer.json()["entry"]
    assert row["response"]["status"].startswith("200")
    assert row["resource"]["resourceType"] == "Parameters"

"""HL7 Bulk Data Access 2.0: $export of the system, of patients, of a group."""

import asyncio
import json
import threading
from collections.abc import Callable

import httpx
import pytest

from fhir_server.export.exports import Exports
from fhir_server.export.work import PAGE
from fhir_server.postgres.database import Database
from tests.build import a_patient, an_organization
from tests.server import Server
from tests.standards.asking import Json, put, refused, stored

Work = Callable[[], int]


@pytest.fixture
def api(server: Server) -> httpx.Client:
    client = server.client()
    put(client, an_organization())
    return client


@pytest.fixture
def work(server: Server, database_url: str) -> Work:
    """Do what the worker role would do."""

    async def once() -> int:
        database = Database(database_url, size=2)
        await database.open()
        try:
            return await Exports(database, server.exports, server.base).work()
        finally:
            await database.close()

    return lambda: asyncio.run(once())


def kicked_off(client: httpx.Client, path: str) -> str:
    answer = client.get(path, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    return answer.headers["content-location"]


def exported(client: httpx.Client, work: Work, path: str) -> dict[str, list[Json]]:
    """All that an export has, by type."""
    place = kicked_off(client, path)
    work()
    answer = client.get(place)
    assert answer.status_code == 200, answer.text
    found: dict[str, list[Json]] = {}
    for output in answer.json()["output"]:
        file = client.get(output["url"], headers={"Accept": "application/fhir+ndjson"})
        assert file.status_code == 200, file.text
        assert file.headers["content-type"] == "application/fhir+ndjson"
        lines = [json.loads(line) for line in file.text.split("\n") if line]
        assert len(lines) == output["count"]
        assert {line["resourceType"] for line in lines} == {output["type"]}
        found.setdefault(output["type"], []).extend(lines)
    return found


def ids(found: dict[str, list[Json]], type: str) -> list[str]:
    return [each["id"] for each in found.get(type, [])]


def a_note(patient: Json, **members: object) -> Json:
    return {
        "resourceType": "Flag",
        "status": "active",
        "code": {"text": "Contrast reaction"},
        "subject": {"reference": f"Patient/{patient['id']}"},
        **members,
    }


@pytest.mark.standard("HL7 Bulk Data 2.0 export")
def test_an_export_of_the_system_has_every_resource_byte_for_byte(
    api: httpx.Client, work: Work
) -> None:
    patient = stored(api, a_patient(id=None, multipleBirthInteger=2))
    note = stored(api, a_note(patient))
    found = exported(api, work, "/$export")
    assert patient in found["Patient"]
    assert note in found["Flag"]
    assert "lead" in ids(found, "Organization")


@pytest.mark.standard("HL7 Bulk Data 2.0 status request")
def test_an_order_is_under_way_then_complete(api: httpx.Client, work: Work) -> None:
    stored(api, a_patient(id=None))
    place = kicked_off(api, "/$export?_type=Patient")
    waiting = api.get(place)
    assert waiting.status_code == 202
    assert waiting.headers["x-progress"]
    assert int(waiting.headers["retry-after"]) >= 1
    assert waiting.content == b""
    assert work() == 1
    manifest = api.get(place)
    assert manifest.status_code == 200
    assert manifest.headers["content-type"] == "application/json"
    assert "expires" in manifest.headers
    json = manifest.json()
    assert json["requiresAccessToken"] is True
    assert json["request"].endswith("/$export?_type=Patient")
    assert json["error"] == []
    assert json["transactionTime"]


@pytest.mark.standard("HL7 Bulk Data 2.0 kick-off request")
def test_only_the_types_asked_for_are_exported(api: httpx.Client, work: Work) -> None:
    patient = stored(api, a_patient(id=None))
    stored(api, a_note(patient))
    assert set(exported(api, work, "/$export?_type=Flag,Organization")) == {"Flag", "Organization"}


@pytest.mark.standard("HL7 Bulk Data 2.0 kick-off request")
def test_only_what_changed_since_is_exported(api: httpx.Client, work: Work) -> None:
    first = stored(api, a_patient(id=None))
    second = stored(api, a_patient(id=None))
    since = first["meta"]["lastUpdated"]
    found = exported(api, work, f"/$export?_type=Patient&_since={since}")
    assert ids(found, "Patient") == [second["id"]]


@pytest.mark.standard("HL7 Bulk Data 2.0 transactionTime")
def test_what_changes_after_the_order_is_exported_as_it_was(api: httpx.Client, work: Work) -> None:
    patient = stored(api, a_patient(id=None, gender="male"))
    gone = stored(api, a_note(patient))
    place = kicked_off(api, "/$export?_type=Patient,Flag")
    put(api, {**patient, "gender": "female"})
    assert api.delete(f"/Flag/{gone['id']}").status_code in {200, 204}
    stored(api, a_patient(id=None))
    work()
    lines = [
        json.loads(line)
        for output in api.get(place).json()["output"]
        for line in api.get(output["url"]).text.split("\n")
        if line
    ]
    assert sorted((each["resourceType"], each["id"]) for each in lines) == sorted(
        [("Patient", patient["id"]), ("Flag", gone["id"])]
    )
    assert [each["gender"] for each in lines if "gender" in each] == ["male"]


@pytest.mark.standard("HL7 Bulk Data 2.0 Patient export")
def test_an_export_of_patients_has_only_what_is_about_patients(
    api: httpx.Client, work: Work
) -> None:
    patient = stored(api, a_patient(id=None))
    note = stored(api, a_note(patient))
    found = exported(api, work, "/Patient/$export")
    assert ids(found, "Patient") == [patient["id"]]
    assert ids(found, "Flag") == [note["id"]]
    assert "Organization" not in found


@pytest.mark.standard("HL7 Bulk Data 2.0 Group export")
def test_an_export_of_a_group_has_only_its_patients(api: httpx.Client, work: Work) -> None:
    member, former, stranger = (stored(api, a_patient(id=None)) for _ in range(3))
    for each in (member, former, stranger):
        stored(api, a_note(each))
    group = stored(api, {
        "resourceType": "Group", "type": "person", "actual": True,
        "managingEntity": {"reference": "Organization/lead"},
        "member": [
            {"entity": {"reference": f"Patient/{member['id']}"}},
            {"entity": {"reference": f"Patient/{former['id']}"}, "inactive": True},
        ],
    })  # fmt: skip
    found = exported(api, work, f"/Group/{group['id']}/$export")
    assert ids(found, "Patient") == [member["id"]]
    assert [each["subject"]["reference"] for each in found["Flag"]] == [f"Patient/{member['id']}"]


@pytest.mark.standard("HL7 Bulk Data 2.0 security")
@pytest.mark.requirement("R014.1")
def test_an_export_has_only_what_its_asker_may_see(
    api: httpx.Client, server: Server, work: Work
) -> None:
    put(api, an_organization("elsewhere", "ZZ903"))
    ours = stored(api, a_patient(id=None))
    theirs_client = server.client(organization="elsewhere")
    theirs = stored(theirs_client, a_patient(id=None))
    found = exported(theirs_client, work, "/$export")
    assert ids(found, "Patient") == [theirs["id"]]
    assert ours["id"] in ids(exported(api, work, "/$export"), "Patient")
    narrow = server.client(scope="system/Organization.rs")
    assert set(exported(narrow, work, "/$export")) == {"Organization"}
    bound = server.client(scope="patient/*.rs", patient=ours["id"])
    assert ids(exported(bound, work, "/$export?_type=Patient"), "Patient") == [ours["id"]]


@pytest.mark.standard("HL7 Bulk Data 2.0 security")
def test_an_order_and_its_files_are_its_askers_alone(
    api: httpx.Client, server: Server, work: Work
) -> None:
    stored(api, a_patient(id=None))
    place = kicked_off(api, "/$export?_type=Patient")
    work()
    (output,) = api.get(place).json()["output"]
    other = server.client(organization="other")
    for address in (place, output["url"]):
        refused(other.get(address), 404, "not-found")
        refused(server.stranger().get(address), 401, "login")
    refused(other.delete(place), 404, "not-found")
    narrower = server.client(scope="system/Organization.rs")
    refused(narrower.get(output["url"]), 403, "forbidden")
    assert api.get(output["url"]).status_code == 200


@pytest.mark.standard("HL7 Bulk Data 2.0 security")
def test_who_shares_the_client_does_not_share_the_export(
    api: httpx.Client, server: Server, work: Work
) -> None:
    patients = [stored(api, a_patient(id=None))["id"] for _ in range(2)]
    scope = "patient/Patient.rs"
    mine = server.client(scope=scope, patient=patients[0])
    status = kicked_off(mine, "/Patient/$export?_type=Patient")
    work()
    file = mine.get(status).json()["output"][0]["url"]

    for other in (
        server.client(scope=scope, patient=patients[1]),
        server.client(scope="system/*.rs"),
        server.client("referrer", scope=scope, patient=patients[0], subject="Client/test"),
        server.client(scope=scope, patient=patients[0], subject="Patient/another"),
    ):
        for method, address in (("GET", status), ("GET", file), ("DELETE", status)):
            assert other.request(method, address).status_code == 404, address
    assert mine.get(file).status_code == 200


@pytest.mark.standard("SMART App Launch 2.2, Finer-grained resource constraints")
def test_a_token_for_some_of_a_type_does_not_get_a_file_of_all(
    api: httpx.Client, server: Server, work: Work
) -> None:
    stored(api, a_patient(id=None))
    status = kicked_off(api, "/$export?_type=Patient")
    work()
    (file,) = api.get(status).json()["output"]

    some = server.client(scope="system/Patient.rs?gender=female")

    assert some.get(file["url"]).status_code == 403


@pytest.mark.requirement("R014.1")
def test_whose_record_was_exported_stands_in_the_audit(
    api: httpx.Client, server: Server, work: Work
) -> None:
    patient = stored(api, a_patient(id=None))
    exported(api, work, "/Patient/$export")
    auditor = server.client("auditor", scope="user/*.rs")
    found = auditor.get(
        "/AuditEvent", params={"patient": f"Patient/{patient['id']}", "type": "110106"}
    ).json()
    assert found.get("entry"), found


@pytest.mark.standard("HL7 Bulk Data 2.0 delete request")
def test_an_order_that_is_cancelled_is_gone_with_its_files(
    api: httpx.Client, work: Work, server: Server
) -> None:
    stored(api, a_patient(id=None))
    under_way = kicked_off(api, "/$export")
    assert api.delete(under_way).status_code == 202
    refused(api.get(under_way), 404)
    complete = kicked_off(api, "/$export?_type=Patient")
    work()
    (output,) = api.get(complete).json()["output"]
    assert api.delete(complete).status_code == 202
    refused(api.get(output["url"]), 404)
    work()
    assert not [each for each in server.exports.glob("*") if each.name in under_way + complete]
    refused(api.delete(complete), 404)


def test_an_order_whose_worker_died_is_done_by_the_next(
    api: httpx.Client, work: Work, database_url: str
) -> None:
    patient = stored(api, a_patient(id=None))
    place = kicked_off(api, "/$export?_type=Patient")
    _run(database_url, "update export set state = 'running', beat = 1, done = 7")
    assert work() == 1
    (output,) = api.get(place).json()["output"]
    assert json.loads(api.get(output["url"]).text)["id"] == patient["id"]


def test_an_order_that_failed_is_told_as_a_failure_of_ours(
    api: httpx.Client, database_url: str
) -> None:
    place = kicked_off(api, "/$export")
    _run(database_url, "update export set state = 'failed'")
    refused(api.get(place), 500, "exception")


def test_two_workers_do_an_order_once(api: httpx.Client, work: Work) -> None:
    stored(api, a_patient(id=None))
    places = [kicked_off(api, "/$export?_type=Patient") for _ in range(3)]
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(work())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 3
    assert {api.get(place).status_code for place in places} == {200}


def test_an_export_that_has_expired_is_forgotten(
    api: httpx.Client, work: Work, database_url: str
) -> None:
    place = kicked_off(api, "/$export?_type=Organization")
    work()
    _run(database_url, "update export set expires = 1")
    refused(api.get(place), 404)
    assert work() == 1


def test_more_than_a_page_is_exported_whole(api: httpx.Client, work: Work) -> None:
    many = PAGE + 7
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [
            {
                "resource": an_organization(f"o{number}", f"Z{number:04d}"),
                "request": {"method": "PUT", "url": f"Organization/o{number}"},
            }
            for number in range(many)
        ],
    }
    assert api.post("/", json=bundle).status_code == 200
    held = ids(exported(api, work, "/$export?_type=Organization"), "Organization")
    assert len(held) == len(set(held)) == many + 1


@pytest.mark.standard("HL7 Bulk Data 2.0 kick-off request")
@pytest.mark.parametrize(
    ("query", "prefer", "status", "place"),
    [
        ("", "", 400, "Prefer"),
        ("", "return=minimal", 400, "Prefer"),
        ("?_outputFormat=text/csv", "respond-async", 400, "_outputFormat"),
        ("?_type=Nothing", "respond-async", 400, "_type"),
        ("?_type=AuditEvent", "respond-async", 400, "_type"),
        ("?_since=soon", "respond-async", 400, "_since"),
        ("?_elements=id", "respond-async", 400, "_elements"),
    ],
)
def test_an_order_that_cannot_be_kept_is_refused(
    api: httpx.Client, query: str, prefer: str, status: int, place: str
) -> None:
    refused(api.get(f"/$export{query}", headers={"Prefer": prefer}), status, "", place)


@pytest.mark.standard("HL7 Bulk Data 2.0 kick-off request")
@pytest.mark.parametrize("format", ["application/fhir+ndjson", "application/ndjson", "ndjson"])
def test_the_three_names_of_the_format_are_known(api: httpx.Client, format: str) -> None:
    kicked_off(api, f"/$export?_outputFormat={format.replace('+', '%2B')}")


def test_a_type_that_may_not_be_read_is_not_exported_in_silence(server: Server) -> None:
    client = server.client(scope="system/Organization.rs")
    answer = client.get("/$export?_type=Patient", headers={"Prefer": "respond-async"})
    refused(answer, 403, "forbidden")


def test_one_client_does_not_fill_the_queue(api: httpx.Client) -> None:
    for _ in range(5):
        kicked_off(api, "/$export")
    refused(api.get("/$export", headers={"Prefer": "respond-async"}), 503, "throttled")


@pytest.mark.parametrize(
    "path",
    ["/_export", "/_export/x", "/_export/x/y", "/_export/..%2f..%2fkeys/a", "/_export/a/b/c"],
)
def test_an_order_nobody_gave_is_not_found(api: httpx.Client, path: str) -> None:
    refused(api.get(path), 404)


def _run(database_url: str, sql: str) -> None:
    async def once() -> None:
        database = Database(database_url, size=2)
        await database.open()
        await database.run(sql)
        await database.close()

    asyncio.run(once())

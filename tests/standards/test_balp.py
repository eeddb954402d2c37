"""Every way in leaves the AuditEvent that the standards want, on a whole served installation.

What is asked and what is to be found is typed in here from IHE BALP 1.1 (its StructureDefinitions),
DICOM PS3.15 Section A.5.3 and PS3.16 CID 400, without the server's own tables.
"""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from demo import data
from tests.dicom_bridge.build import a_uid, an_instance, part10
from tests.flows.installation import free_port
from tests.smart_apps.authorization import browser as browsers
from tests.smart_apps.authorization.browser import App, Site
from tests.standards.balp import CT, EXPLICIT, Case, Json, World, fitting

pytestmark = [pytest.mark.slow, pytest.mark.requirement("R014.1"), pytest.mark.standard("IHE BALP")]

ECHO = "1.2.840.10008.1.1"
STUDY_FIND, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
STUDY_MOVE, MPPS = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.3.1.2.3.3"
WORKLIST = "1.2.840.10008.5.1.4.31"
COMMITMENT, COMMITTER = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


def a_list(world: World, **members: Any) -> Json:
    return {
        "resourceType": "DocumentReference", "status": "current",
        "subject": {"reference": f"Patient/{world.patient}"},
        "content": [{"attachment": {"contentType": "text/plain", "data": "eA=="}}], **members,
    }  # fmt: skip


def created(world: World) -> Json:
    made: Json = world.ask("POST", "/fhir/DocumentReference", 201, a_list(world)).json()
    return made


def a_patch(world: World) -> None:
    body = b'[{"op": "add", "path": "/gender", "value": "other"}]'
    headers = {"content-type": "application/json-patch+json", "if-match": 'W/"1"'}
    world.ask("PATCH", f"/fhir/Patient/{world.patient}", 200, body, headers=headers)


def an_update(world: World) -> None:
    made = created(world)
    made["description"] = "changed"
    path = f"/fhir/DocumentReference/{made['id']}"
    world.ask("PUT", path, 200, made, headers={"if-match": 'W/"1"'})


def a_bundle(world: World, kind: str) -> None:
    entry = {"request": {"method": "GET", "url": f"Patient/{world.patient}"}}
    post = {"request": {"method": "POST", "url": "DocumentReference"}, "resource": a_list(world)}
    body = {"resourceType": "Bundle", "type": kind, "entry": [entry, post]}
    answer = world.ask("POST", "/fhir", 200, body).json()
    assert [one["response"]["status"][:3] for one in answer["entry"]] == ["200", "201"]


def an_export(world: World) -> None:
    headers = {"prefer": "respond-async", "accept": "application/fhir+json"}
    path = "/fhir/Patient/$export?_type=Patient"
    world.ask("GET", path, 202, login="admin", headers=headers)


def stow(world: World) -> None:
    ds = an_instance(patient_id="9990000107", issuer="NHS", study_uid=world.study.StudyInstanceUID)
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + part10(ds) + b"\r\n--x--"
    world.ask("POST", "/dicom-web/studies", 200, body,
              headers={"content-type": kind, "accept": "application/dicom+json"})  # fmt: skip


def c_store(world: World) -> None:
    association = world.associate(CT)
    status = association.send_c_store(world.study)
    association.release()
    assert status.Status == 0x0000
    uid = f"urn:oid:{world.study.StudyInstanceUID}"
    deadline = time.monotonic() + 20
    while (
        not world.ask("GET", f"/fhir/ImagingStudy?identifier={quote(uid)}", 200).json().get("entry")
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def study_keys(world: World) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    keys.StudyInstanceUID = world.study.StudyInstanceUID
    return keys


def c_find(world: World) -> None:
    association = world.associate(STUDY_FIND)
    found = [each for _, each in association.send_c_find(study_keys(world), STUDY_FIND) if each]
    association.release()
    assert len(found) == 1


def worklist(world: World) -> None:
    association = world.associate(WORKLIST)
    keys, step = Dataset(), Dataset()
    step.Modality = "CT"
    keys.ScheduledProcedureStepSequence = [step]
    list(association.send_c_find(keys, WORKLIST))
    association.release()


def c_get(world: World) -> None:
    got: list[str] = []

    def keep(event: Any) -> int:
        got.append(event.request.AffectedSOPInstanceUID)
        return 0x0000

    association = world.associate(
        STUDY_GET,
        CT,
        ext_neg=[build_role(CT, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    list(association.send_c_get(study_keys(world), STUDY_GET))
    association.release()
    assert got


def c_echo(world: World) -> None:
    association = world.associate(ECHO)
    assert association.send_c_echo().Status == 0x0000
    association.release()


def rejected(world: World) -> None:
    assert world.associate(ECHO, calling="STRANGER").is_rejected


def web(path: str, status: int = 200, accept: str = "*/*") -> Callable[[World], None]:
    def do(world: World) -> None:
        study = world.study.StudyInstanceUID
        path_ = path.format(study=study, series=world.study.SeriesInstanceUID,
                            sop=world.study.SOPInstanceUID)  # fmt: skip
        world.ask("GET", f"/dicom-web/{path_}", status, headers={"accept": accept})

    return do


def rest(
    method: str, path: str, status: int, body: Any = None, **more: Any
) -> Callable[[World], None]:
    def do(world: World) -> None:
        world.ask(method, f"/fhir/{path.format(p=world.patient)}", status, body, **more)

    return do


def sign_in(password: str) -> Callable[[World], None]:
    def do(world: World) -> None:
        site = Site(world.installation.address, None, "")  # type: ignore[arg-type]
        app = App(site, "demo-app")
        client = site.browser()
        page = browsers.follow(
            client, client.get("/auth/authorize", params=app.request("user/*.rs"))
        )
        page = browsers.submit(client, page, login="reporter", password=password)
        if password == data.PASSWORD:
            page = browsers.submit(client, page, decision="allow")
            code = browsers.returned(page)["code"]
            assert app.token(code).status_code == 200
        site.close()

    return do


def no_token(world: World) -> None:
    form = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"}
    assert world.http.post("/auth/token", data=form).status_code in (400, 401)


def without_token(path: str) -> Callable[[World], None]:
    def do(world: World) -> None:
        assert world.http.get(path.format(p=world.patient)).status_code == 401

    return do


def a_deletion(world: World) -> None:
    place = {"resourceType": "Location", "name": "Room 1",
             "managingOrganization": {"reference": "Organization/northmoor"}}  # fmt: skip
    made = world.ask("POST", "/fhir/Location", 201, place, login="admin").json()
    world.ask("DELETE", f"/fhir/Location/{made['id']}", 204, login="admin")


def a_fetched_export(world: World) -> None:
    headers = {"prefer": "respond-async", "accept": "application/fhir+json"}
    ordered = world.ask("GET", "/fhir/Patient/$export?_type=Patient", 202, login="admin",
                        headers=headers).headers["content-location"]  # fmt: skip
    path, deadline = ordered.removeprefix(world.installation.address), time.monotonic() + 30
    headers = {"authorization": f"Bearer {world.token('admin')}"}
    while (answer := world.http.get(path, headers=headers)).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (file,) = answer.json()["output"]
    world.ask("GET", file["url"].removeprefix(world.installation.address), 200, login="admin")


def c_move(world: World) -> None:
    association = world.associate(STUDY_MOVE)
    (status,) = {
        int(one.Status)
        for one, _ in association.send_c_move(study_keys(world), "NOWHERE", STUDY_MOVE)
    }
    association.release()
    assert status == 0xA801


def c_move_to_a_peer(world: World) -> None:
    """The operator makes a peer known at the command line, and CT1 has a study sent to it."""
    ae, port = AE("ELSEWHERE"), free_port()
    ae.add_supported_context(CT, EXPLICIT)
    server: Any = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)]
    )
    world.installation.command(
        "peer", "add", "--ae", "ELSEWHERE", "--host", "127.0.0.1", "--port", str(port),
        "--organization", "ZZ901",
    )  # fmt: skip
    association = world.associate(STUDY_MOVE)
    statuses = [
        int(one.Status)
        for one, _ in association.send_c_move(study_keys(world), "ELSEWHERE", STUDY_MOVE)
    ]
    association.release()
    server.shutdown()
    assert statuses[-1] == 0x0000


def commitment(world: World) -> None:
    asked, item = Dataset(), Dataset()
    item.ReferencedSOPClassUID = world.study.SOPClassUID
    item.ReferencedSOPInstanceUID = world.study.SOPInstanceUID
    asked.TransactionUID, asked.ReferencedSOPSequence = a_uid(), [item]
    heard = threading.Event()

    def hear(event: Any) -> tuple[int, None]:
        heard.set()
        return 0x0000, None

    association = world.associate(COMMITMENT, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)])
    status, _ = association.send_n_action(asked, 1, COMMITMENT, COMMITTER)
    assert status.Status == 0x0000
    assert heard.wait(30)
    association.release()


def performed(world: World) -> None:
    step, scheduled = Dataset(), Dataset()
    scheduled.StudyInstanceUID = world.study.StudyInstanceUID
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PatientID, step.IssuerOfPatientID = "9990000107", "NHS"
    step.PatientName, step.Modality = "", "CT"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepID, step.PerformedStationAETitle = "1", "CT1"
    step.PerformedProcedureStepStartDate = "20261125"
    step.PerformedProcedureStepStartTime = "091500"
    association = world.associate(MPPS)
    status, _ = association.send_n_create(step, MPPS, a_uid())
    association.release()
    assert status.Status == 0x0000


FORM = {"content-type": "application/x-www-form-urlencoded"}
BAD = {"resourceType": "Patient", "birthDate": "yesterday"}

CASES = (
    Case("read", rest("GET", "Patient/{p}", 200), "rest", "read", "R", "0", "PatientRead", "pd"),
    Case("read of what is about nobody", rest("GET", "Organization/northmoor", 200),
         "rest", "read", "R", "0", "Read", "d"),
    Case("vread", rest("GET", "Patient/{p}/_history/1", 200),
         "rest", "vread", "R", "0", "PatientRead", "pd"),
    Case("history of one", rest("GET", "Patient/{p}/_history", 200),
         "rest", "history-instance", "R", "0", None, "pd"),
    Case("history of a type", rest("GET", "Patient/_history", 200), "rest", "history-type", "R"),
    Case("history of all", rest("GET", "_history", 200), "rest", "history-system", "R"),
    Case("search", rest("GET", "Task?patient=Patient/{p}", 200),
         "rest", "search-type", "E", "0", "PatientQuery", "pq"),
    Case("search by POST", rest("POST", "Organization/_search", 200, b"name=x", headers=FORM),
         "rest", "search-type", "E", "0", "Query", "q"),
    Case("search in a compartment", rest("GET", "Patient/{p}/Task", 200),
         "rest", "search-type", "E", "0", "PatientQuery", "pq"),
    Case("search of several types", rest("GET", "?_type=Task,Patient", 200),
         "rest", "search-system", "E", "0", "Query", "q"),
    Case("create", created, "rest", "create", "C", "0", "PatientCreate", "pd"),
    Case("update", an_update, "rest", "update", "U", "0", "PatientUpdate", "pd"),
    Case("patch", a_patch, "rest", "patch", "U", "0", "PatientUpdate", "pd"),
    Case("read in a batch", lambda w: a_bundle(w, "batch"),
         "rest", "read", "R", "0", "PatientRead", "pd"),
    Case("create in a batch", lambda w: a_bundle(w, "batch"),
         "rest", "create", "C", "0", "PatientCreate", "pd"),
    Case("create in a transaction", lambda w: a_bundle(w, "transaction"),
         "rest", "create", "C", "0", "PatientCreate", "pd"),
    Case("read in a transaction", lambda w: a_bundle(w, "transaction"),
         "rest", "read", "R", "0", "PatientRead", "pd"),
    Case("operation", rest("GET", "Patient/{p}/$everything", 200),
         "rest", "operation", "E", "0", None, "pdq"),
    Case("delete", a_deletion, "rest", "delete", "D", "0", "Delete", "d"),
    Case("export", an_export, "110106", None, "R"),
    Case("exported file", a_fetched_export, "110106", None, "R", "0", None, "q"),
    Case("evidence of nothing", rest("GET", "DiagnosticReport/x/$evidence", 404, login="reporter"),
         "rest", "operation", "E", "4"),
    Case("acknowledgement of nothing", rest("POST", "DiagnosticReport/x/$acknowledge", 404,
             {"resourceType": "Parameters"}, login="gp"), "rest", "operation", "E", "4"),
    Case("nothing there", rest("GET", "Patient/nobody", 404), "rest", "read", "R", "4"),
    Case("not for this role", rest("GET", "AuditEvent", 403), "rest", "search-type", "E", "4"),
    Case("invalid", rest("POST", "Patient", 400, BAD), "rest", "create", "C", "4"),
    Case("unknown address", rest("GET", "Nonsense/1", 404), "rest", "operation", "E", "4"),
    Case("no token", without_token("/fhir/Patient/{p}"), "rest", "read", "R", "4"),
    Case("the audit is counted", rest("GET", "AuditEvent/$audit-report", 200, login="auditor"),
         "110101", None, "R", "0", None, "q"),
    Case("the audit may not be counted", rest("GET", "AuditEvent/$audit-report", 403),
         "110101", None, "R", "4"),
    Case("the audit is read", rest("GET", "AuditEvent?_count=1", 200, login="auditor"),
         "110101", None, "R", "0", None, "q"),
    Case("C-STORE", c_store, "110104", None, "C"),
    Case("STOW-RS", stow, "110104", None, "C"),
    Case("QIDO-RS", web("studies?StudyInstanceUID={study}", accept="application/dicom+json"),
         "110112", None, "E", "0", None, "q"),
    Case("WADO-RS", web("studies/{study}", accept="multipart/related; type=application/dicom"),
         "110103", None, "R", "0", None, "pd"),
    Case("WADO-RS metadata", web("studies/{study}/metadata", accept="application/dicom+json"),
         "110103", None, "R", "0", None, "pd"),
    Case("WADO-RS frames", web("studies/{study}/series/{series}/instances/{sop}/frames/1",
             accept="multipart/related; type=application/octet-stream"),
         "110103", None, "R", "0", None, "pd"),
    Case("WADO-RS of nothing", web("studies/1.2.3", 404), "110103", None, "R", "4"),
    Case("DICOMweb without a token", without_token("/dicom-web/studies"), "110112", None, "E", "4"),
    Case("C-FIND", c_find, "110112", None, "E", "0", None, "q"),
    Case("worklist", worklist, "110112", None, "E", "0", None, "q"),
    Case("C-GET", c_get, "110104", None, "R", "0", None, "pd"),
    Case("C-MOVE to nowhere", c_move, "110104", None, "R", "4"),
    Case("C-MOVE", c_move_to_a_peer, "110104", None, "R", "0", None, "pd"),
    Case("a peer is made known", c_move_to_a_peer, "110113", "110129", "E"),
    Case("storage commitment", commitment, "110100", None, "E", "0", None, "q"),
    Case("MPPS", performed, "110111", None, "U"),
    Case("rendered", web("studies/{study}/series/{series}/instances/{sop}/rendered",
             accept="image/jpeg"), "110103", None, "R", "0", None, "pd"),
    Case("thumbnail", web("studies/{study}/thumbnail", accept="image/jpeg"),
         "110103", None, "R", "0", None, "pd"),
    Case("C-ECHO", c_echo, "110100", None, "E"),
    Case("association rejected", rejected, "110113", "110126", "E", "4"),
    Case("signed in", sign_in(data.PASSWORD), "110114", "110122", "E"),
    Case("wrong password", sign_in("wrong"), "110114", "110122", "E", "4"),
    Case("token refused", no_token, "110114", "110122", "E", "4"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_interaction_leaves_the_event_that_the_standards_want(
    world: World, case: Case
) -> None:
    assert fitting(world, case)


def test_a_request_id_of_the_client_joins_its_record_with_ours(world: World) -> None:
    before, id = world.last(), str(uuid.uuid4())

    world.ask("GET", f"/fhir/Patient/{world.patient}", 200, headers={"x-request-id": id})

    (event,) = world.since(before)
    values = [one["what"].get("identifier", {}).get("value") for one in event["entity"]]
    assert id in values


def test_who_asks_is_named_with_organisation_role_and_purpose(world: World) -> None:
    before = world.last()

    world.ask("GET", f"/fhir/Patient/{world.patient}", 200)

    (event,) = world.since(before)
    who = [agent["who"].get("reference") for agent in event["agent"]]
    assert "PractitionerRole/operator" in who
    assert "Organization/northmoor" in who
    (user,) = [agent for agent in event["agent"] if agent["requestor"]]
    assert user["role"][0]["coding"][0]["code"] == "operator"
    assert user["purposeOfUse"][0]["coding"][0] == {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
        "code": "TREAT", "display": "treatment",
    }  # fmt: skip

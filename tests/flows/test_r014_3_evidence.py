"""R014.3: which images were available when a report was created, and what became of them."""

import base64
import json
import uuid
from typing import Any

import pytest

from resources import codes, validate
from resources.imaging_study import manifest
from tests.flows.clinic import Clinic, Json

pytestmark = pytest.mark.requirement("R014.3")


def asked(clinic: Clinic, report: Json, login: str = "safety", query: str = "") -> Json:
    return clinic.get(login, f"DiagnosticReport/{report['id']}/$evidence?{query}")


def lines(bundle: Json, name: str) -> list[dict[str, Any]]:
    """Each line of a kind as name -> value; names that are there more often have a list."""
    found = []
    for one in bundle["entry"][0]["resource"]["parameter"]:
        if one["name"] != name:
            continue
        line: dict[str, Any] = {"uid": []}
        for part in one["part"]:
            value = next(value for key, value in part.items() if key.startswith("value"))
            if part["name"] == "uid":
                line["uid"].append(value)
            else:
                line[part["name"]] = value["reference"] if part["name"] == "what" else value
        found.append(line)
    return found


def versioned(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}/_history/{resource['meta']['versionId']}"


def uid_of(study: Json) -> str:
    """The UID of its first series, without the number."""
    return str(study["series"][0]["uid"].rpartition(".")[0])


def late_series(clinic: Clinic, request: Json, study: Json) -> Json:
    """Two images of another series come after the report."""
    uid = uid_of(study)
    series = {
        "uid": f"{uid}.7", "number": 7, "modality": {"system": codes.DCM, "code": "CT"},
        "numberOfInstances": 2,
        "performer": [{"actor": {"reference": "Organization/northmoor"}}],
        "instance": [
            {"uid": f"{uid}.7.{n}", "number": n,
             "sopClass": {"system": codes.URI, "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}}
            for n in (1, 2)
        ],
    }  # fmt: skip
    return clinic.images_arrive(request, uid=uid, series=[series])


def addendum(clinic: Clinic, request: Json, study: Json, report: Json) -> Json:
    root = {"reference": f"DiagnosticReport/{report['id']}"}
    added = {"url": codes.ADDENDUM_OF, "valueReference": root}
    return clinic.report(request, study, extension=[added], conclusion="Seen again.")


def test_what_was_available_is_the_version_and_its_objects(clinic: Clinic) -> None:
    _, study, report = clinic.reported()

    (held,) = [
        one for one in lines(asked(clinic, report), "available") if "ImagingStudy" in one["what"]
    ]

    assert held["what"] == versioned(study)
    assert (held["instances"], held["sha256"]) == manifest(study)


def test_a_late_series_and_an_addendum_are_told_from_what_was_available(clinic: Clinic) -> None:
    request, study, report = clinic.reported()
    late = late_series(clinic, request, study)
    added = addendum(clinic, request, late, report)

    bundle = asked(clinic, report)

    available = [one["what"] for one in lines(bundle, "available")]
    changed = {one["kind"]: one for one in lines(bundle, "changed")}
    assert versioned(study) in available
    assert versioned(late) not in available
    assert not [one for one in available if added["id"] in one]
    assert changed["late-series"]["what"].startswith(f"ImagingStudy/{study['id']}/_history/")
    assert changed["late-series"]["uid"] == [f"urn:oid:{uid_of(study)}.7"]
    assert changed["addendum"]["what"].startswith(f"DiagnosticReport/{added['id']}/")
    assert "late-instances" not in changed
    assert "late-report" not in changed
    shown = [versioned(one["resource"]) for one in bundle["entry"] if "fullUrl" in one]
    assert versioned(study) in shown


def test_what_nothing_happened_to_has_not_changed(clinic: Clinic) -> None:
    """The study gets a version that says it is reported; the evidence is what it was."""
    _, _, report = clinic.reported()

    assert lines(asked(clinic, report), "changed") == []


def test_a_correction_is_a_change_and_has_evidence_of_its_own(clinic: Clinic) -> None:
    request, study, report = clinic.reported()
    clinic.images_arrive(request, uid=uid_of(study),
                         images=6)  # fmt: skip
    stands = clinic.get("reporter", f"DiagnosticReport/{report['id']}")
    corrected = clinic.change("reporter", stands, status="corrected", conclusion="Left.")

    then = asked(clinic, report)
    again = asked(clinic, report, query=f"version={corrected['meta']['versionId']}")

    kinds = [one["kind"] for one in lines(then, "changed")]
    assert sorted(kinds) == ["correction", "late-instances"]
    assert lines(again, "changed") == []
    held = [one for one in lines(again, "available") if "ImagingStudy" in one["what"]]
    assert [one["instances"] for one in held] == [6]


def test_priors_are_told_as_they_stood(clinic: Clinic) -> None:
    first, old, earlier = clinic.reported()
    _, _, report = clinic.reported()
    late_series(clinic, first, old)

    bundle = asked(clinic, report)

    available = {one["what"].partition("/_history/")[0] for one in lines(bundle, "available")}
    assert {f"ImagingStudy/{old['id']}", f"DiagnosticReport/{earlier['id']}"} <= available
    (change,) = lines(bundle, "changed")
    assert (change["kind"], change["what"].split("/")[1]) == ("late-series", old["id"])


def test_what_the_author_opened_before_is_displayed_and_nothing_else(clinic: Clinic) -> None:
    _, prior, _ = clinic.reported()
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    for _ in range(2):
        clinic.get("reporter", f"ImagingStudy/{study['id']}")
    clinic.get("coordinator", f"ImagingStudy/{prior['id']}")
    report = clinic.report(request, study)
    clinic.get("reporter", f"ImagingStudy/{prior['id']}")

    displayed = lines(asked(clinic, report), "displayed")

    opened = {one["what"].partition("/_history/")[0]: one["times"] for one in displayed}
    assert opened[f"ImagingStudy/{study['id']}"] == 2
    assert f"ImagingStudy/{prior['id']}" not in opened


def test_who_may_not_search_the_audit_is_not_told_what_was_displayed(clinic: Clinic) -> None:
    _, study, report = clinic.reported()

    bundle = asked(clinic, report, "reporter")

    assert lines(bundle, "displayed") == []
    assert versioned(study) in [one["what"] for one in lines(bundle, "available")]
    (issue,) = bundle["entry"][-1]["resource"]["issue"]
    assert issue["code"] == "suppressed"


def test_an_auditor_is_told_which_versions_there_were_and_not_what_they_say(clinic: Clinic) -> None:
    """What there was, what was displayed and what changed; the record stays closed to them."""
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    clinic.get("reporter", f"ImagingStudy/{study['id']}")
    report = clinic.report(request, study, conclusion="A secret of the patient.")
    late = late_series(clinic, request, study)

    bundle = asked(clinic, report, "auditor")

    assert versioned(study) in [one["what"] for one in lines(bundle, "available")]
    assert [one["times"] for one in lines(bundle, "displayed") if study["id"] in one["what"]] == [1]
    assert [one["kind"] for one in lines(bundle, "changed")] == ["late-series"]
    assert uid_of(late) in lines(bundle, "changed")[0]["uid"][0]
    types = {one["resource"]["resourceType"] for one in bundle["entry"]}
    assert types == {"Parameters", "Provenance", "AuditEvent", "OperationOutcome"}
    assert "secret" not in str(bundle)
    assert validate.check(bundle) == []
    issues = bundle["entry"][-1]["resource"]["issue"]
    assert [one["code"] for one in issues] == ["suppressed"]


def test_an_auditor_reads_no_report_by_any_other_way(clinic: Clinic) -> None:
    _, study, report = clinic.reported()
    asked(clinic, report, "auditor")
    entry = {"request": {"method": "GET", "url": f"DiagnosticReport/{report['id']}/$evidence"}}
    other = {"request": {"method": "GET", "url": f"DiagnosticReport/{report['id']}"}}
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [entry, other]}

    answers = [
        clinic.as_("auditor").get(f"DiagnosticReport/{report['id']}").status_code,
        clinic.as_("auditor").get(f"ImagingStudy/{study['id']}/_history").status_code,
        clinic.as_("auditor").get(f"DiagnosticReport?patient={clinic.patient}").status_code,
        clinic.as_("auditor").get(f"{clinic.patient}/$everything").status_code,
    ]
    together = clinic.as_("auditor").post("", content=json.dumps(batch)).json()

    assert answers == [403] * 4
    assert [one["response"]["status"][:3] for one in together["entry"]] == ["200", "403"]


def test_an_auditor_of_another_organisation_or_without_the_scope_is_told_nothing(
    clinic: Clinic,
) -> None:
    _, _, report = clinic.reported()
    address = f"DiagnosticReport/{report['id']}/$evidence"
    for place, scope, status in (
        ("westvale", "user/*.rs", 404),
        ("northmoor", "user/AuditEvent.rs user/Provenance.rs", 403),
        ("northmoor", "user/*.rs", 200),
    ):
        client = clinic.server.client("auditor", place, scope=scope)
        assert client.get(address).status_code == status, (place, scope)


def test_that_an_auditor_asked_is_audited_with_their_purpose_and_the_patient(
    clinic: Clinic,
) -> None:
    _, _, report = clinic.reported()
    asked(clinic, report, "auditor")

    about = f"subtype=operation&patient={clinic.patient}&entity=DiagnosticReport/{report['id']}"
    address = f"AuditEvent?agent=PractitionerRole/auditor&{about}"
    events = clinic.search("auditor", address)
    queries = [one["query"] for event in events for one in event["entity"] if "query" in one]
    assert base64.b64encode(b"$evidence").decode() in queries
    assert {event["purposeOfEvent"][0]["coding"][0]["code"] for event in events} == {"HCOMPL"}


def test_the_answer_is_a_valid_collection(clinic: Clinic) -> None:
    request, study, report = clinic.reported()
    addendum(clinic, request, late_series(clinic, request, study), report)

    bundle = asked(clinic, report)

    assert bundle["type"] == "collection"
    assert validate.check(bundle) == []


@pytest.mark.parametrize("type", ["DiagnosticReport", "ImagingStudy", "Provenance"])
def test_each_of_the_three_types_must_be_readable(clinic: Clinic, type: str) -> None:
    _, _, report = clinic.reported()
    needed = {"DiagnosticReport", "ImagingStudy", "Provenance"} - {type}
    scope = " ".join(f"system/{each}.rs" for each in sorted(needed))
    client = clinic.server.client("application", "northmoor", scope=scope)

    assert client.get(f"DiagnosticReport/{report['id']}/$evidence").status_code == 403


def test_a_stranger_learns_nothing_and_a_draft_has_no_evidence(clinic: Clinic) -> None:
    request, study, report = clinic.reported()
    draft = clinic.report(request, study, status="preliminary")

    for login, id, status in (
        ("reviewer", report["id"], 404),
        ("safety", draft["id"], 404),
        ("safety", str(uuid.uuid4()), 404),
    ):
        answer = clinic.as_(login).get(f"DiagnosticReport/{id}/$evidence")
        assert answer.status_code == status, login

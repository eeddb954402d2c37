"""R015.1, R015.2: who created an object, and when, by FHIR, DICOMweb and DICOM alike."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE

from fhir_server.access.token import Keys
from resources import codes
from tests.conftest import renamed
from tests.dicom_bridge.build import an_instance, part10
from tests.standards import access_world
from tests.standards.access_world import INSTANCE, NHS, PARTY, SERIES, STUDY, WORD, World

pytestmark = [pytest.mark.requirement("R015.1"), pytest.mark.requirement("R015.2")]

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

Json = dict[str, Any]
INSTITUTION = "00080080"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
NORTHMOOR = "Northmoor Hospitals (demonstration)"
WESTVALE = "Westvale Neurosciences (demonstration)"


@pytest.fixture(scope="module")
def world(
    cluster: str, template: str, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Northmoor holds a study of three series: its own, one by Westvale, one by a stranger."""
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database origin template {template} strategy file_copy")
    url = renamed(cluster, "origin")
    with access_world.running(url, tmp_path_factory.mktemp("origin"), keys) as running:
        send(running, series(2, code="ZZ902"), series(3, institution="Elsewhere Clinic"))
        yield running


def series(number: int, institution: str = "", code: str = "") -> Dataset:
    ds = an_instance(
        study_uid=STUDY, series_uid=f"{STUDY}.{number}", sop_uid=f"{STUDY}.{number}.1",
        patient_id=NHS, patient_name=WORD, birth_date="19700101", accession="HIDDEN1",
        series_number=number, institution=institution,
    )  # fmt: skip
    if code:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "99ODS", "x"
        ds.InstitutionCodeSequence = Sequence([item])
    ds.ContentDate, ds.ContentTime = f"2026031{number}", "101500"
    return ds


def operator(world: World) -> httpx.Client:
    return world.client(PARTY, "operator", "user/*.cruds")


def send(world: World, *objects: Dataset) -> None:
    boundary = "b0undary"
    parts = b"".join(
        b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (boundary.encode(), part10(ds))
        for ds in objects
    )
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    body = parts + b"--%s--\r\n" % boundary.encode()
    answer = operator(world).post("/dicom-web/studies", content=body, headers=headers)
    assert answer.status_code == 200, answer.text


def the_study(world: World) -> Json:
    found = operator(world).get(f"/fhir/ImagingStudy?identifier=urn:oid:{STUDY}").json()
    (entry,) = found["entry"]
    study: Json = entry["resource"]
    return study


def value(element: Json, url: str) -> Any:
    (found,) = [one for one in element["extension"] if one["url"] == url]
    (name,) = [member for member in found if member.startswith("value")]
    return found[name]


def searched(world: World, address: str) -> list[Json]:
    """The rows of a QIDO-RS answer."""
    answer = operator(world).get(f"/dicom-web/{address}")
    return answer.json() if answer.status_code == 200 else []


def name_of(row: Json) -> str:
    return str(row[INSTITUTION]["Value"][0])


def test_each_series_names_the_organisation_that_created_it_and_when(world: World) -> None:
    own, westvale, stranger = the_study(world)["series"]

    names = [value(one, codes.SOURCE_ORGANIZATION)["display"] for one in (own, westvale, stranger)]
    assert names == [NORTHMOOR, WESTVALE, "Elsewhere Clinic"]
    assert value(westvale, codes.SOURCE_INSTANT).startswith("2026-03-12T10:15")
    basis = [value(one, codes.SOURCE_BASIS) for one in (own, westvale, stranger)]
    assert basis == ["sender", "institution-code", "sender"]


def test_who_sent_it_answers_for_an_institution_that_nobody_knows(world: World) -> None:
    stranger = the_study(world)["series"][2]

    said = value(stranger, codes.SOURCE_ORGANIZATION)
    assert said["reference"] == f"Organization/{PARTY}"
    assert stranger["performer"][0]["actor"] == {"reference": f"Organization/{PARTY}"}


@pytest.mark.parametrize(
    "asked",
    [
        "source-organization=Organization/westvale", "source-organization.name=Westvale",
        "source-name=Westvale", "source-name=elsewhere", "source-name:contains=CLINIC",
        "source-organization:Organization.identifier=ZZ902",
    ],
)  # fmt: skip
def test_fhir_search_finds_a_study_by_who_created_a_part_of_it(world: World, asked: str) -> None:
    found = operator(world).get(f"/fhir/ImagingStudy?{asked}").json()

    assert [one["resource"]["id"] for one in found.get("entry", ())] == [the_study(world)["id"]]


def test_fhir_search_finds_nothing_by_who_created_no_part_of_it(world: World) -> None:
    for asked in ("source-organization=Organization/clearscan", "source-name=Clearscan"):
        assert "entry" not in operator(world).get(f"/fhir/ImagingStudy?{asked}").json(), asked


def test_qido_says_who_created_a_study_and_each_series(world: World) -> None:
    (study,) = searched(world, f"studies?StudyInstanceUID={STUDY}")
    rows = searched(world, f"studies/{STUDY}/series")

    assert name_of(study) == f"{NORTHMOOR} and 2 others"
    assert [name_of(row) for row in rows] == [
        NORTHMOOR, WESTVALE, "Elsewhere Clinic",
    ]  # fmt: skip
    assert all(list(row) == sorted(row) for row in [study, *rows])


@pytest.mark.standard("PS3.18 8.3.4.1")
@pytest.mark.parametrize(
    ("key", "series"),
    [(WESTVALE, [2]), ("West*", [2]), ("*Clinic", [3]), ("N?rthmoor*", [1]), ("X", [])],
)
def test_qido_matches_studies_and_series_by_who_created_them(
    world: World, key: str, series: list[int]
) -> None:
    studies = searched(world, f"studies?InstitutionName={key}&StudyInstanceUID={STUDY}")
    below = searched(world, f"studies/{STUDY}/series?InstitutionName={key}")
    everywhere = searched(world, f"series?00080080={key}")

    assert len(studies) == bool(series)
    for rows in (below, everywhere):
        assert [row["00200011"]["Value"][0] for row in rows] == series


@pytest.mark.standard("PS3.4 C.4.1")
@pytest.mark.parametrize(("key", "found"), [("Elsewhere*", 1), ("Nowhere*", 0)])
def test_c_find_matches_and_returns_who_created_a_study(world: World, key: str, found: int) -> None:
    ae = AE("PARTY")
    ae.add_requested_context(STUDY_ROOT_FIND)
    association = ae.associate("127.0.0.1", world.dicom, ae_title="ISOCENTRE")
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.InstitutionName = "STUDY", "", key
    answers = [
        (status.Status, row)
        for status, row in association.send_c_find(asked, STUDY_ROOT_FIND)
        if row is not None
    ]
    association.release()

    assert [status for status, _ in answers] == [0xFF00] * found
    assert all("others" in row.InstitutionName for _, row in answers)


def test_wado_metadata_keeps_the_words_of_the_object(world: World) -> None:
    address = f"/dicom-web/studies/{STUDY}/series/{STUDY}.3/metadata"
    (metadata,) = operator(world).get(address).json()
    first = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/metadata"

    assert name_of(metadata) == "Elsewhere Clinic"
    assert INSTITUTION not in operator(world).get(first).json()[0]


def test_the_audit_is_searched_by_the_organisation_of_origin(world: World) -> None:
    """Who of us has looked at what Westvale created (R015.1 beside R014.1)."""
    id = the_study(world)["id"]
    operator(world).get(f"/fhir/ImagingStudy/{id}").raise_for_status()
    auditor = world.client(PARTY, "auditor", "user/*.rs")

    def told(origin: str) -> set[str]:
        address = f"/fhir/AuditEvent?source-organization={origin}&patient=hidden&_count=200"
        answer = auditor.get(address)
        assert answer.status_code == 200, answer.text
        return {
            entity["what"]["reference"].partition("/_history")[0]
            for entry in answer.json().get("entry", ())
            for entity in entry["resource"].get("entity", ())
            if not entity.get("what", {}).get("reference", "Patient/").startswith("Patient/")
        }

    assert told("Organization/westvale") == {f"ImagingStudy/{id}"}
    assert f"ImagingStudy/{id}" in told("Organization/northmoor")
    assert told("Organization/clearscan") == set()
    assert json.dumps(the_study(world)).count(WESTVALE) == 1

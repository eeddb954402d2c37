"""FHIR R4 search, read a second time: what each kind of parameter matches.

The rows are typed in from https://hl7.org/fhir/R4/search.html; the examples are the standard's own
where it has some.
"""

from typing import Any

import pytest

from fhir_server.postgres.database import Database
from tests.fhir_server.search.rows import OWN_BASE, ids, put, search

pytestmark = pytest.mark.anyio

SCT = "http://snomed.info/sct"


async def matches(database: Database, resource: dict[str, Any], text: str) -> bool:
    """Tell whether a search finds this one resource."""
    if not await database.run("select from current where id = $1", (resource["id"],)):
        await put(database, resource)
    return ids(await search(database, resource["resourceType"], text)) == [resource["id"]]


# --- date: "Prefixes", with the table of examples for date=...2013-01-14 -------------------------


DATES = [
    ("eq2013-01-14", "2013-01-14T00:00:00Z", True),
    ("eq2013-01-14", "2013-01-14T10:00:00Z", True),
    ("eq2013-01-14", "2013-01-15T00:00:00Z", False),
    ("eq2013-01-14", "2013-01", False),
    ("eq2013", "2013-01", True),
    ("2013-01-14", "2013-01-14", True),
    ("ne2013-01-14", "2013-01-15T00:00:00Z", True),
    ("ne2013-01-14", "2013-01-14T00:00:00Z", False),
    ("ne2013-01-14", "2013-01", True),
    ("lt2013-01-14T10:00:00Z", "2013-01-14", True),
    ("lt2013-01-14", "2013-01-13T23:59:59Z", True),
    ("lt2013-01-14", "2013-01-14", False),
    ("gt2013-01-14T10:00:00Z", "2013-01-14", True),
    ("gt2013-01-14", "2013-01-15T00:00:00Z", True),
    ("gt2013-01-14", "2013-01-14", False),
    ("ge2013-03-14", "2013-03-14", True),
    ("ge2013-03-14", "2013-04", True),
    ("ge2013-03-14", "2013-03-13", False),
    ("le2013-03-14", "2013-03-14", True),
    ("le2013-03-14", "2013-03-15", False),
    ("sa2013-03-14", "2013-03-15T00:00:00Z", True),
    ("sa2013-03-14", "2013-03-14T23:00:00Z", False),
    ("sa2013-03-14", "2013", False),
    ("eb2013-03-14", "2013-03-13", True),
    ("eb2013-03-14", "2013", False),
    ("ap2013-03-14", "2013-03-15", True),
    ("ap2013-03-14", "1999-03-14", False),
    ("2013-01-14,2013-01-16", "2013-01-16", True),
    ("gt2013-01-01&authored=lt2013-02-01", "2013-01-14", True),
    ("2013-01-14T10:00", "2013-01-14T10:00:30Z", True),
    ("2013-01-14T10:00:00+01:00", "2013-01-14T09:00:00Z", True),
]


@pytest.mark.standard("FHIR search prefixes")
async def test_a_date_is_compared_as_a_period(database: Database) -> None:
    wrong = []
    for n, (asked, held, found) in enumerate(DATES):
        request = {"resourceType": "ServiceRequest", "id": f"r{n}", "authoredOn": held}
        if await matches(database, request, f"_id=r{n}&authored={asked}") is not found:
            wrong.append((asked, held))

    assert wrong == []


@pytest.mark.standard("FHIR search prefixes")
async def test_the_same_holds_for_a_date_that_is_not_the_chief_one(database: Database) -> None:
    wrong = []
    for n, (asked, held, found) in enumerate(DATES):
        condition = {"resourceType": "Condition", "id": f"c{n}", "onsetDateTime": held}
        text = f"_id=c{n}&onset-date={asked.replace('authored', 'onset-date')}"
        if await matches(database, condition, text) is not found:
            wrong.append((asked, held))

    assert wrong == []


@pytest.mark.standard("FHIR search date")
async def test_a_period_without_an_end_goes_on(database: Database) -> None:
    period = {"start": "2026-03-05"}
    encounter = {"resourceType": "Encounter", "id": "e", "period": period}
    request = {"resourceType": "ServiceRequest", "id": "r", "occurrencePeriod": period}

    for asked in ("ge2026-03", "gt2099"):
        assert await matches(database, encounter, f"date={asked}"), asked
        assert await matches(database, request, f"occurrence={asked}"), asked
    for asked in ("2026-03", "lt2020", "eb2026"):
        assert not await matches(database, encounter, f"date={asked}"), asked
        assert not await matches(database, request, f"occurrence={asked}"), asked


# --- token -------------------------------------------------------------------------------------

CODED = {
    "resourceType": "Observation",
    "id": "o",
    "status": "final",
    "identifier": [{"system": "http://acme.org/patient", "value": "2345"}],
    "code": {
        "coding": [{"system": "http://loinc.org", "code": "1234-5"}, {"code": "local"}],
        "text": "Something",
    },
    "subject": {"reference": "Patient/23"},
    "performer": [{"reference": f"{OWN_BASE}/Practitioner/9"}],
    "focus": [{"reference": "https://other.example/r4/Device/5"}],
    "derivedFrom": [{"reference": "ImagingStudy/7/_history/3"}],
    "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/bp"]},
}


@pytest.mark.standard("FHIR search token")
@pytest.mark.standard("FHIR search reference")
@pytest.mark.standard("FHIR search uri")
async def test_what_tokens_references_and_uris_match(database: Database) -> None:
    found = [
        "identifier=http://acme.org/patient|2345",
        "identifier=2345",
        "identifier=http://acme.org/patient|",
        "code=http://loinc.org|1234-5",
        "code=1234-5",
        "code=http://loinc.org|",
        "code=|local",
        "code=local",
        "code=x,y,1234-5",
        "code=1234-5&code=local",
        "status=final",
        "status:not=amended",
        "subject=Patient/23",
        "subject:Patient=23",
        "patient=23",
        f"subject={OWN_BASE}/Patient/23",
        "performer=Practitioner/9",
        "focus=https://other.example/r4/Device/5",
        "derived-from=ImagingStudy/7",
        "derived-from=ImagingStudy/7/_history/3",
        "_profile=http://hl7.org/fhir/StructureDefinition/bp",
        "encounter:missing=true",
        "subject:missing=false",
        "_id=o,p",
    ]
    not_found = [
        "identifier=http://acme.org|2345",
        "identifier=234",
        "identifier=|2345",
        "code=http://loinc.org|local",
        "code=|1234-5",
        "code=Local",
        "code=1234-5&code=other",
        "code=Something",
        "status:not=final",
        "subject=Patient/2",
        "subject:Group=23",
        "focus=Device/5",
        "derived-from=ImagingStudy/7/_history/2",
        "_profile=http://hl7.org/fhir/StructureDefinition/",
        "encounter:missing=false",
        "subject:missing=true",
        "_id=O",
    ]

    assert [text for text in found if not await matches(database, CODED, text)] == []
    assert [text for text in not_found if await matches(database, CODED, text)] == []


@pytest.mark.standard("FHIR search token")
async def test_the_other_datatypes_that_are_tokens(database: Database) -> None:
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "active": True,
        "deceasedDateTime": "2026",
        "telecom": [
            {"system": "phone", "use": "home", "value": "0113 1"},
            {"system": "email", "value": "a@b.example"},
        ],
    }

    for text in ("active=true", "deceased=true", "phone=0113 1", "telecom=a@b.example"):
        assert await matches(database, patient, text), text
    for text in ("active=false", "deceased=false", "phone=a@b.example", "telecom=0113"):
        assert not await matches(database, patient, text), text


# --- string ------------------------------------------------------------------------------------


@pytest.mark.standard("FHIR search string")
async def test_what_strings_match(database: Database) -> None:
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "name": [{"family": "Évertsen", "given": ["Eve", "Ann, Marie"]}],
        "address": [{"line": ["1 High Street"], "city": "Köln", "postalCode": "LS1 4AP"}],
    }
    found = [
        "given=eve", "given=Eve", "given=ev", "family=eve", "family=ÉVERTSEN", "name=ann",
        "given:contains=nn", "family:contains=vert", "address=koln", "address-city=Köln",
        "address-postalcode=ls1", "address=1 high", "given=bob,eve", r"given=Ann\, Marie",
        "name=eve&name=evertsen",
    ]  # fmt: skip
    not_found = ["given=evert", "given=ve", "family=tsen", "address-city=LS1", "given:contains=xx",
                 "given=%", "given:contains=_", "name=eve&name=bob"]  # fmt: skip

    assert [text for text in found if not await matches(database, patient, text)] == []
    assert [text for text in not_found if await matches(database, patient, text)] == []


# --- chains ------------------------------------------------------------------------------------


@pytest.mark.standard("FHIR search chaining")
async def test_a_chain_asks_of_what_is_referred_to(database: Database) -> None:
    report = {
        "resourceType": "DiagnosticReport",
        "id": "r",
        "status": "final",
        "subject": {"reference": "Patient/23"},
        "imagingStudy": [{"reference": "ImagingStudy/s/_history/1"}],
    }
    await put(
        database,
        {
            "resourceType": "Patient",
            "id": "23",
            "name": [{"given": ["Peter"]}],
            "identifier": [{"system": "nhs", "value": "1"}],
            "birthDate": "1970-02-03",
            "gender": "male",
            "generalPractitioner": [{"reference": "Practitioner/4"}],
        },
        {"resourceType": "ImagingStudy", "id": "s", "series": [{"modality": {"code": "CT"}}]},
    )
    found = [
        "subject:Patient.name=peter",
        "patient.name=peter",
        "patient.identifier=nhs|1",
        "patient.birthdate=1970",
        "patient.general-practitioner=Practitioner/4",
        "status=final&patient.gender=male",
        "status=final&patient.birthdate=lt1980&patient.name=pet",
        "imagingStudy:ImagingStudy.modality=CT,MR",
        "patient.gender:missing=false",
        "patient._id=23",
    ]
    not_found = [
        "patient.name=paul",
        "patient.birthdate=gt1980",
        "status=final&patient.gender=female",
        "imagingStudy:ImagingStudy.modality:not=CT",
        "patient._id=24",
    ]

    assert [text for text in found if not await matches(database, report, text)] == []
    assert [text for text in not_found if await matches(database, report, text)] == []


# --- _lastUpdated, _sort -----------------------------------------------------------------------


@pytest.mark.standard("FHIR search _lastUpdated")
async def test_last_updated_is_when_the_version_was_written(database: Database) -> None:
    flag = {"resourceType": "Flag", "id": "f"}

    assert await matches(database, flag, "_lastUpdated=gt2020&_lastUpdated=lt2030")
    assert await matches(database, flag, "_lastUpdated=ne2020")
    assert not await matches(database, flag, "_lastUpdated=lt2020")
    assert not await matches(database, flag, "_lastUpdated=2020-01")


@pytest.mark.standard("FHIR search sorting")
async def test_matches_come_in_the_order_asked_for(database: Database) -> None:
    def a_patient(id: str, **members: Any) -> dict[str, Any]:
        return {"resourceType": "Patient", "id": id, **members}

    await put(
        database,
        a_patient("a", name=[{"family": "Zeta"}], birthDate="1990", gender="female",
                  managingOrganization={"reference": "Organization/2"}),
        a_patient("b", name=[{"family": "Ängstrom"}],
                  managingOrganization={"reference": "Organization/1"}),
        a_patient("c", birthDate="1980-05", gender="female"),
    )  # fmt: skip
    orders = {
        "family": ["b", "a", "c"],
        "-family": ["a", "b", "c"],
        "birthdate": ["c", "a", "b"],
        "-birthdate": ["a", "c", "b"],
        "gender,-_id": ["c", "a", "b"],
        "_id": ["a", "b", "c"],
        "-_lastUpdated": ["c", "b", "a"],
        "organization": ["b", "a", "c"],
    }

    found = {sort: ids(await search(database, "Patient", f"_sort={sort}")) for sort in orders}

    assert found == orders

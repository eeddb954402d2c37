"""QIDO-RS over a real socket, as a foreign client and as plain HTTP."""

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import query
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from resources import content
from tests.build import a_study
from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.dicomweb.conftest import Service, blocking

pytestmark = pytest.mark.anyio


def value(row: dict, keyword_tag: str) -> object:  # type: ignore[type-arg]
    return (row[keyword_tag].get("Value") or [None])[0]


async def test_a_foreign_client_finds_a_study_by_its_patient(service: Service) -> None:
    ds = an_instance(patient_id="9000000009", patient_name="Okafor^Ada")
    await service.hold(ds, an_instance(patient_id="9000000017", patient_name="Other^One"))

    found = await blocking(
        service.foreign().search_for_studies, search_filters={"PatientID": "9000000009"}
    )

    assert [value(row, "0020000D") for row in found] == [ds.StudyInstanceUID]
    assert value(found[0], "00081190") == f"{service.base}/studies/{ds.StudyInstanceUID}"
    assert value(found[0], "00201208") == 1


@pytest.mark.standard("PS3.18 10.6.3.3.1")
async def test_a_study_has_all_required_attributes_in_order_of_tags(service: Service) -> None:
    await service.hold(an_instance())

    (row,) = (await service.client().get("/studies")).json()

    required = {
        "00080020", "00080030", "00080050", "00080061", "00080090", "00100010", "00100020",
        "00100030", "00100040", "0020000D", "00200010", "00201206", "00201208", "00081190",
        "00080056",
    }  # fmt: skip
    assert required <= row.keys()
    assert list(row) == sorted(row)


@pytest.mark.standard("PS3.18 10.6.3.3.2")
async def test_series_and_instances_of_a_study(service: Service) -> None:
    study = a_series(3)
    study += a_series(2, study_uid=str(study[0].StudyInstanceUID), series_number=2)
    await service.hold(*study)
    client = service.client()
    path = f"/studies/{study[0].StudyInstanceUID}"

    series = (await client.get(f"{path}/series")).json()
    of_second = (await client.get(f"{path}/series/{study[3].SeriesInstanceUID}/instances")).json()
    of_study = (await client.get(f"{path}/instances", params={"InstanceNumber": "2"})).json()

    assert [value(row, "00200011") for row in series] == [1, 2]
    assert all({"00080060", "00081190", "0020000E", "00201209"} <= row.keys() for row in series)
    assert [value(row, "00080018") for row in of_second] == [s.SOPInstanceUID for s in study[3:]]
    assert value(of_second[0], "00081190") == (
        f"{service.base}{path}/series/{study[3].SeriesInstanceUID}"
        f"/instances/{study[3].SOPInstanceUID}"
    )
    assert [value(row, "00080018") for row in of_study] == [
        study[1].SOPInstanceUID,
        study[4].SOPInstanceUID,
    ]
    assert all(list(row) == sorted(row) for row in series + of_second)


@pytest.mark.standard("PS3.18 10.6.3.3.2")
async def test_all_series_have_the_attributes_of_their_study(service: Service) -> None:
    await service.hold(an_instance(), an_instance("MR"))

    (row,) = (await service.client().get("/series", params={"Modality": "MR"})).json()

    assert {"00080020", "00100010", "00080060", "00081190"} <= row.keys()
    assert list(row) == sorted(row)


@pytest.mark.standard("PS3.18 8.3.4.4")
async def test_limit_and_offset_page_through_the_newest_first(service: Service) -> None:
    studies = [an_instance(study_date=f"2026031{day}") for day in range(5)]
    await service.hold(*studies)
    client = service.client()

    first = await client.get("/studies", params={"limit": 2})
    second = await client.get("/studies", params={"limit": 2, "offset": 2})
    last = await client.get("/studies", params={"limit": 2, "offset": 4})

    uids = [[value(row, "0020000D") for row in answer.json()] for answer in (first, second, last)]
    newest = [str(ds.StudyInstanceUID) for ds in reversed(studies)]
    assert uids == [newest[:2], newest[2:4], newest[4:]]
    assert "additional results" in first.headers["warning"]
    assert "warning" not in last.headers


@pytest.mark.standard("PS3.18 8.3.4.4.1")
async def test_no_results_is_no_content(service: Service) -> None:
    answer = await service.client().get("/studies", params={"PatientID": "nobody"})

    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.standard("PS3.18 8.3.4.5")
async def test_what_is_not_supported_is_warned_of_and_ignored(service: Service) -> None:
    await service.hold(an_instance())

    answer = await service.client().get(
        "/studies",
        params={"emptyvaluematching": "true", "NoSuchKeyword": "x", "SliceThickness": "1"},
    )

    assert len(answer.json()) == 1
    warning = answer.headers["warning"]
    assert warning.startswith(f"299 {service.base}: The emptyvaluematching parameter is not ")
    assert "NoSuchKeyword" in warning
    assert "SliceThickness" in warning


async def test_a_header_cannot_be_smuggled_in_through_a_parameter_name(service: Service) -> None:
    await service.hold(an_instance())

    answer = await service.client().get("/studies", params={"x\r\nSet-Cookie: a": "b"})

    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"limit": "-1"}, 400),
        ({"limit": "many"}, 400),
        ({"offset": "999999999"}, 400),
        ({"fuzzymatching": "perhaps"}, 400),
        ({"StudyDate": "yesterday"}, 400),
        ({"StudyInstanceUID": "../../etc/passwd"}, 400),
        ({"PatientName": "a\0b"}, 400),
    ],
)
async def test_a_malformed_query_is_a_problem(
    service: Service, params: dict[str, str], status: int
) -> None:
    answer = await service.client().get("/studies", params=params)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


async def test_xml_is_not_acceptable(service: Service) -> None:
    accept = {"Accept": 'multipart/related; type="application/dicom+xml"'}

    answer = await service.client().get("/studies", headers=accept)

    assert answer.status_code == 406


async def test_more_attributes_of_instances_come_when_asked_for(service: Service) -> None:
    ds, nested = an_instance(), Dataset()
    nested.StudyInstanceUID = "1.2.3"
    ds.SliceThickness = "2"
    ds.ReferencedStudySequence = [nested]
    await service.hold(ds)
    fields = "HighBit,00280101,SliceThickness,ReferencedStudySequence"

    (row,) = (await service.client().get("/instances", params={"includefield": fields})).json()

    assert (value(row, "00280102"), value(row, "00280101")) == (11, 12)
    assert list(value(row, "00081110")) == ["0020000D"]  # type: ignore[call-overload]
    assert {"00180050", "00081190"} <= row.keys()
    assert list(row) == sorted(row)


@pytest.mark.standard("threats T1")
async def test_an_unrelated_organisation_finds_nothing(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)
    stranger = service.client("other")

    answers = [
        await stranger.get(path)
        for path in (
            "/studies",
            "/series",
            "/instances",
            f"/studies?StudyInstanceUID={ds.StudyInstanceUID}",
            f"/studies/{ds.StudyInstanceUID}/series",
            f"/studies/{ds.StudyInstanceUID}/instances",
        )
    ]

    assert [answer.status_code for answer in answers] == [204] * 6


async def test_a_query_without_a_token_is_answered_how_to_get_one(service: Service) -> None:
    answer = await service.client().get("/studies", headers={"Authorization": ""})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_scope_that_does_not_search_is_forbidden(service: Service) -> None:
    answer = await service.client(scope="system/ImagingStudy.r").get("/studies")

    assert answer.status_code == 403


@pytest.mark.requirement("R014.1")
async def test_a_query_leaves_one_audit_row_with_its_hits(service: Service) -> None:
    await service.hold(an_instance())

    await service.client().get("/studies", params={"AccessionNumber": "A1"})

    rows = await service.bridge.database.run(
        "SELECT outcome, organization, query, hits FROM audit WHERE interaction = 'QIDO-RS'"
    )
    assert rows == [(0, "lead", "identifier=A1", 1)]


@pytest.mark.parametrize("params", [{"PatientID": "9000000009"}, {"PatientName": "okaf*"}])
async def test_to_search_studies_is_to_search_them_by_their_patient_too(
    service: Service, params: dict[str, str]
) -> None:
    await service.hold(an_instance(patient_name="Okafor^Ada"))

    answer = await service.client(scope="system/ImagingStudy.rs").get("/studies", params=params)
    stranger = await service.client("other", scope="system/ImagingStudy.rs").get(
        "/studies", params=params
    )

    assert [value(row, "00100020") for row in answer.json()] == ["9000000009"]
    assert stranger.status_code == 204


async def test_what_is_not_offered_is_a_problem(service: Service) -> None:
    answer = await service.client().get("/studies/1.2.3/rendered")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.standard("PS3.18 10.6.3.3.1")
async def test_studies_without_objects_here_do_not_stand_in_the_way(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ImagingStudy may be known from elsewhere, newer, and in any number."""
    ds = an_instance()
    await service.hold(ds)
    (patient,) = await service.bridge.database.run("select id from current where type = 'Patient'")
    context = RequestContext(Principal.system("test"), "create")
    async with service.bridge.store.begin(context) as work:
        for number in range(30):
            subject = {"reference": f"Patient/{patient[0]}"}
            known = a_study(None, uid=f"1.2.3.{number}", subject=subject, started="2026-11-24")
            await work.create(content.made(known))
    monkeypatch.setattr(query, "MOST_LOOKED_AT", 10)

    answer = await service.client().get("/studies", params={"limit": "5"})

    assert answer.status_code == 200
    assert [value(row, "0020000D") for row in answer.json()] == [ds.StudyInstanceUID]


FUZZY = {
    "mueller": 0, "müller": 2, "MULLER": 2, "zoe": 1, "Zoë Mül": 1, "lang zo": 1, "ull": 0,
    "Muller^Zoe": 1, "müller-lang": 1, "x": 0, "mul*": 2,
}  # fmt: skip


@pytest.mark.standard("PS3.18 8.3.4.2")
async def test_names_match_fuzzily_by_how_their_words_begin(service: Service) -> None:
    one = an_instance(patient_name="Müller Lang^Zoë", patient_id="9000000009")
    two = an_instance(patient_name="Mullerova^Eva", patient_id="9000000017")
    one.ReferringPhysicianName, two.ReferringPhysicianName = "Müller Lang^Zoë", "Mullerova^Eva"
    for ds in (one, two):
        ds.SpecificCharacterSet = "ISO_IR 192"
    await service.hold(one, two)
    client = service.client()

    for keyword in ("PatientName", "ReferringPhysicianName"):
        for key, count in FUZZY.items():
            answer = await client.get("/studies", params={keyword: key, "fuzzymatching": "true"})
            found = answer.json() if answer.content else []
            assert len(found) == count, (keyword, key)
            assert "warning" not in answer.headers
    literal = await client.get("/studies", params={"PatientName": "zoe", "fuzzymatching": "false"})
    assert literal.status_code == 204


@pytest.mark.standard("PS3.18 8.3.4.4")
async def test_how_many_there_are_in_all_is_told_where_it_is_known_or_asked_for(
    service: Service,
) -> None:
    studies = [an_instance(study_date=f"202603{day}") for day in range(10, 17)]
    await service.hold(*studies, *a_series(3))
    client = service.client()
    exact = {"Prefer": "respond-async, count=exact"}
    query = "StudyDate=20260310-20260316&limit=3"

    page = await client.get(f"/studies?{query}")
    counted = await client.get(f"/studies?{query}", headers=exact)
    last = await client.get(f"/studies?{query}&offset=6")
    none = await client.get("/studies?StudyDate=19990101")
    series = await client.get("/series?limit=1", headers=exact)
    images = await client.get("/instances?limit=1", headers=exact)

    assert len(page.json()) == len(counted.json()) == 3
    assert "additional results" in page.headers["warning"]
    assert "x-total-count" not in page.headers
    assert counted.headers["x-total-count"] == "8"
    assert counted.headers["preference-applied"] == "count=exact"
    assert (len(last.json()), last.headers["x-total-count"]) == (2, "8")
    assert (none.status_code, none.headers["x-total-count"]) == (204, "0")
    assert series.headers["x-total-count"] == "8"
    assert images.headers["x-total-count"] == "10"


@pytest.mark.standard("PS3.18 10.6.3.3")
async def test_all_other_attributes_of_the_level_come_when_asked_for(service: Service) -> None:
    ds = an_instance()
    ds.PatientAge, ds.ProtocolName, ds.SliceThickness = "056Y", "Head", "1.5"
    await service.hold(ds)
    client = service.client()
    study = f"/studies/{ds.StudyInstanceUID}"

    async def tags(address: str) -> list[str]:
        (row,) = (await client.get(address)).json()
        assert list(row) == sorted(row), "in order of their tags"
        assert "00081190" in row
        return list(row)

    age, protocol, thickness, pixels = "00101010", "00181030", "00180050", "7FE00010"
    assert age not in await tags("/studies")
    assert age in await tags("/studies?includefield=PatientAge")
    assert {age} == {age, protocol, thickness} & {*await tags("/studies?includefield=all")}
    assert {protocol} == {age, protocol, thickness} & {
        *await tags(f"{study}/series?includefield=all")
    }
    assert {age, protocol} == (
        {age, protocol, thickness}
        & {*await tags("/series?includefield=00101010,00181030,00180050")}
    )
    whole = {*await tags(f"{study}/instances?includefield=all")}
    assert {age, protocol, thickness} <= whole
    assert pixels not in whole


@pytest.mark.standard("PS3.18 10.6.3.3")
async def test_instances_have_the_attributes_of_what_the_address_does_not_name(
    service: Service,
) -> None:
    ds = an_instance(description="CT Head")
    await service.hold(ds)
    client = service.client()
    study = f"/studies/{ds.StudyInstanceUID}"
    study_description, series_description = "00081030", "0008103E"

    everywhere = (await client.get("/instances")).json()[0]
    of_study = (await client.get(f"{study}/instances")).json()[0]
    of_series = (await client.get(f"{study}/series/{ds.SeriesInstanceUID}/instances")).json()[0]

    assert {study_description, series_description} <= everywhere.keys()
    assert series_description in of_study
    assert study_description not in of_study
    assert series_description not in of_series
    assert all("00080018" in row for row in (everywhere, of_study, of_series))

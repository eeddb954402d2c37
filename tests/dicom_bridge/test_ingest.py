"""Ingest: received is durable, settled is one version, and nothing is linked on a doubt."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from dicom_bridge import holdings, ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.peers import Peer
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse
from fhir_server.context import RequestContext
from resources import codes
from resources.errors import Conflict, Forbidden
from tests import build
from tests.dicom_bridge.build import a_series, a_uid, an_instance
from tests.dicom_bridge.conftest import CT1, CT2, found, take_in, write

pytestmark = pytest.mark.anyio

NHS = build.nhs_number(77)
PERSON: dict[str, Any] = {"patient_id": NHS, "birth_date": "19700101"}


def accession(value: str, ods: str = "ZZ901") -> dict[str, Any]:
    return {
        "type": {"coding": [codes.ACCESSION_NUMBER_TYPE.json]},
        "system": f"{codes.ACCESSION}/{ods}",
        "value": value,
    }


async def order(bridge: Bridge, **members: Any) -> None:
    """A patient, and a request for one examination with accession number A1."""
    patient = build.a_patient("p1", identifier=[{"system": codes.NHS_NUMBER, "value": NHS}])
    request = build.a_request(
        "sr1", subject={"reference": "Patient/p1"}, identifier=[accession("A1")]
    )
    for member in ("requester", "performer", "reasonReference", "supportingInfo", "encounter"):
        request.pop(member, None)
    await write(bridge, patient, {**request, **members})


async def settled(bridge: Bridge) -> dict[str, Any]:
    """The one ImagingStudy, once all is settled."""
    await bridge.quiet.drained()
    (study,) = await found(bridge, "ImagingStudy")
    return study


async def test_a_study_of_nobody_known_makes_a_patient(bridge: Bridge) -> None:
    await take_in(bridge, an_instance(**PERSON, accession=""))

    study = await settled(bridge)

    (patient,) = await found(bridge, "Patient")
    assert study["subject"] == {"reference": f"Patient/{patient['id']}"}
    assert patient["identifier"] == [{"system": codes.NHS_NUMBER, "value": NHS}]
    assert (patient["birthDate"], patient["gender"]) == ("1970-01-01", "female")


async def test_a_patient_is_matched_by_nhs_number_and_birth_date(bridge: Bridge) -> None:
    await order(bridge)

    await take_in(bridge, an_instance(**PERSON, accession=""))

    assert (await settled(bridge))["subject"] == {"reference": "Patient/p1"}


@pytest.mark.requirement("R018.3")
async def test_another_birth_date_is_another_patient_and_a_question(bridge: Bridge) -> None:
    await order(bridge)

    await take_in(bridge, an_instance(patient_id=NHS, birth_date="19800202", accession=""))

    study = await settled(bridge)
    assert study["subject"] != {"reference": "Patient/p1"}
    (task,) = await found(bridge, "Task")
    assert task["code"]["coding"][0]["code"] == "reconcile"
    assert task["owner"] == {"reference": "Organization/lead"}


@pytest.mark.requirement("R007.1")
async def test_the_accession_number_links_a_study_to_its_request(bridge: Bridge) -> None:
    await order(bridge)

    await take_in(bridge, an_instance(**PERSON))

    study = await settled(bridge)
    assert study["basedOn"] == [{"reference": "ServiceRequest/sr1"}]
    assert study["subject"] == {"reference": "Patient/p1"}
    assert accession("A1")["system"] in {one["system"] for one in study["identifier"]}


async def test_the_same_number_of_another_issuer_links_nothing(bridge: Bridge) -> None:
    await order(bridge)

    await take_in(bridge, an_instance(**PERSON, accession_issuer="ZZ902"))

    assert "basedOn" not in await settled(bridge)


async def test_a_patient_who_is_not_the_requests_is_kept_apart(bridge: Bridge) -> None:
    await order(bridge)

    await take_in(bridge, an_instance(patient_id=build.nhs_number(78)))

    study = await settled(bridge)
    assert "basedOn" not in study
    assert study["subject"] != {"reference": "Patient/p1"}
    (task,) = await found(bridge, "Task")
    assert task["focus"] == {"reference": f"ImagingStudy/{study['id']}"}
    assert "not the patient of the request" in task["description"]


async def test_a_request_that_was_revoked_is_not_fulfilled(bridge: Bridge) -> None:
    await order(bridge, status="revoked")

    await take_in(bridge, an_instance(**PERSON))

    assert "basedOn" not in await settled(bridge)
    assert len(await found(bridge, "Task")) == 1


def registered(uid: str, **members: Any) -> dict[str, Any]:
    study = {
        "resourceType": "ImagingStudy",
        "id": "is1",
        "status": "registered",
        "identifier": [{"system": codes.DICOM_UID, "value": f"urn:oid:{uid}"}],
        "subject": {"reference": "Patient/p1"},
        "basedOn": [{"reference": "ServiceRequest/sr1"}],
        "numberOfSeries": 0,
        "numberOfInstances": 0,
    }
    return {**study, **members}


@pytest.mark.parametrize("own_uid", [True, False], ids=["its UID", "a UID of the modality's own"])
async def test_the_study_that_was_registered_becomes_available(
    bridge: Bridge, own_uid: bool
) -> None:
    await order(bridge)
    uid = a_uid()
    await write(bridge, registered(uid if own_uid else a_uid()))

    await take_in(bridge, an_instance(**PERSON, study_uid=uid))

    study = await settled(bridge)
    assert (study["id"], study["status"], study["meta"]["versionId"]) == ("is1", "available", "2")
    uids = [one["value"] for one in study["identifier"] if one["system"] == codes.DICOM_UID]
    assert uids == [f"urn:oid:{uid}"]


@pytest.mark.requirement("W2")
@pytest.mark.parametrize("own_uid", [True, False], ids=["its UID", "a UID of the modality's own"])
async def test_images_of_who_acquires_for_another_join_the_study_of_the_lead(
    bridge: Bridge, own_uid: bool
) -> None:
    await order(bridge, identifier=[accession("LEAD1", "ZZ909")])
    both = [{"reference": f"ServiceRequest/{one}"} for one in ("sr1", "sr1a")]
    onward = build.a_request(
        "sr1a",
        subject={"reference": "Patient/p1"},
        intent="filler-order",
        basedOn=both[:1],
        category=[codes.KIND_OUTSOURCED_ACQUISITION.concept],
        identifier=[accession("A1")],
        requester=None,
        performer=None,
    )
    uid = a_uid()
    planned = registered(uid if own_uid else a_uid(), basedOn=both)
    planned["identifier"] += [accession("LEAD1", "ZZ909"), accession("A1")]
    await write(bridge, onward, planned)

    await take_in(bridge, an_instance(**PERSON, study_uid=uid))

    study = await settled(bridge)
    assert (study["id"], study["status"], study["basedOn"]) == ("is1", "available", both)
    numbers = {(one["system"][-5:], one["value"]) for one in study["identifier"]}
    assert {("ZZ909", "LEAD1"), ("ZZ901", "A1")} <= numbers


async def test_a_registered_study_of_another_patient_is_left_alone(bridge: Bridge) -> None:
    await order(bridge)
    uid = a_uid()
    await write(bridge, registered(uid))

    await take_in(bridge, an_instance(study_uid=uid, patient_id=build.nhs_number(78)))
    await bridge.quiet.drained()

    studies = {one["id"]: one for one in await found(bridge, "ImagingStudy")}
    assert studies.pop("is1")["status"] == "registered"
    (apart,) = studies.values()
    assert "basedOn" not in apart


async def test_a_second_burst_is_a_second_version(bridge: Bridge) -> None:
    first, second, third = a_series(3, **PERSON)
    await take_in(bridge, first)
    await settled(bridge)
    await take_in(bridge, second)
    await take_in(bridge, third)

    study = await settled(bridge)

    assert (study["numberOfInstances"], study["meta"]["versionId"]) == (3, "2")
    assert [one["number"] for one in study["series"][0]["instance"]] == [1, 2, 3]


async def test_settling_again_changes_nothing(bridge: Bridge) -> None:
    ds = an_instance(**PERSON)
    await take_in(bridge, ds)
    await settled(bridge)
    await bridge.database.run(
        "insert into unsettled values ($1, 9, 0, 0, 'lead')", (ds.StudyInstanceUID,)
    )

    await ingest.settle(bridge, ds.StudyInstanceUID)

    assert (await settled(bridge))["meta"]["versionId"] == "1"
    assert await bridge.database.run("select * from unsettled") == []


async def test_what_a_crash_left_is_settled_by_the_worker(bridge: Bridge) -> None:
    ds = an_instance(**PERSON)
    await take_in(bridge, ds)
    bridge.quiet._timers.popitem()[1].cancel()  # the process that took it in is no more
    bridge.quiet._waiting.clear()
    assert await found(bridge, "ImagingStudy") == []

    assert await ingest.settle_leftovers(bridge, older_than_seconds=60) == 0
    assert await ingest.settle_leftovers(bridge, older_than_seconds=-1) == 1

    assert (await settled(bridge))["numberOfInstances"] == 1


async def test_two_processes_that_settle_at_once_make_one_study(bridge: Bridge) -> None:
    other = Bridge(bridge.database, bridge.store, bridge.ledger, bridge.blobs)
    series = a_series(20, **PERSON)
    await asyncio.gather(*(take_in(bridge, ds) for ds in series))
    study_uid = series[0].StudyInstanceUID

    await asyncio.gather(ingest.settle(bridge, study_uid), ingest.settle(other, study_uid))

    study = await settled(bridge)
    assert study["numberOfInstances"] == 20
    assert len(await found(bridge, "Patient")) == 1


async def test_the_same_instance_many_times_at_once_is_one(bridge: Bridge) -> None:
    ds = an_instance(**PERSON)

    received = await asyncio.gather(*(take_in(bridge, ds) for _ in range(12)))

    assert sorted(one.already for one in received) == [False] + [True] * 11
    assert await bridge.database.run("select count(*) from instance") == [(1,)]


async def test_of_different_objects_at_once_one_is_kept_and_all_are_there(bridge: Bridge) -> None:
    uid, study = a_uid(), a_uid()
    rivals = [an_instance(sop_uid=uid, study_uid=study, pixel=n, **PERSON) for n in range(6)]

    answers = await asyncio.gather(*(take_in(bridge, ds) for ds in rivals), return_exceptions=True)

    assert sum(isinstance(answer, Conflict) for answer in answers) == 5
    assert await bridge.database.run("select count(*) from instance_conflict") == [(5,)]


async def test_each_sender_is_named_with_what_it_sent(bridge: Bridge) -> None:
    study = a_uid()
    await take_in(bridge, an_instance(study_uid=study, series_number=1, **PERSON))
    await take_in(bridge, an_instance(study_uid=study, series_number=2, **PERSON), peer=CT2)

    series = (await settled(bridge))["series"]

    assert [one["performer"][0]["actor"]["reference"] for one in series] == [
        "Organization/lead",
        "Organization/other",
    ]
    assert {one["extension"][0]["url"] for one in series} == {codes.SOURCE_ORGANIZATION}


async def test_metadata_is_made_when_the_study_is_settled(bridge: Bridge) -> None:
    ds = an_instance(**PERSON)
    await take_in(bridge, ds)
    await settled(bridge)

    (row,) = await holdings.metadata(bridge.database, ds.StudyInstanceUID)

    json = orjson.loads(row.json or b"{}")
    assert json["0020000D"] == {"vr": "UI", "Value": [ds.StudyInstanceUID]}
    assert json["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}


async def test_the_rows_of_qido_count_what_is_held(bridge: Bridge) -> None:
    for ds in a_series(4, **PERSON):
        await take_in(bridge, ds)
    await settled(bridge)

    ((study,),) = await bridge.database.run("select json from study")
    ((series,),) = await bridge.database.run("select json from series")

    assert orjson.loads(study)["00201208"] == {"vr": "IS", "Value": [4]}
    assert orjson.loads(study)["00080061"] == {"vr": "CS", "Value": ["CT"]}
    assert orjson.loads(series)["00201209"] == {"vr": "IS", "Value": [4]}


async def test_an_app_bound_to_one_patient_cannot_send_anothers(bridge: Bridge) -> None:
    await order(bridge, performer=[{"reference": "Organization/lead"}])
    context = RequestContext(an_app(CT1), "STOW-RS")

    own, other = an_instance(**PERSON), an_instance(patient_id=build.nhs_number(79))

    assert not (await ingest.receive(bridge, await kept(bridge, own), context)).already
    with pytest.raises(Forbidden):
        await ingest.receive(bridge, await kept(bridge, other), context)


async def test_an_app_cannot_send_of_a_patient_its_organisation_has_nothing_to_do_with(
    bridge: Bridge,
) -> None:
    await order(bridge, performer=[{"reference": "Organization/lead"}])
    context = RequestContext(an_app(CT2), "STOW-RS")

    with pytest.raises(Forbidden):
        await ingest.receive(bridge, await kept(bridge, an_instance(**PERSON)), context)


def an_app(peer: Peer) -> Principal:
    """An application that acts for a peer's organisation, bound to the patient `p1`."""
    return replace(
        peer.principal, role="application", patient="p1", scopes=parse("patient/*.cruds")
    )


async def kept(bridge: Bridge, ds: Any) -> Any:
    from tests.dicom_bridge.build import part10

    spool = bridge.blobs.spool()
    spool.write(part10(ds))
    return await asyncio.to_thread(ingest.keep, bridge.blobs, spool)


async def test_a_large_study_is_one_version(bridge: Bridge) -> None:
    series = a_series(400, rows=1, columns=1, **PERSON)
    for at in range(0, 400, 50):
        await asyncio.gather(*(take_in(bridge, ds) for ds in series[at : at + 50]))

    study = await settled(bridge)

    assert (study["numberOfInstances"], study["meta"]["versionId"]) == (400, "1")


@pytest.mark.standard("threats T1")
@pytest.mark.parametrize("patient_id", ["", NHS])
async def test_nobody_joins_a_study_of_others_by_its_uid(bridge: Bridge, patient_id: str) -> None:
    """Else a picture sent into it would make the sender a party, who then sees the patient."""
    await order(bridge)
    study = a_uid()
    await take_in(bridge, an_instance(study_uid=study, **PERSON))
    before = await settled(bridge)

    with pytest.raises(Conflict):
        await take_in(bridge, an_instance(study_uid=study, patient_id=patient_id), peer=CT2)

    assert await settled(bridge) == before
    kept = await bridge.database.run("SELECT organization FROM instance_conflict")
    assert kept == [("other",)]


@pytest.mark.standard("threats T1")
async def test_who_has_to_do_with_the_patient_adds_to_the_study(bridge: Bridge) -> None:
    await order(bridge, performer=[{"reference": "Organization/other"}])
    study = a_uid()
    await take_in(bridge, an_instance(study_uid=study, **PERSON))
    await settled(bridge)

    await take_in(bridge, an_instance(study_uid=study, **PERSON), peer=CT2)

    assert (await settled(bridge))["numberOfInstances"] == 2


@pytest.mark.standard("threats T23")
@pytest.mark.parametrize("accession_number", ["", "A1"])
async def test_a_number_without_the_date_of_birth_links_nothing(
    bridge: Bridge, accession_number: str
) -> None:
    await order(bridge)

    stranger = an_instance(patient_id=NHS, birth_date="", accession=accession_number)
    await take_in(bridge, stranger, peer=CT2)

    study = await settled(bridge)
    assert study["subject"] != {"reference": "Patient/p1"}
    assert "basedOn" not in study
    (task,) = await found(bridge, "Task")
    assert task["owner"] == {"reference": "Organization/other"}


async def test_the_sender_who_gave_the_accession_number_need_not_send_the_birth_date(
    bridge: Bridge,
) -> None:
    await order(bridge)

    await take_in(bridge, an_instance(patient_id=NHS, birth_date=""))

    assert (await settled(bridge))["basedOn"] == [{"reference": "ServiceRequest/sr1"}]


@pytest.mark.standard("PS3.15 A.5.3.7")
async def test_the_audit_leads_from_the_patient_to_who_sent_the_images(bridge: Bridge) -> None:
    study_uid = a_uid()
    for _ in range(3):
        await take_in(bridge, an_instance(study_uid=study_uid, **PERSON))
    study = await settled(bridge)

    patient = study["subject"]["reference"].partition("/")[2]
    rows = await bridge.database.run(
        "select subject, organization, type, id, query, hits from audit"
        " where patient = $1 and subject = $2",
        (patient, CT1.principal.subject),
    )

    assert rows == [
        (
            CT1.principal.subject,
            "lead",
            "ImagingStudy",
            study["id"],
            f"StudyInstanceUID={study_uid}",
            3,
        )
    ]


@pytest.mark.standard("FHIR http delete")
async def test_a_study_is_not_deleted_as_long_as_its_images_are_held(bridge: Bridge) -> None:
    await take_in(bridge, an_instance(**PERSON))
    study = await settled(bridge)
    context = RequestContext(Principal.system("test"), "delete")

    with pytest.raises(Conflict, match="held"):
        async with bridge.store.begin(context) as work:
            await work.delete("ImagingStudy", study["id"])

    assert await settled(bridge) == study
    nameless = {name: value for name, value in study.items() if name != "identifier"}
    await write(bridge, nameless)
    with pytest.raises(Conflict, match="held"):
        async with bridge.store.begin(context) as work:
            await work.delete("ImagingStudy", study["id"])

    await bridge.database.run("delete from instance")
    async with bridge.store.begin(context) as work:
        await work.delete("ImagingStudy", study["id"])
    assert await found(bridge, "ImagingStudy") == []


@pytest.mark.standard("PS3.10 7.1")
async def test_what_others_brought_before_with_longer_meta_information_is_read_where_it_is(
    bridge: Bridge,
) -> None:
    """The same data set may come in files that differ in front of it; one of them is kept."""
    study = a_uid()
    await take_in(bridge, an_instance(study_uid=study, **PERSON))
    await settled(bridge)
    late = an_instance(study_uid=study, **PERSON)
    late.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    with pytest.raises(Conflict):
        await take_in(bridge, late, peer=CT2)
    del late.file_meta.SourceApplicationEntityTitle

    await take_in(bridge, late)

    (held,) = [
        one
        for one in await holdings.instances(bridge.database, study)
        if one.sop_uid == late.SOPInstanceUID
    ]
    file = await bridge.blobs.own(held.blob)
    assert held.dataset_offset + held.size == file.stat().st_size
    assert bridge.blobs.is_sound(held.blob, held.dataset_offset, held.transfer_syntax)

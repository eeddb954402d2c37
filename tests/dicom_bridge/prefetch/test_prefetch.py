"""What is scheduled elsewhere makes a study and its priors be there, all of it, or says so."""

import asyncio
import hashlib
from typing import Any

import pytest

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.prefetch.mover import Mover
from dicom_bridge.prefetch.planning import Planner
from resources import codes, elements
from tests import build
from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.conftest import BASE, found, take_in, write
from tests.dicom_bridge.prefetch.archive import KOS, PR, Pacs
from tests.dicom_bridge.prefetch.conftest import (
    a_report_step,
    composite,
    held,
    move,
    moved,
    now_due,
    prefetches,
    uids,
)

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R003.2")]

Json = dict[str, Any]
SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"


def manifests(task: Json) -> dict[str, tuple[int, str]]:
    """Study -> number and digest of what a Task says that it delivered."""
    said = {}
    for output in task["output"]:
        assert codes.has(output["type"], codes.IO_MANIFEST)
        (extension,) = output["extension"]
        count, digest = (elements.extension_value(extension, name) for name in ("count", "sha256"))
        said[output["valueReference"]["reference"].split("/_history/")[0]] = (count, digest)
    return said


def digest(names: set[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


@pytest.mark.requirement("R012.2")
@pytest.mark.requirement("R013.2")
async def test_the_whole_composite_study_and_its_prior_are_at_the_pacs(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    older = a_series(2, study_date="20200101", accession="A0")
    study = composite()
    prior = await held(bridge, *older)
    new = await held(bridge, *study)
    await a_report_step(bridge, new)

    assert await planner.work() == 1
    (task,) = await prefetches(bridge)
    assert task["status"] == "requested"
    assert task["owner"]["reference"] == "Organization/other"
    assert task["focus"]["reference"] == f"ImagingStudy/{new['id']}"
    assert task["reasonReference"]["reference"] == "Task/report"
    assert task["restriction"]["period"]["end"] == "2026-12-01T09:00:00Z"
    (given,) = task["input"]
    assert codes.has(given["type"], codes.IO_PRIOR)
    assert given["valueReference"]["reference"] == f"ImagingStudy/{prior['id']}"

    await moved(bridge)

    (task,) = await prefetches(bridge)
    assert task["status"] == "completed"
    assert set(pacs.held) == uids(study) | uids(older)
    assert manifests(task) == {
        f"ImagingStudy/{new['id']}": (6, digest(uids(study))),
        f"ImagingStudy/{prior['id']}": (2, digest(uids(older))),
    }
    assert await planner.work() == 0
    assert len(pacs.stored) == 8


async def test_the_transfer_is_audited_for_both_organisations(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)

    events = await found(bridge, "AuditEvent", type="110104", entity=f"ImagingStudy/{new['id']}")

    told = [str(one) for one in events]
    assert any("Organization/lead" in one and "Organization/other" in one for one in told)
    assert any("Peer/PACS2" in one for one in told)


@pytest.mark.requirement("R003.4")
async def test_objects_that_come_late_follow(bridge: Bridge, planner: Planner, pacs: Pacs) -> None:
    study = a_series(2)
    new = await held(bridge, *study)
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)
    late = an_instance(study_uid=study[0].StudyInstanceUID, series_number=7)
    await held(bridge, late)

    assert await planner.work() == 1
    await moved(bridge)

    first, second = await prefetches(bridge)
    assert (first["status"], second["status"]) == ("completed", "completed")
    assert manifests(second)[f"ImagingStudy/{new['id']}"] == (3, digest(uids([*study, late])))
    assert pacs.stored.count(str(late.SOPInstanceUID)) == 1
    assert len(pacs.stored) == 3


@pytest.mark.requirement("R003.4")
async def test_objects_that_come_before_it_began_join_the_same_task(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(2))
    await a_report_step(bridge, new)
    await planner.work()
    older = await held(bridge, *a_series(1, study_date="20200101", accession="A0"))
    await planner.work()
    await moved(bridge)

    (task,) = await prefetches(bridge)

    assert set(manifests(task)) == {f"ImagingStudy/{one['id']}" for one in (new, older)}


async def test_nothing_follows_once_the_work_has_ended(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(1)
    new = await held(bridge, *study)
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)
    await a_report_step(bridge, new, status="completed")
    await planner.work()
    await held(bridge, an_instance(study_uid=study[0].StudyInstanceUID, series_number=7))

    assert await planner.work() == 0
    assert len(await prefetches(bridge)) == 1


@pytest.mark.requirement("R003.3")
async def test_a_booked_appointment_brings_priors_and_a_cancelled_one_gives_up(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    prior = await held(bridge, *a_series(1, study_date="20200101"))
    place = {
        "resourceType": "Location",
        "id": "room",
        "managingOrganization": {"reference": "Organization/other"},
    }
    request = build.a_request(
        subject=prior["subject"],
        requester={"reference": "Organization/lead"},
        performer=[{"reference": "Organization/other"}],
    )
    actor = {"actor": {"reference": "Location/room"}, "status": "accepted"}
    slot = build.an_appointment(participant=[actor])
    await write(bridge, place, request, slot)

    assert await planner.work() == 1
    (task,) = await prefetches(bridge)
    assert task["focus"]["reference"] == "ServiceRequest/sr1"
    assert task["input"][0]["valueReference"]["reference"] == f"ImagingStudy/{prior['id']}"
    assert task["restriction"]["period"]["end"] == slot["start"]
    await write(bridge, {**slot, "start": "2026-11-24T09:00:00Z"})
    assert await planner.work() == 1
    (task,) = await prefetches(bridge)
    assert task["restriction"]["period"]["end"] == "2026-11-24T09:00:00Z"
    await write(bridge, {**slot, "status": "cancelled"})
    assert await planner.work() == 1
    (task,) = await prefetches(bridge)
    assert task["status"] == "cancelled"
    await moved(bridge)
    assert not pacs.stored


@pytest.mark.requirement("R013.2")
async def test_a_pacs_that_takes_no_presentation_states_makes_it_fail_and_say_so(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    pacs.close()
    pacs.classes -= {PR, KOS}
    pacs.open()
    new = await held(bridge, *composite())
    await a_report_step(bridge, new)
    await planner.work()

    await moved(bridge)

    (task,) = await prefetches(bridge)
    assert task["status"] == "failed"
    assert "2 of 6 objects" in task["statusReason"]["text"]
    assert "1 Grayscale Softcopy Presentation State not taken" in task["statusReason"]["text"]
    assert "1 Key Object Selection Document not taken" in task["statusReason"]["text"]
    assert "output" not in task
    assert not await bridge.database.run("SELECT 1 FROM prefetch")


async def test_what_a_pacs_says_it_took_and_does_not_hold_has_not_arrived(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(3)
    pacs.forgets = {str(study[1].SOPInstanceUID)}
    new = await held(bridge, *study)
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)
    (task,) = await prefetches(bridge)
    assert task["status"] == "in-progress"
    assert "1 of 3 objects" in str(task["extension"])

    pacs.forgets = set()
    await now_due(bridge)
    await moved(bridge)

    (task,) = await prefetches(bridge)
    assert task["status"] == "completed"
    assert len(pacs.stored) == 4  # the one that was forgotten, and no other, went again


async def test_what_is_refused_for_now_is_sent_again_and_nothing_else(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(4)
    full = {str(ds.SOPInstanceUID) for ds in study[:2]}
    pacs.answers = lambda uid: 0xA700 if uid in full else 0x0000
    new = await held(bridge, *study)
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)
    (task,) = await prefetches(bridge)
    assert task["status"] == "in-progress"
    assert "2 answered A700" in str(task["extension"])

    full.clear()
    await now_due(bridge)
    await moved(bridge)

    assert (await prefetches(bridge))[0]["status"] == "completed"
    assert sorted(pacs.stored) == sorted(uids(study))


async def test_an_association_that_ends_half_way_is_gone_on_with(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(6)
    pacs.aborts_after = 3
    new = await held(bridge, *study)
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)
    (task,) = await prefetches(bridge)
    assert task["status"] == "in-progress"
    assert "the connection ended" in str(task["extension"])

    await now_due(bridge)
    await moved(bridge)

    assert (await prefetches(bridge))[0]["status"] == "completed"
    assert sorted(pacs.stored) == sorted(uids(study))


async def test_a_pacs_that_stays_away_makes_it_fail_in_the_end_and_a_person_may_ask_again(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    pacs.close()
    new = await held(bridge, *a_series(2))
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)
    assert (await prefetches(bridge))[0]["status"] == "in-progress"
    await bridge.database.run("UPDATE prefetch SET due = 0, attempts = 7")

    async def failed() -> bool:
        return bool((await prefetches(bridge))[0]["status"] == "failed")

    await move(bridge, failed)
    (task,) = await prefetches(bridge)
    assert "2 of 2 objects" in task["statusReason"]["text"]

    pacs.open()
    again = {k: v for k, v in task.items() if k not in ("id", "meta", "statusReason", "extension")}
    await write(bridge, {**again, "id": "again", "status": "requested"})
    await planner.work()
    await moved(bridge)

    assert [one["status"] for one in await prefetches(bridge)] == ["failed", "completed"]


async def test_a_mover_that_dies_in_the_middle_is_followed_by_another(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(5)
    new = await held(bridge, *study)
    await a_report_step(bridge, new)
    await planner.work()
    pacs.gate.clear()
    first = asyncio.ensure_future(Mover(bridge, BASE).run())
    await asyncio.to_thread(pacs.began.wait, 60)
    first.cancel()
    pacs.gate.set()
    await bridge.database.run("UPDATE prefetch SET lease_until = 0")

    async def done() -> bool:
        return bool((await prefetches(bridge))[0]["status"] == "completed")

    await move(bridge, done, processes=2)

    (task,) = await prefetches(bridge)
    assert manifests(task) == {f"ImagingStudy/{new['id']}": (5, digest(uids(study)))}
    assert set(pacs.held) == uids(study)


async def test_what_came_from_the_pacs_does_not_go_back(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(2)
    theirs = await held(bridge, *study, peer=pacs.peer)
    await a_report_step(bridge, theirs)
    assert await planner.work() == 0
    assert not await prefetches(bridge)

    more = an_instance(study_uid=study[0].StudyInstanceUID, series_number=7)
    await held(bridge, more)
    await planner.work()
    pacs.held |= {str(ds.SOPInstanceUID): ds for ds in study}
    await moved(bridge)

    assert pacs.stored == [str(more.SOPInstanceUID)]
    (task,) = await prefetches(bridge)
    assert manifests(task)[f"ImagingStudy/{theirs['id']}"] == (3, digest(uids([*study, more])))


@pytest.mark.standard("threats T1")
async def test_nothing_is_sent_that_the_recipient_may_not_see_any_more(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    await a_report_step(bridge, new)
    await planner.work()
    await bridge.database.run("UPDATE relation SET until = 0 WHERE organization = 'other'")

    await moved(bridge)

    assert not pacs.stored
    (task,) = await prefetches(bridge)
    assert "not there for the recipient" in str(task)


@pytest.mark.standard("threats T1")
async def test_a_prefetch_lets_nobody_see_a_patient(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    step = build.a_step(
        "prefetch",
        focus={"reference": f"ImagingStudy/{new['id']}"},
        basedOn=None,
        requester={"reference": "Organization/lead"},
        owner={"reference": "Organization/other"},
        **{"for": new["subject"]},
    )
    await write(bridge, step)
    await planner.work()

    await moved(bridge)

    assert not pacs.stored


async def test_an_organisation_without_a_pacs_is_sent_nothing(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    await a_report_step(bridge, new, owner={"reference": "Organization/lead"})
    assert await planner.work() == 0
    await peers.add(bridge.database, pacs.peer._replace(destination=False))
    await a_report_step(bridge, new)
    assert await planner.work() == 0


async def test_planning_again_after_a_crash_makes_nothing_twice(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    rows = await bridge.database.run("SELECT log, xid, key FROM follower WHERE name = 'prefetch'")
    await a_report_step(bridge, new)
    await planner.work()
    await bridge.database.run(
        "UPDATE follower SET log = $1, xid = $2, key = $3 WHERE name = 'prefetch'", tuple(rows[0])
    )

    await asyncio.gather(Planner(bridge, BASE).work(), Planner(bridge, BASE).work())

    assert len(await prefetches(bridge)) == 1


async def test_an_object_that_is_not_settled_yet_is_not_spoken_of(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(2)
    new = await held(bridge, study[0])
    await a_report_step(bridge, new)
    await planner.work()
    await take_in(bridge, study[1])
    await moved(bridge)

    (task,) = await prefetches(bridge)
    assert manifests(task)[f"ImagingStudy/{new['id']}"] == (1, digest(uids(study[:1])))


async def test_what_may_be_seen_later_is_brought_then(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    await a_report_step(bridge, new)
    await bridge.database.run("UPDATE relation SET until = 0 WHERE organization = 'other'")
    assert await planner.work() == 0
    await bridge.database.run(f"UPDATE relation SET until = {2**62} WHERE organization = 'other'")
    consent = {
        "resourceType": "Consent",
        "id": "c1",
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"code": "59284-0"}]}],
        "patient": new["subject"],
        "policyRule": {"text": "told"},
        "organization": [{"reference": "Organization/lead"}],
    }
    await write(bridge, consent)

    assert await planner.work() == 1


async def test_a_team_of_several_organisations_is_where_the_work_is(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    team = {
        "resourceType": "CareTeam",
        "id": "mdt",
        "managingOrganization": [
            {"reference": "Organization/lead"},
            {"reference": "Organization/other"},
        ],
    }
    await write(bridge, team)
    await a_report_step(
        bridge,
        new,
        code=codes.STEPS["mdt-review"].concept,
        owner={"reference": "CareTeam/mdt"},
        requester={"reference": "Organization/other"},
    )

    assert await planner.work() == 1
    (task,) = await prefetches(bridge)
    assert task["owner"]["reference"] == "Organization/other"


async def test_a_prefetch_that_names_no_study_has_failed(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    step = build.a_step(
        "prefetch",
        focus=new["subject"],
        basedOn=None,
        requester={"reference": "Organization/lead"},
        owner={"reference": "Organization/other"},
        **{"for": new["subject"]},
    )
    await write(bridge, step)
    await planner.work()
    await moved(bridge)

    (task,) = await prefetches(bridge)
    assert task["status"] == "failed"
    assert "no study" in task["statusReason"]["text"]


async def test_a_destination_that_is_taken_off_the_list_makes_it_fail(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    await a_report_step(bridge, new)
    await planner.work()
    await peers.remove(bridge.database, "PACS2")
    await moved(bridge)

    (task,) = await prefetches(bridge)
    assert task["status"] == "failed"
    assert not pacs.stored


async def test_an_object_that_was_corrected_since_is_sent_again(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(2)
    new = await held(bridge, *study)
    await a_report_step(bridge, new)
    await planner.work()
    await moved(bridge)
    # As `reparenting` leaves an instance: its row leads to other bytes.
    first, second = (str(ds.SOPInstanceUID) for ds in study)
    await bridge.database.run(
        "UPDATE instance SET blob = (SELECT blob FROM instance WHERE sop_uid = $2) "
        "WHERE sop_uid = $1", (first, second),
    )  # fmt: skip
    await write(bridge, {**new, "note": [{"text": "corrected"}]})

    assert await planner.work() == 1
    await moved(bridge)

    assert pacs.stored.count(first) == 2
    assert pacs.stored.count(second) == 1


async def test_a_pacs_that_had_an_object_before_and_says_so_has_it(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(2)
    first = str(study[0].SOPInstanceUID)
    pacs.held[first] = study[0]
    pacs.answers = lambda uid: 0x0111 if uid == first else 0x0000
    await a_report_step(bridge, await held(bridge, *study))
    await planner.work()
    await moved(bridge)

    assert (await prefetches(bridge))[0]["status"] == "completed"


async def test_a_study_that_was_entered_in_error_is_not_brought(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    new = await held(bridge, *a_series(1))
    await write(bridge, {**new, "status": "entered-in-error"})
    await a_report_step(bridge, new)

    assert await planner.work() == 0


@pytest.mark.standard("threats T1")
async def test_an_informal_review_brings_what_was_granted_and_nothing_else(
    bridge: Bridge, planner: Planner, pacs: Pacs
) -> None:
    study = a_series(2)
    new = await held(bridge, *study)
    await held(bridge, *a_series(1, study_date="20200101", accession="A0"))
    step = build.a_step(
        "review-informal",
        intent="proposal",
        basedOn=None,
        focus={"reference": f"ImagingStudy/{new['id']}"},
        requester={"reference": "Organization/lead"},
        owner={"reference": "Organization/other"},
        **{"for": new["subject"]},
    )
    await write(bridge, step)
    assert await planner.work() == 0
    data = [{"meaning": "instance", "reference": {"reference": f"ImagingStudy/{new['id']}"}}]
    actor = {
        "role": {"coding": [{"code": "IRCP"}]},
        "reference": {"reference": "Organization/other"},
    }
    consent = {
        "resourceType": "Consent",
        "id": "grant",
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"code": "59284-0"}]}],
        "patient": new["subject"],
        "policyRule": {"text": "told"},
        "provision": {"type": "permit", "actor": [actor], "data": data},
    }
    await write(bridge, consent)

    assert await planner.work() == 1
    await moved(bridge)

    (task,) = await prefetches(bridge)
    assert task["status"] == "completed"
    assert set(pacs.held) == uids(study)

"""R014.4: the counts of a report are those of what was done, tallied here by who did it.

Nothing of the server's own tables is used: what counts as what is typed in from docs/governance.md.
"""

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from fhir_server.access.token import Keys
from resources import codes
from tests.conftest import renamed
from tests.flows.clinic import Clinic, Json
from tests.flows.test_r014_4_analysis import REPORT
from tests.server import running

pytestmark = pytest.mark.requirement("R014.4")

PLACES = {"gp": "harbour", "gp2": "harbour", "reporter": "northmoor", "coordinator": "northmoor",
          "reviewer": "westvale"}  # fmt: skip


class Thing(NamedTuple):
    """A resource about the patient, and the organisation that created it."""

    path: str
    creator: str


@pytest.fixture(scope="module")
def ward(cluster: str, template: str, keys: Keys) -> Iterator[Clinic]:
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database by_hand template {template} strategy file_copy")
    with running(renamed(cluster, "by_hand"), keys) as server:
        yield Clinic(server, renamed(cluster, "by_hand"))


def counts(clinic: Clinic, place: str, query: str) -> Counter[tuple[str, ...]]:
    """Measure and values of each dimension -> count, as the auditor of an organisation is told."""
    client = clinic.server.client("auditor", place, scope="user/AuditEvent.rs")
    answer = client.get(f"{REPORT}?{query}")
    assert answer.status_code == 200, answer.text
    found: Counter[tuple[str, ...]] = Counter()
    for group in answer.json()["group"]:
        measure = group["code"]["coding"][0]["code"]
        found[(measure,)] = group["population"][0]["count"]
        for stratum in group.get("stratifier", [{"stratum": []}])[0]["stratum"]:
            parts = stratum.get("component") or [stratum]
            values = (part["value"]["coding"][0]["code"] for part in parts)
            found[(measure, *values)] = stratum["population"][0]["count"]
    return found


def things(clinic: Clinic) -> list[Thing]:
    """A patient, a request, a study whose images say where they came from, and its report."""
    (request,) = clinic.refer()
    clinic.authorise(request)
    uid = f"2.25.{uuid.uuid4().int}"
    source = {"reference": "Organization/northmoor"}
    series = {
        "uid": f"{uid}.1", "number": 1, "modality": {"system": codes.DCM, "code": "CT"},
        "numberOfInstances": 1,
        "extension": [{"url": codes.SOURCE_ORGANIZATION, "valueReference": source}],
        "instance": [{"uid": f"{uid}.1.1", "number": 1, "sopClass":
            {"system": codes.URI, "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}}],
    }  # fmt: skip
    study = clinic.images_arrive(request, uid=uid, series=[series])
    report = clinic.report(request, study)
    return [
        Thing(clinic.patient, "harbour"),
        Thing(f"ServiceRequest/{request['id']}", "harbour"),
        Thing(f"ImagingStudy/{study['id']}", "northmoor"),
        Thing(f"DiagnosticReport/{report['id']}", "northmoor"),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_accesses_are_counted_as_they_were_made(ward: Clinic, seed: int) -> None:
    ward.welcome()
    there = things(ward)
    chance = random.Random(seed)
    query = "measure=accessed,crossed&by=person&by=organization"
    before = {place: counts(ward, place, query) for place in ("northmoor", "harbour", "westvale")}
    expected = {place: Counter[tuple[str, ...]]() for place in before}
    for _ in range(60):
        login, thing = chance.choice([*PLACES]), chance.choice(there)
        way, counted = chance.choice([
            ("{}", True), ("{}/_history/1", True), ("{}/_history", True), ("{}x", False),
            ("{type}?_id={id}", False), ("Organization/northmoor", False),
            ("{}/_history/99", False),
        ])  # fmt: skip
        type, _, id = thing.path.partition("/")
        answer = ward.as_(login).get(way.format(thing.path, type=type, id=id))
        place = PLACES[login]
        is_seen = counted and place != "westvale"
        assert answer.is_success is (is_seen or "?" in way or "Organization" in way), way
        if not is_seen:
            continue
        who = (f"PractitionerRole/{login}", f"Organization/{place}")
        crosses = place != thing.creator
        for told in {place, thing.creator}:
            expected[told] += Counter([("accessed",), ("accessed", *who)])
            if crosses:
                expected[told] += Counter([("crossed",), ("crossed", *who)])

    after = {place: counts(ward, place, query) for place in before}

    for place, counted_before in before.items():
        assert +(after[place] - counted_before) == expected[place], place


def test_acts_are_counted_as_they_were_done(ward: Clinic) -> None:
    query = "measure=requested,acquired,reported,addended,acknowledged&by=organization"
    before = {place: counts(ward, place, query) for place in ("northmoor", "harbour")}
    ward.welcome()
    first, study, report = ward.reported()
    second, _, _ = ward.reported()
    ward.refer({}, {})
    ward.acknowledge(first)
    ward.images_arrive(second, images=7)
    stands = ward.get("reporter", f"DiagnosticReport/{report['id']}")
    ward.change("reporter", stands, status="corrected", conclusion="Left, not right.")
    reference = {"reference": f"DiagnosticReport/{report['id']}"}
    added: Json = {"url": codes.ADDENDUM_OF, "valueReference": reference}
    ward.report(first, study, extension=[added])

    after = {place: counts(ward, place, query) for place in before}

    done = {
        "northmoor": {"acquired": 2, "reported": 2, "addended": 1},
        "harbour": {"requested": 4, "acknowledged": 1},
    }
    for place, acts in done.items():
        both: dict[tuple[str, ...], int] = {(name,): n for name, n in acts.items()}
        both |= {(name, f"Organization/{place}"): n for name, n in acts.items()}
        assert dict(+(after[place] - before[place])) == both


def test_days_add_up_to_the_period_and_nothing_is_counted_outside_it(ward: Clinic) -> None:
    ward.welcome()
    things(ward)
    by_day = counts(ward, "northmoor", "by=period&period=day&start=2026-01-01")
    whole = counts(ward, "northmoor", "by=none&start=2026-01-01")

    for (measure,), total in whole.items():
        days = [n for key, n in by_day.items() if key[0] == measure and len(key) == 2]
        assert sum(days) == total, measure
    before = counts(ward, "northmoor", "by=none&start=2026-01-01&end=2026-01-31")
    assert set(before.values()) == {0}

"""The matcher: a change is told once to each who wants it and may know, numbered without a gap."""

import asyncio
import contextlib
import json
import multiprocessing
import random
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from fhir_server.store import changes
from fhir_server.store.changes import Cursor
from subscriptions.candidates import FOUND
from subscriptions.matcher import Matcher
from tests.subscriptions.wanting import (
    BASE,
    STEP,
    SYSTEM,
    TOPICS,
    housed,
    numbers,
    put,
    somebody,
    subscribed,
    subscription,
    told,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("Subscriptions R5 Backport 1.1.0 event numbers"),
]

FORKED = multiprocessing.get_context("fork")

Json = dict[str, Any]

BOUND = "user/Subscription.cruds patient/*.rs"
"""Scopes of an app that may subscribe, and sees one patient."""


def task(code: str = "acknowledge", status: str = "requested", **members: Any) -> Json:
    return {
        "resourceType": "Task",
        "status": status,
        "intent": "order",
        "code": {"coding": [{"system": STEP, "code": code}]},
        **members,
    }


def flag(patient: str = "p1", status: str = "active", **members: Any) -> Json:
    return {
        "resourceType": "Flag",
        "status": status,
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
        **members,
    }


async def test_a_change_that_meets_plain_criteria_is_an_event_and_no_other_is(
    database: Database,
) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    id = await subscribed(store, subscription("Flag?status=active"))
    one = await put(store, flag(), somebody())
    await put(store, flag(status="inactive"), somebody())
    await put(store, {**one.json, "status": "inactive"}, somebody())
    again = await put(store, {**one.json, "status": "active"}, somebody())

    assert await matcher.catch_up() == 2
    assert await told(database, id) == [f"Flag/{one.id}/1", f"Flag/{again.id}/3"]
    assert await numbers(database, id) == [1, 2]
    assert await matcher.catch_up() == 0


async def test_a_topic_fires_when_what_it_says_becomes_so(database: Database) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Organization", "id": "lead", "name": "L"}, somebody())
    own = {"owner": {"reference": "Organization/lead"}}
    id = await subscribed(
        store, subscription(f"{TOPICS}/step-scheduled", "Task?owner=Organization/lead")
    )
    one = await put(store, task("report", "requested", **own), somebody())
    ready = await put(store, {**one.json, "status": "ready"})
    await put(store, {**ready.json, "description": "more"})
    await put(store, task("report", "ready"), somebody())
    new = await put(store, task("acquire", "ready", **own), somebody())

    await matcher.catch_up()
    assert await told(database, id) == [f"Task/{one.id}/2", f"Task/{new.id}/1"]


async def test_a_filter_that_follows_a_reference_is_asked_of_the_database(
    database: Database,
) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    for id, family in (("p1", "Adams"), ("p2", "Brown")):
        name = [{"family": family}]
        await put(store, {"resourceType": "Patient", "id": id, "name": name}, somebody())
    id = await subscribed(store, subscription("Flag?patient.family=adams"))
    one = await put(store, flag("p1"), somebody())
    await put(store, flag("p2"), somebody())

    await matcher.catch_up()
    assert await told(database, id) == [f"Flag/{one.id}/1"]


async def test_all_filters_must_be_met_and_each_names_its_parameter_in_its_own_way(
    database: Database,
) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Organization", "id": "lead", "name": "L"}, somebody())
    topic = f"{TOPICS}/report-urgent"
    both = await subscribed(
        store, subscription(topic, "Task.owner=Organization/lead", "priority=stat,asap")
    )
    every = await subscribed(store, subscription(topic))
    own: Json = {"owner": {"reference": "Organization/lead"}}
    one = await put(store, task(priority="stat", **own), somebody())
    two = await put(store, task(priority="urgent", **own), somebody())
    three = await put(store, task(priority="stat"), somebody())

    await matcher.catch_up()
    assert await told(database, both) == [f"Task/{one.id}/1"]
    assert await told(database, every) == [f"Task/{each.id}/1" for each in (one, two, three)]


@pytest.mark.standard("threats T4")
async def test_what_the_subscriber_may_not_see_is_no_event(database: Database) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody("lead"))
    await put(store, {"resourceType": "Patient", "id": "p2"}, somebody("other"))
    criteria = subscription("Flag?status=active")
    lead = await subscribed(store, criteria, somebody("lead"))
    other = await subscribed(store, criteria, somebody("other"))
    bound = await subscribed(store, criteria, somebody("lead", "reporter", BOUND, patient="p1"))
    scoped = await subscribed(
        store,
        criteria,
        somebody("lead", scope="system/Subscription.cruds system/Flag.rs?status=inactive"),
    )
    one = await put(store, flag("p1"), somebody("lead"))
    two = await put(store, flag("p2"), somebody("other"))

    await matcher.catch_up()
    assert await told(database, lead) == [f"Flag/{one.id}/1"]
    assert await told(database, other) == [f"Flag/{two.id}/1"]
    assert await told(database, bound) == [f"Flag/{one.id}/1"]
    assert await told(database, scoped) == []


@pytest.mark.standard("threats T4")
async def test_what_was_withheld_before_it_was_matched_is_no_event(database: Database) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody("lead"))
    id = await subscribed(store, subscription("Flag?status=active"), somebody("lead"))
    await put(store, flag("p1"))
    await database.run("update relation set until = 0")
    await database.run("update current set organizations = array['other'] where type = 'Flag'")

    await matcher.catch_up()
    assert await told(database, id) == []


async def test_only_what_is_written_while_it_is_wanted_counts(database: Database) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    await put(store, flag(), somebody())
    made = await put(store, subscription("Flag?status=active"), somebody())
    await put(store, flag(), somebody())
    active = await put(store, {**made.json, "status": "active"})
    one = await put(store, flag(), somebody())
    await matcher.catch_up()
    assert await told(database, made.id) == [f"Flag/{one.id}/1"]

    error = await put(store, {**active.json, "status": "error", "error": "410"})
    two = await put(store, flag(), somebody())
    await matcher.catch_up()
    asked = await put(store, {**error.json, "status": "requested"}, somebody())
    three = await put(store, flag(), somebody())
    await matcher.catch_up()
    assert await told(database, made.id) == [f"Flag/{each.id}/1" for each in (one, two, three)]

    off = await put(store, {**asked.json, "status": "off"}, somebody())
    await put(store, flag(), somebody())
    again = await put(store, {**off.json, "status": "requested"}, somebody())
    await put(store, flag(), somebody())
    await put(store, {**again.json, "status": "active"})
    four = await put(store, flag(), somebody())
    await matcher.catch_up()
    assert (await told(database, made.id))[3:] == [f"Flag/{four.id}/1"]
    assert await numbers(database, made.id) == [1, 2, 3, 4]


async def test_a_subscription_that_was_deleted_and_made_anew_begins_at_one(
    database: Database,
) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    json = subscription("Flag?status=active") | {"id": "mine"}
    id = await subscribed(store, json)
    await put(store, flag(), somebody())
    await matcher.catch_up()
    async with store.begin(RequestContext(somebody(), "delete")) as work:
        await work.delete("Subscription", id)
    await put(store, flag(), somebody())
    assert await matcher.catch_up() == 0
    assert await numbers(database, id) == []

    await subscribed(store, json)
    await put(store, flag(), somebody())
    await matcher.catch_up()
    assert await numbers(database, id) == [1]


async def test_who_changes_a_subscription_is_who_is_told(database: Database) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    id = await subscribed(store, subscription("Flag?status=active"))
    stored = await store.read(RequestContext(SYSTEM, "read"), "Subscription", id)
    narrow = somebody(scope="system/Subscription.cruds system/Flag.rs?status=inactive")
    await put(store, {**stored.json, "reason": "mine now"}, narrow)
    await put(store, flag(), somebody())

    await matcher.catch_up()
    assert await told(database, id) == []


# --- exactly once, without a gap --------------------------------------------------------------


@pytest.mark.standard("threats F2")
async def test_numbers_have_no_gap_whoever_writes_and_whoever_matches(database: Database) -> None:
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    ids = [await subscribed(store, subscription("Flag?status=active")) for _ in range(3)]
    writers, each = 8, 20
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(each):
            await put(store, flag(), somebody())

    async def match() -> None:
        """One that comes, works for a while, is killed and comes again."""
        r = random.Random(6)
        while not done.is_set():
            task = asyncio.create_task(Matcher(database, BASE).catch_up())
            await asyncio.sleep(r.random() / 100)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    matching = [asyncio.create_task(match()) for _ in range(2)]
    await asyncio.gather(*(write() for _ in range(writers)))
    done.set()
    await asyncio.gather(*matching)
    await Matcher(database, BASE).catch_up()

    for id in ids:
        assert await numbers(database, id) == list(range(1, writers * each + 1))
        assert len(set(await told(database, id))) == writers * each
    ((least, most),) = await database.run("select min(events), max(events) from subscription")
    assert least == most == writers * each


@pytest.mark.standard("threats F2")
async def test_numbers_have_no_gap_when_the_process_is_killed(
    database: Database, database_url: str
) -> None:
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    ids = [await subscribed(store, subscription("Flag?status=active")) for _ in range(5)]
    kills, written, r = 8, 0, random.Random(6)
    for _ in range(kills):
        process = FORKED.Process(target=_match, args=(database_url,), daemon=True)
        process.start()
        until = time.monotonic() + 0.1 + r.random() / 10
        while time.monotonic() < until:
            await put(store, flag(), somebody())
            written += 1
        process.kill()
        process.join()
    left = await Matcher(database, BASE).catch_up()
    assert left < written * len(ids) / 2, "those who were killed have matched most of it"

    for id in ids:
        assert await numbers(database, id) == list(range(1, written + 1))
        assert len(set(await told(database, id))) == written


def _match(url: str) -> None:
    """Be a process that matches until it is killed."""

    async def run() -> None:
        database = Database(url, size=2)
        await database.open()
        await Matcher(database, BASE).run()

    asyncio.run(run())


@pytest.mark.standard("threats F2")
async def test_of_two_who_match_the_same_lines_one_writes_nothing(database: Database) -> None:
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    id = await subscribed(store, subscription("Flag?status=active"))
    await put(store, flag(), somebody())
    at = Cursor._make((await database.run("select log, xid, key from follower"))[0])
    lines = await changes.follow(database, at)

    one, two = Matcher(database, BASE), Matcher(database, BASE)
    assert await one.match(at, lines) == (lines[-1].cursor, 1)
    assert await two.match(at, lines) is None
    assert await numbers(database, id) == [1]


@pytest.mark.standard("threats F2")
async def test_events_and_the_place_in_the_log_are_written_together_or_not(
    database: Database,
) -> None:
    """The statement that writes events is refused half way: nothing of it is there."""
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    id = await subscribed(store, subscription("Flag?status=active"))
    await put(store, flag(), somebody())
    before = await database.run("select * from follower")
    await database.run(
        "alter table subscription_event add constraint never check (number < 1) not valid"
    )
    with pytest.raises(psycopg.Error):
        await matcher.catch_up()
    assert await database.run("select * from follower") == before
    assert await database.run("select events from subscription") == [(0,)]

    await database.run("alter table subscription_event drop constraint never")
    assert await matcher.catch_up() == 1
    assert await numbers(database, id) == [1]


async def test_what_fires_more_than_one_statement_writes_is_written_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subscriptions.matcher.MOST_EVENTS", 4)
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    ids = [await subscribed(store, subscription("Flag?status=active")) for _ in range(3)]
    for _ in range(7):
        await put(store, flag(), somebody())

    assert await Matcher(database, BASE).catch_up() == 21
    for id in ids:
        assert await numbers(database, id) == list(range(1, 8))


async def test_it_follows_by_itself_and_takes_over_from_one_that_ended(database: Database) -> None:
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    id = await subscribed(store, subscription("Flag?status=active"))
    first = asyncio.create_task(Matcher(database, BASE).run())
    await put(store, flag(), somebody())
    await _until(database, id, 1)
    second = asyncio.create_task(Matcher(database, BASE).run())
    first.cancel()
    await put(store, flag(), somebody())
    await _until(database, id, 2)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)

    assert await numbers(database, id) == [1, 2]


async def _until(database: Database, id: str, number: int) -> None:
    async with asyncio.timeout(10):
        while len(await numbers(database, id)) < number:
            await asyncio.sleep(0.01)


# --- what it costs ----------------------------------------------------------------------------


async def test_subscriptions_that_cannot_match_are_not_looked_at(database: Database) -> None:
    """However many there are, the statement that finds candidates reads the same rows."""
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    await subscribed(store, subscription("Flag?patient=Patient/p1"))
    terms = [f"Flag F.patient=Patient/{name}" for name in ("p1", "x")] + ["Flag", "Task T.status=a"]
    asked = (Texts(terms), 0)
    few = await _rows(database, asked)
    await database.run(
        "insert into subscription_term(term, subscription)"
        " select 'Flag F.patient=Patient/q' || n, 's' || n from generate_series(1, 10000) n"
    )
    await database.run("analyze subscription_term")
    many = await _rows(database, asked)

    assert few == many


async def _rows(database: Database, asked: tuple[Any, ...]) -> float:
    """Rows that the plan reads from the terms, whatever it does with them."""
    ((plan,),) = await database.run(f"explain (analyze, format json) {FOUND}", asked)
    nodes = list(_nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))
    read = [
        each["Actual Rows"] * each["Actual Loops"] + each.get("Rows Removed by Filter", 0)
        for each in nodes
        if each.get("Relation Name") == "subscription_term"
    ]
    assert read
    return float(sum(read))


def _nodes(plan: Json) -> Iterator[Json]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)

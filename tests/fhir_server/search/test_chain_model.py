"""Random chains over a random graph, seen by two organisations, against a model in plain Python.

The model follows references between the objects that it made up, and only through what the one who
asks may see. It knows nothing of terms and SQL.
"""

import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from fhir_server.access.gate import Reach
from fhir_server.postgres.database import Database
from fhir_server.search import compile, include
from tests.fhir_server.search.rows import delete, ids, put, search

pytestmark = pytest.mark.anyio

ORGANIZATIONS = ("a", "b")
STATUSES = {
    "Task": ["requested", "ready", "failed"],
    "ServiceRequest": ["active", "draft"],
    "ImagingStudy": ["available", "registered"],
}

EDGES = {
    ("Task", "part-of"): ("partOf", "Task"),
    ("Task", "based-on"): ("basedOn", "ServiceRequest"),
    ("Task", "focus"): ("focus", "ImagingStudy"),
    ("ServiceRequest", "based-on"): ("basedOn", "ServiceRequest"),
    ("ImagingStudy", "basedon"): ("basedOn", "ServiceRequest"),
}
"""FHIR R4: search parameter -> element, and the type that it leads to in this graph."""


@dataclass
class Thing:
    type: str
    id: str
    status: str
    seen_by: tuple[str, ...]
    deleted: bool
    edges: dict[str, list["Thing"]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        made: dict[str, Any] = {"resourceType": self.type, "id": self.id, "status": self.status}
        for code, others in self.edges.items():
            element, _ = EDGES[self.type, code]
            references = [{"reference": f"{each.type}/{each.id}"} for each in others]
            made[element] = references[0] if element == "focus" else references
        return {name: value for name, value in made.items() if value}


class Hop(NamedTuple):
    code: str
    type: str
    back: bool


def a_graph(rng: random.Random) -> list[Thing]:
    things = [
        Thing(
            type, f"{type.lower()}{n}", rng.choice(STATUSES[type]),
            tuple(each for each in ORGANIZATIONS if rng.random() < 0.7), rng.random() < 0.1,
        )
        for type in STATUSES
        for n in range(9)
    ]  # fmt: skip
    for thing in things:
        for (type, code), (element, target) in EDGES.items():
            if type == thing.type:
                others = [each for each in things if each.type == target and each is not thing]
                most = 1 if element == "focus" else 2
                chosen = rng.sample(others, rng.randint(0, most))
                if chosen:
                    thing.edges[code] = chosen
    return things


def a_chain(rng: random.Random, type: str) -> list[Hop]:
    chain: list[Hop] = []
    for _ in range(rng.randint(1, 4)):
        ways = [Hop(code, to, False) for (at, code), (_, to) in EDGES.items() if at == type]
        ways += [Hop(code, at, True) for (at, code), (_, to) in EDGES.items() if to == type]
        chain.append(rng.choice(ways))
        type = chain[-1].type
    return chain


def written(type: str, chain: list[Hop], status: str, *, typed: bool) -> str:
    """Write a chain; what a Task is based on or about may be anything, so it is always said."""
    parts = []
    for hop in chain:
        if hop.back:
            parts.append(f"_has:{hop.type}:{hop.code}:")
        else:
            is_open = type == "Task" and hop.code in ("focus", "based-on")
            parts.append(f"{hop.code}{f':{hop.type}' if typed or is_open else ''}.")
        type = hop.type
    return f"{''.join(parts)}status={status}"


def meets(thing: Thing, chain: list[Hop], status: str, who: str, things: list[Thing]) -> bool:
    """Say whether somebody at the end of a chain, all of it seen, has the status."""
    if not chain:
        return thing.status == status
    hop, rest = chain[0], chain[1:]
    if hop.back:
        ends = [
            each
            for each in things
            if each.type == hop.type and thing in each.edges.get(hop.code, ())
        ]
    else:
        ends = [each for each in thing.edges.get(hop.code, ()) if each.type == hop.type]
    return any(is_seen(each, who) and meets(each, rest, status, who, things) for each in ends)


def is_seen(thing: Thing, who: str) -> bool:
    return who in thing.seen_by and not thing.deleted


@pytest.mark.requirement("R014.1")
@pytest.mark.standard("FHIR R4 search, Chained Parameters")
@pytest.mark.parametrize("seed", range(6))
async def test_a_chain_finds_what_the_model_finds_and_tells_nothing_unseen(
    database: Database, seed: int
) -> None:
    rng = random.Random(seed)
    things = a_graph(rng)
    for thing in things:
        await put(database, thing.json(), organizations=thing.seen_by)
        if thing.deleted:
            await delete(database, thing.json())

    for _ in range(60):
        type = rng.choice(list(STATUSES))
        chain = a_chain(rng, type)
        status = rng.choice(STATUSES[chain[-1].type])
        who = rng.choice(ORGANIZATIONS)
        narrow = rng.choice(["", f"&status={rng.choice(STATUSES[type])}"])
        asked = written(type, chain, status, typed=rng.random() < 0.5) + narrow
        reach = Reach(False, who, None, False)

        page = await search(
            database, type, f"{asked}&_count=100", reach=reach,
            reaches=dict.fromkeys(STATUSES, reach),
        )  # fmt: skip

        expected = {
            each.id
            for each in things
            if each.type == type
            and is_seen(each, who)
            and meets(each, chain, status, who, things)
            and (not narrow or each.status == narrow.rpartition("=")[2])
        }
        assert set(ids(page)) == expected, (type, asked, who)
        assert page.total == len(expected)


@pytest.mark.standard("FHIR R4 search, Chained Parameters")
async def test_a_chain_through_a_type_that_may_not_be_seen_at_all_finds_nothing(
    database: Database,
) -> None:
    request = {"resourceType": "ServiceRequest", "id": "r", "status": "active"}
    task = {"resourceType": "Task", "id": "t", "status": "ready", "basedOn": [
        {"reference": "ServiceRequest/r"}]}  # fmt: skip
    await put(database, request, task, organizations=["a"])
    reach = Reach(False, "a", None, False)
    seen = {"ServiceRequest": reach, "Task": reach}
    asked = "based-on:ServiceRequest.status=active"
    back = "_has:Task:based-on:status=ready"

    assert ids(await search(database, "Task", asked, reach=reach, reaches=seen)) == ["t"]
    assert ids(await search(database, "ServiceRequest", back, reach=reach, reaches=seen)) == ["r"]
    hidden = {"ServiceRequest": None, "Task": None}
    assert ids(await search(database, "Task", asked, reach=reach, reaches=hidden)) == []
    assert ids(await search(database, "ServiceRequest", back, reach=reach, reaches=hidden)) == []


# --- pages, while others write -------------------------------------------------------------------


@pytest.mark.standard("FHIR http, paging")
@pytest.mark.parametrize(
    "sort",
    ["status,-authored-on", "-authored-on,code", "priority-rank,due", "_id", "-_lastUpdated",
     "-patient,status", "due,-priority-rank", "", "code,-_id"],
)  # fmt: skip
async def test_every_match_that_stays_is_seen_once_whatever_is_written_meanwhile(
    database: Database, sort: str
) -> None:
    rng = random.Random(sort)
    for n in range(30):
        await put(database, _a_task(rng, f"t{n}"))
    seen: list[str] = []
    touched: set[str] = set()
    cursor = ""
    while True:
        page = await search(database, "Task", f"_count=4&_sort={sort or '_lastUpdated'}{cursor}")
        seen += ids(page)
        if page.next is None:
            break
        changed = f"t{rng.randrange(30)}"
        touched.add(changed)
        if rng.random() < 0.5:
            await put(database, _a_task(rng, changed))
        else:
            await delete(database, _a_task(rng, changed))
        await put(database, _a_task(rng, f"new{len(seen)}"))
        cursor = f"&_cursor={page.next}"

    for n in range(30):
        if f"t{n}" not in touched:
            assert seen.count(f"t{n}") == 1, (sort, n)


def _a_task(rng: random.Random, id: str) -> dict[str, Any]:
    day = rng.choice([None, "2026-01-01", "2026-01-02T10:00:00Z"])
    code = rng.choice([None, "x", "y"])
    made = {
        "resourceType": "Task", "id": id, "status": rng.choice(STATUSES["Task"]),
        "priority": rng.choice([None, "stat", "asap", "urgent", "routine"]), "authoredOn": day,
        "code": code and {"coding": [{"code": code}]},
        "for": rng.choice([None, {"reference": "Patient/p1"}, {"reference": "Patient/p2"}]),
        "restriction": day and {"period": {"end": day}},
    }  # fmt: skip
    return {name: value for name, value in made.items() if value}


# --- more to include than one page may have ------------------------------------------------------


@pytest.mark.standard("FHIR R4 search, Including other resources in result")
async def test_a_page_tells_when_there_was_more_to_include(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        request = {"resourceType": "ServiceRequest", "id": f"r{n}", "status": "active"}
        based_on = [{"reference": f"ServiceRequest/r{n}"}]
        task = {"resourceType": "Task", "id": f"t{n}", "status": "ready", "basedOn": based_on}
        await put(database, request, task)
    asked = "_include=Task:based-on:ServiceRequest&_include:iterate=ServiceRequest:based-on"
    monkeypatch.setattr(include, "MOST", 3)
    compile.compiled.cache_clear()
    try:
        page = await search(database, "Task", asked)
        few = await search(database, "Task", f"{asked}&_count=3")
    finally:
        compile.compiled.cache_clear()

    assert (len(page.included), page.cut) == (3, True)
    assert (len(few.included), few.cut) == (3, False)

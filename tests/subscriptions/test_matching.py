"""Matching in memory says of every resource what the search says, or that it does not know."""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import EVERYTHING
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search import find
from fhir_server.search.query import Query, parse
from fhir_server.search.terms import index
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks
from resources import content
from resources.errors import Refusal
from subscriptions import matching
from subscriptions.matching import State

Json = dict[str, Any]
Pairs = list[tuple[str, str]]

BASE = "https://fhir.example/fhir"
SYSTEM = Principal("System/test", None, "system", EVERYTHING)
INSTANT = 1_795_000_000_000_000

pytestmark = pytest.mark.standard("FHIR R4 search")

DATES = ("2026", "2026-11", "2026-11-24", "2026-11-24T10:30:00Z", "2025-02-03")
NAMES = ("Müller", "mulls", "O'Neill", "Ann Mary", "50%", "a_b", "an")
CODES = ("a", "b", "A", "1.2.840.10008.1")
SYSTEMS = ("urn:one", "urn:two", "")
URLS = ("http://a.example/b/c", "http://a.example/b", "http://a.example/", "http://a.example/b|2")
UNITS = ("mg", "g")
PREFIXES = ("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")


def coding(r: random.Random) -> Json:
    system = r.choice(SYSTEMS)
    return {"code": r.choice(CODES), **({"system": system} if system else {})}


def maybe(r: random.Random, **members: Callable[[], Any]) -> Json:
    return {name: make() for name, make in members.items() if r.random() < 0.7}


def task(r: random.Random) -> Json:
    return {
        "status": r.choice(("ready", "requested")),
        "intent": "order",
        **maybe(
            r,
            priority=lambda: r.choice(("stat", "urgent", "routine")),
            code=lambda: {"coding": [coding(r)], "text": r.choice(NAMES)},
            identifier=lambda: [
                {"system": r.choice(SYSTEMS[:2]), "value": r.choice(CODES),
                 "type": {"coding": [coding(r) | {"system": "urn:one"}]}}
            ],
            owner=lambda: {"reference": r.choice(("Organization/a", f"{BASE}/Organization/b"))},
            authoredOn=lambda: r.choice(DATES),
            executionPeriod=lambda: maybe(
                r, start=lambda: DATES[4], end=lambda: r.choice(DATES)
            ) or {"start": DATES[0]},
        ),
    }  # fmt: skip


def patient(r: random.Random) -> Json:
    return maybe(
        r,
        name=lambda: [{"family": r.choice(NAMES), "given": [r.choice(NAMES), r.choice(NAMES)]}],
        birthDate=lambda: r.choice(DATES[:3]),
        active=lambda: r.choice((True, False)),
        telecom=lambda: [{"system": "phone", "value": r.choice(CODES), "use": "home"}],
        generalPractitioner=lambda: [{"identifier": {"system": "urn:one", "value": "a"}}],
    )


def observation(r: random.Random) -> Json:
    return {
        "status": "final",
        "code": {"coding": [coding(r)]},
        **maybe(
            r,
            valueQuantity=lambda: {
                "value": r.choice((1, 1.04, 1.1, 2, 100)),
                "unit": r.choice(UNITS),
                "code": r.choice(UNITS),
                "system": "urn:units",
            },
            effectiveDateTime=lambda: r.choice(DATES),
        ),
    }


def risk(r: random.Random) -> Json:
    return {
        "status": "final",
        "subject": {"reference": "Patient/x"},
        "prediction": [{"probabilityDecimal": r.choice((0.1, 0.12, 0.5))} for _ in range(2)],
    }


def value_set(r: random.Random) -> Json:
    return {"status": "active", **maybe(r, url=lambda: r.choice(URLS[:3]))}


MAKES: dict[str, Callable[[random.Random], Json]] = {
    "Task": task,
    "Patient": patient,
    "Observation": observation,
    "RiskAssessment": risk,
    "ValueSet": value_set,
}

TOKENS = [
    *CODES,
    *(f"{system}|{code}" for system in SYSTEMS for code in CODES),
    "urn:one|",
    "urn:oid:1.2.840.10008.1",
    "a,b",
    "true",
    "ready",
    "stat,urgent",
]
REFERENCES = ["Organization/a", f"{BASE}/Organization/a", "Organization/b,Organization/c", "a"]
WHEN = [f"{prefix}{date}" for prefix in PREFIXES for date in DATES]
HOW_MUCH = [f"{prefix}{n}" for prefix in PREFIXES for n in ("1", "1.0", "1.1", "0.1", "100", "4")]
WITH_UNITS = [f"{n}{unit}" for n in HOW_MUCH for unit in ("", "||mg", "|urn:units|g")]
TEXTS = [*NAMES, "mu", "MULL", "ann m", "%", "_"]
PRESENT = ["true", "false"]

ASKED: dict[str, dict[str, list[str]]] = {
    "Task": {
        "status": TOKENS, "status:not": TOKENS, "priority": TOKENS, "code": TOKENS,
        "code:not": TOKENS, "code:text": TEXTS, "code:missing": PRESENT, "identifier": TOKENS,
        "identifier:of-type": ["urn:one|a|a", "urn:one|b|b", "urn:two|a|a"],
        "owner": REFERENCES, "owner:missing": PRESENT, "owner:Organization": ["a", "b"],
        "authored-on": WHEN, "authored-on:missing": PRESENT, "period": WHEN,
        "period:missing": PRESENT, "priority-rank": HOW_MUCH, "_id": ["Task-1,Task-2", "none"],
        "_lastUpdated": WHEN, "modified": WHEN,
    },
    "Patient": {
        "family": TEXTS, "name": TEXTS, "given:exact": TEXTS, "name:contains": TEXTS,
        "name:missing": PRESENT, "birthdate": WHEN, "active": TOKENS, "telecom": TOKENS,
        "general-practitioner:identifier": TOKENS, "general-practitioner:missing": PRESENT,
        "address": TEXTS,
    },
    "Observation": {
        "value-quantity": WITH_UNITS, "value-quantity:missing": PRESENT, "date": WHEN,
        "date:missing": PRESENT, "code": TOKENS,
    },
    "RiskAssessment": {"probability": HOW_MUCH, "probability:missing": PRESENT},
    "ValueSet": {
        "url": [*URLS], "url:below": [*URLS], "url:above": [*URLS], "url:missing": PRESENT,
    },
}  # fmt: skip

EACH = 20


def resources() -> Iterator[Json]:
    r = random.Random(6)
    for type, make in MAKES.items():
        for n in range(EACH):
            yield {"resourceType": type, "id": f"{type}-{n}", **make(r)}


class World:
    """Resources in a database, and the same in memory."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._database = Database(url, size=2)
        self.states: dict[str, list[State]] = {}
        self._runner.run(self._fill())

    def close(self) -> None:
        self._runner.run(self._database.close())
        self._runner.close()

    def found(self, query: Query) -> set[str]:
        """What the database finds."""
        return set(self._runner.run(self._found(query)))

    def matched(self, query: Query) -> dict[str, bool | None]:
        """What memory says of each."""
        return {
            state.id: matching.meets(query, state, INSTANT) for state in self.states[query.type]
        }

    async def _fill(self) -> None:
        await self._database.open()
        store = Store(self._database, Ledger(self._database), Hooks(), BASE, "base")
        async with store.begin(RequestContext(SYSTEM, "transaction")) as work:
            written = [await work.create(content.made(one), one["id"]) for one in resources()]
        for one in written:
            terms = index(one.json, BASE)
            state = matching.state(one.type, one.id, one.instant, terms)
            self.states.setdefault(one.type, []).append(state)

    async def _found(self, query: Query) -> list[str]:
        context = RequestContext(SYSTEM, "search-type", instant=INSTANT)
        return await find.find_ids(self._database, find.narrow(query, context), context)


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    world = World(database_url)
    yield world
    world.close()


def read(type: str, pairs: Pairs) -> Query | None:
    try:
        return parse(type, [*pairs, ("_count", "1000")], strict=True, own_base=BASE)
    except Refusal:
        return None


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, Pairs]:
    type = draw(st.sampled_from(sorted(ASKED)))
    names = draw(st.lists(st.sampled_from(sorted(ASKED[type])), min_size=1, max_size=3))
    return type, [(name, draw(st.sampled_from(ASKED[type][name]))) for name in names]


def test_memory_agrees_with_the_database(world: World) -> None:
    seen = {True: 0, False: 0}

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(queries())
    def agree(asked: tuple[str, Pairs]) -> None:
        query = read(*asked)
        if query is None:
            return
        matched = world.matched(query)
        assert None not in matched.values(), asked
        assert {id for id, met in matched.items() if met} == world.found(query), asked
        for met in matched.values():
            seen[bool(met)] += 1

    agree()
    assert min(seen.values()) > 100


def test_every_kind_of_question_is_answered_as_the_database_does(world: World) -> None:
    for type, asked in ASKED.items():
        for name, values in asked.items():
            for value in random.Random(name).sample(values, min(len(values), 6)):
                query = read(type, [(name, value)])
                if query is not None:
                    met = {id for id, met in world.matched(query).items() if met}
                    assert met == world.found(query), (type, name, value)


@pytest.mark.parametrize(
    ("type", "pair"),
    [
        ("Task", ("owner:Organization.name", "a")),
        ("Task", ("_has:Provenance:target:agent", "Organization/a")),
        ("Observation", ("code-value-quantity", "a$gt1")),
        ("Location", ("near", "51|0|1|km")),
    ],
)
def test_what_a_resource_does_not_know_of_itself_is_not_known(
    type: str, pair: tuple[str, str]
) -> None:
    query = parse(type, [pair], strict=True, own_base=BASE)
    state = matching.state(type, "1", 0, index({"resourceType": type, "id": "1"}, BASE))

    assert matching.meets(query, state, INSTANT) is None


def test_one_criterion_that_is_not_met_is_enough() -> None:
    pairs = [("owner:Organization.name", "a"), ("status", "ready")]
    query = parse("Task", pairs, strict=True, own_base=BASE)
    state = matching.state("Task", "1", 0, index({"resourceType": "Task", "status": "draft"}, ""))

    assert matching.meets(query, state, INSTANT) is False


def test_a_term_by_which_a_subscription_is_found_is_one_that_it_needs(world: World) -> None:
    """Whatever meets a criterion has one of its terms: nothing that matches goes unfound."""
    for type, asked in ASKED.items():
        for name, value in itertools.islice(
            ((name, value) for name, values in asked.items() for value in values[:8]), 200
        ):
            query = read(type, [(name, value)])
            if query is None or (terms := matching.sought(query.criteria[0], type)) is None:
                continue
            for state in world.states[type]:
                if matching.meets(query, state, INSTANT):
                    assert not state.words.isdisjoint(terms)

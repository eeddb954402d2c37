"""Random searches on random resources against a model in plain Python, written from the standard.

The model knows nothing of terms, SQL or the parsing of queries: it holds what it made up, and says
which of it FHIR search would find, and in which order.
"""

import random
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key, partial
from itertools import pairwise
from typing import Any

import pytest

from fhir_server.postgres.database import Database
from tests.fhir_server.search.rows import pages, put, search

pytestmark = pytest.mark.anyio

SYSTEMS = ["http://a", "http://b", None]
CODES = ["x", "y", "Y", "z,1"]
STATUSES = ["active", "draft", "revoked"]
NAMES = ["Smith", "Smithers", "SMÎTH", "Jones", "Ó Néill", "Khan"]
DAYS = [
    "2025",
    "2026",
    "2026-01",
    "2026-01-02",
    "2026-01-02T10:00:00Z",
    "2026-01-03T00:00:00+02:00",
]
FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass
class Person:
    id: str
    family: str
    born: str

    def json(self) -> dict[str, Any]:
        return {"resourceType": "Patient", "id": self.id, "birthDate": self.born,
                "name": [{"family": self.family}]}  # fmt: skip


@dataclass
class Request:
    id: str
    status: str
    code: tuple[str | None, str] | None
    person: Person | None
    authored: str | None
    start: str | None
    end: str | None
    based_on: list[str]

    def json(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "resourceType": "ServiceRequest", "id": self.id, "status": self.status
        }  # fmt: skip
        if self.code:
            system, code = self.code
            made["code"] = {"coding": [{"code": code, **({"system": system} if system else {})}]}
        if self.person:
            made["subject"] = {"reference": f"Patient/{self.person.id}"}
        if self.authored:
            made["authoredOn"] = self.authored
        if self.start or self.end:
            ends = {"start": self.start, "end": self.end}
            made["occurrencePeriod"] = {name: day for name, day in ends.items() if day}
        if self.based_on:
            made["basedOn"] = [{"reference": f"CarePlan/{id}"} for id in self.based_on]
        return made


# --- what the standard says ----------------------------------------------------------------------


def span(day: str) -> tuple[datetime, datetime]:
    """From the first moment of a date to the first moment after it."""
    if "T" in day:
        start = datetime.fromisoformat(day)
        return start, start + timedelta(seconds=1)
    year, month, dom = (int(part) for part in (day + "-0-0").split("-")[:3])
    start = datetime(year, month or 1, dom or 1, tzinfo=UTC)
    if dom:
        return start, start + timedelta(days=1)
    if month:
        return start, start + timedelta(days=monthrange(year, month)[1])
    return start, datetime(year + 1, 1, 1, tzinfo=UTC)


def dated(held: tuple[datetime, datetime] | None, asked: str) -> bool:
    if held is None:
        return False
    prefix, day = (asked[:2], asked[2:]) if asked[0].isalpha() else ("eq", asked)
    (start, end), (low, high) = held, span(day)
    within = low <= start and end <= high
    return {
        "eq": within,
        "ne": not within,
        "gt": end > high,
        "lt": start < low,
        "ge": end > high or within,
        "le": start < low or within,
        "sa": start >= high,
        "eb": end <= low,
    }[prefix]


def authored(request: Request) -> tuple[datetime, datetime] | None:
    return span(request.authored) if request.authored else None


def occurring(request: Request) -> tuple[datetime, datetime] | None:
    if not request.start and not request.end:
        return None
    start = span(request.start)[0] if request.start else FIRST
    return start, span(request.end)[1] if request.end else LAST


def coded(request: Request, asked: tuple[str | None, str | None]) -> bool:
    """`asked` is (system or None for any or "" for none, code or None for any)."""
    if request.code is None:
        return False
    system, code = request.code
    return (asked[0] is None or (system or "") == asked[0]) and asked[1] in (None, code)


def named(person: Person | None, asked: str) -> bool:
    return person is not None and unaccented(person.family).startswith(unaccented(asked))


def unaccented(text: str) -> str:
    plain = {"Î": "I", "Ï": "I", "Ó": "O", "é": "e", "î": "i", "ó": "o"}
    return "".join(plain.get(each, each) for each in text).lower()


# --- what is asked -------------------------------------------------------------------------------


def a_criterion(rng: random.Random, people: list[Person]) -> tuple[str, Any]:
    """A criterion as a client writes it, and the test it stands for."""
    kind = rng.randrange(9)
    if kind == 0:
        wanted = rng.sample(STATUSES, rng.randint(1, 2))
        return f"status={','.join(wanted)}", lambda each: each.status in wanted
    if kind == 1:
        unwanted = rng.choice(STATUSES)
        return f"status:not={unwanted}", lambda each: each.status != unwanted
    if kind == 2:
        pairs = [
            (rng.choice([None, "", "http://a", "http://b"]), rng.choice(CODES))
            for _ in range(rng.randint(1, 3))
        ]
        if rng.random() < 0.3:
            pairs[0] = (rng.choice(["http://a", "http://b"]), None)  # type: ignore[assignment]
        written = [
            ("" if system is None else f"{system}|") + (code or "").replace(",", "\\,")
            for system, code in pairs
        ]
        return f"code={','.join(written)}", lambda each: any(coded(each, pair) for pair in pairs)
    if kind == 3:
        chosen = rng.sample(people, rng.randint(1, 2))
        form = rng.choice(["patient=%s", "subject:Patient=%s", "subject=Patient/%s"])
        name, _, value = form.partition("=")
        text = f"{name}={','.join(value % person.id for person in chosen)}"
        return text, lambda each: each.person in chosen
    if kind == 4:
        dates = [
            rng.choice(["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]) + rng.choice(DAYS)
            for _ in range(rng.randint(1, 2))
        ]
        of = rng.choice([("authored", authored), ("occurrence", occurring)])
        return (
            f"{of[0]}={','.join(dates)}",
            lambda each: any(dated(of[1](each), date) for date in dates),
        )
    if kind == 5:
        family = rng.choice(["smi", "Smith", "SMÏ", "o n", "jones", "x"])
        return f"subject:Patient.family={family}", lambda each: named(each.person, family)
    if kind == 6:
        plan = rng.choice(["c1", "c2", "c3"])
        return f"based-on=CarePlan/{plan}", lambda each: plan in each.based_on
    if kind == 7:
        day = rng.choice(["", "gt", "le"]) + rng.choice(["1970", "1980-05"])
        return (
            f"patient.birthdate={day}",
            lambda each: each.person is not None and dated(span(each.person.born), day),
        )
    absent = rng.random() < 0.5
    of_what = rng.choice(["subject", "authored", "occurrence", "code"])
    return (
        f"{of_what}:missing={str(absent).lower()}",
        lambda each: (
            absent
            is {
                "subject": each.person is None,
                "authored": each.authored is None,
                "occurrence": occurring(each) is None,
                "code": each.code is None,
            }[of_what]
        ),
    )


def a_sort(rng: random.Random) -> tuple[str, list[tuple[bool, Any]]]:
    """An order as a client writes it, and its keys with their direction."""
    known = {
        "authored": lambda each: span(each.authored)[0] if each.authored else None,
        "occurrence": lambda each: occurring(each)[0] if occurring(each) else None,  # type: ignore[index]
        "status": lambda each: each.status,
        "code": lambda each: each.code[1] if each.code else None,
        "_id": lambda each: each.id,
    }
    chosen = rng.sample(sorted(known), rng.randint(1, 3))
    keys = [(rng.random() < 0.5, name) for name in chosen]
    text = ",".join(("-" if descending else "") + name for descending, name in keys)
    return f"_sort={text}", [(descending, known[name]) for descending, name in keys]


def compared(keys: list[tuple[bool, Any]], one: Request, other: Request) -> int:
    for descending, value in keys:
        a, b = value(one), value(other)
        if a == b:
            continue
        if a is None or b is None:
            return 1 if a is None else -1
        return (-1 if a < b else 1) * (-1 if descending else 1)
    return 0


def people_and_requests(rng: random.Random) -> tuple[list[Person], list[Request]]:
    people = [
        Person(f"p{n}", name, rng.choice(["1970-01-01", "1980-05", "1990"]))
        for n, name in enumerate(NAMES)
    ]

    def maybe(values: list[Any]) -> Any:
        return rng.choice([*values, None])

    requests = []
    for n in range(40):
        start, end = sorted([rng.choice(DAYS), rng.choice(DAYS)], key=lambda day: span(day)[0])
        code = maybe([(rng.choice(SYSTEMS), rng.choice(CODES))] * 3)
        plans = rng.sample(["c1", "c2", "c3"], rng.randint(0, 2))
        requests.append(
            Request(
                f"r{n}", rng.choice(STATUSES), code, maybe(people), maybe(DAYS),
                maybe([start]), maybe([end]), plans,
            )
        )  # fmt: skip
    return people, requests


@pytest.mark.standard("FHIR search")
@pytest.mark.parametrize("seed", range(2))
async def test_a_random_search_finds_what_the_model_finds(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    people, requests = people_and_requests(rng)
    await put(database, *(person.json() for person in people))
    await put(database, *(request.json() for request in requests))

    for _ in range(100):
        asked = [a_criterion(rng, people) for _ in range(rng.randint(1, 3))]
        order, keys = a_sort(rng)
        text = "&".join([*(written for written, _ in asked), order, "_count=1000"])
        expected = [each for each in requests if all(test(each) for _, test in asked)]

        page = await search(database, "ServiceRequest", text)

        found = [next(each for each in requests if each.id == one.id) for one in page.matches]
        assert {each.id for each in found} == {each.id for each in expected}, text
        assert page.total == len(expected), text
        for one, other in pairwise(found):
            assert compared(keys, one, other) <= 0, text
        if len(expected) > 3 and rng.random() < 0.2:
            small = text.replace("_count=1000", f"_count={rng.randint(1, 7)}")
            in_pages = [
                id for page in await pages(database, "ServiceRequest", small) for id in page
            ]
            assert in_pages == [each.id for each in found], small


def test_the_model_orders_as_it_says() -> None:
    nobody = Request("a", "draft", None, None, None, None, None, [])
    dated = Request("b", "draft", None, None, "2026", None, None, [])

    by_date = a_sort_of("authored")
    in_order: Callable[[Request, Request], int] = partial(compared, by_date)
    ordered = sorted([nobody, dated], key=cmp_to_key(in_order))

    assert ordered == [dated, nobody]


def a_sort_of(name: str) -> list[tuple[bool, Any]]:
    for seed in range(100):
        text, keys = a_sort(random.Random(seed))
        if text == f"_sort={name}":
            return keys
    raise AssertionError(name)

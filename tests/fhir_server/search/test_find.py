"""Pages, includes, reach and audit of a search, on the real database."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.access.gate import Reach
from fhir_server.audit import ledger
from fhir_server.postgres.database import Database
from fhir_server.search import find, query
from resources.errors import Invalid
from tests.fhir_server.search.rows import (
    CONTEXT,
    EVERYTHING,
    delete,
    ids,
    pages,
    put,
    relate,
    search,
)

pytestmark = pytest.mark.anyio

FOREVER = 2**63 - 1
PAST = 1


def a_patient(id: str, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, **members}


def a_request(id: str, patient: str = "p1", **members: Any) -> dict[str, Any]:
    subject = {"reference": f"Patient/{patient}"}
    request = {"resourceType": "ServiceRequest", "id": id, "status": "active", "subject": subject}
    return {**request, **members}


def of(organization: str | None, *, patient: str | None = None, open: bool = False) -> Reach:
    return Reach(False, organization, patient, open)


# --- pages -------------------------------------------------------------------------------------


@pytest.mark.standard("FHIR search paging")
@pytest.mark.parametrize("sort", ["", "&_sort=authored", "&_sort=-authored", "&_sort=status,-_id"])
@pytest.mark.parametrize("of_patient", ["", "patient=p1&"])
async def test_every_match_is_on_exactly_one_page(
    database: Database, sort: str, of_patient: str
) -> None:
    await put(
        database,
        *(a_request(f"r{n}", authoredOn=f"2026-01-0{n % 4 + 1}") for n in range(8)),
        a_request("undated1"),
        a_request("undated2", status="draft"),
    )

    found = await pages(database, "ServiceRequest", f"{of_patient}_count=3{sort}")

    assert [len(page) for page in found] == [3, 3, 3, 1]
    assert sorted(itertools.chain(*found)) == sorted(
        [*(f"r{n}" for n in range(8)), "undated1", "undated2"]
    )


@pytest.mark.standard("FHIR search paging")
@pytest.mark.parametrize("text", ["", "status=active", "patient=p1", "_sort=-authored"])
async def test_what_is_added_between_two_pages_moves_nothing(database: Database, text: str) -> None:
    there = [f"r{n}" for n in range(7)]
    await put(database, *(a_request(id, authoredOn=f"2026-01-0{id[1:]}") for id in there[1:]))
    await put(database, a_request("r0"))
    page = await search(database, "ServiceRequest", f"{text}&_count=2")
    seen = ids(page)

    for turn in range(20):
        if turn < 5:
            dated = a_request(f"new{turn}", authoredOn=f"2026-01-0{turn + 1}")
            await put(database, dated, a_request(f"newer{turn}"))
        if page.next is not None:
            page = await search(database, "ServiceRequest", f"{text}&_count=2&_cursor={page.next}")
            seen += ids(page)

    assert page.next is None
    assert [seen.count(id) for id in there] == [1] * 7


async def test_a_row_seen_is_not_seen_again_and_none_is_skipped_when_one_goes(
    database: Database,
) -> None:
    await put(database, *(a_request(f"r{n}") for n in range(6)))
    first = await search(database, "ServiceRequest", "_count=2")

    await delete(database, a_request("r1"))
    rest = await search(database, "ServiceRequest", f"_count=10&_cursor={first.next}")

    assert ids(first) + ids(rest) == ["r0", "r1", "r2", "r3", "r4", "r5"]
    assert rest.next is None


async def test_the_last_page_has_no_next(database: Database) -> None:
    await put(database, a_request("r1"), a_request("r2"))

    page = await search(database, "ServiceRequest", "_count=2")

    assert page.next is None


async def test_a_cursor_of_another_order_is_refused(database: Database) -> None:
    await put(database, a_request("r1"), a_request("r2"))
    page = await search(database, "ServiceRequest", "_count=1")

    with pytest.raises(Invalid):
        await search(database, "ServiceRequest", f"_sort=status,_id&_cursor={page.next}")


async def test_no_matches_are_a_page_too(database: Database) -> None:
    page = await search(database, "ServiceRequest", "status=active")

    assert page == ([], [], 0, None, False)


@pytest.mark.standard("FHIR search total")
@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("status=active&_count=1", 2),
        ("_count=1", None),
        ("_count=1&_total=accurate", 3),
        ("_count=1&_total=estimate", 3),
        ("status=active&_total=none", None),
        ("_count=0&_total=accurate", 3),
        ("status=active&_summary=count", 2),
        ("_summary=count", 3),
        ("_count=0", 3),
    ],
)
async def test_the_total_counts_all_pages(database: Database, text: str, total: int | None) -> None:
    await put(database, a_request("r1"), a_request("r2"), a_request("r3", status="draft"))

    page = await search(database, "ServiceRequest", text)

    assert page.total == total


async def test_what_is_deleted_is_neither_found_nor_counted_nor_included(
    database: Database,
) -> None:
    await put(database, a_patient("p1"), a_request("r1"), a_request("r2"))
    await delete(database, a_request("r2"))
    await delete(database, a_patient("p1"))

    page = await search(database, "ServiceRequest", "status=active&_include=ServiceRequest:subject")

    assert (ids(page), page.included, page.total) == (["r1"], [], 1)


async def test_a_body_is_the_bytes_that_were_stored(database: Database) -> None:
    await put(database, a_request("r1"))

    page = await search(database, "ServiceRequest", "_id=r1")

    assert page.matches[0].text == (
        b'{"resourceType":"ServiceRequest","id":"r1","status":"active",'
        b'"subject":{"reference":"Patient/p1"}}'
    )
    assert page.matches[0][:3] == ("ServiceRequest", "r1", 1)


async def test_ids_alone_come_in_the_same_order(database: Database) -> None:
    await put(database, a_request("r1"), a_request("r2"), a_request("r3"))
    asked = query.parse("ServiceRequest", [("_sort", "-_id"), ("_count", "2")])
    narrowed = replace(asked, reach=EVERYTHING)

    assert await find.find_ids(database, narrowed, CONTEXT) == ["r3", "r2"]


async def test_a_query_that_was_not_narrowed_is_not_answered(database: Database) -> None:
    with pytest.raises(TypeError):
        await find.find(database, query.parse("Task", []), CONTEXT)


# --- includes ----------------------------------------------------------------------------------


async def referring(database: Database) -> None:
    await put(
        database,
        a_patient("p1"),
        a_patient("p2"),
        a_request("r1", requester={"reference": "PractitionerRole/x"}),
        a_request("r2", basedOn=[{"reference": "ServiceRequest/r1/_history/1"}]),
        a_request("r3", "p2", basedOn=[{"reference": "https://other.example/ServiceRequest/r1"}]),
        {"resourceType": "PractitionerRole", "id": "x"},
        {"resourceType": "Provenance", "id": "v1", "target": [{"reference": "ServiceRequest/r1"}]},
        {"resourceType": "Task", "id": "t1", "focus": {"reference": "ServiceRequest/r1"}},
    )


def included(page: find.Page) -> list[str]:
    return sorted(stored.reference for stored in page.included)


@pytest.mark.standard("FHIR search include")
@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("_id=r1&_include=ServiceRequest:subject", ["Patient/p1"]),
        ("_id=r1&_include=ServiceRequest:subject:Patient", ["Patient/p1"]),
        ("_id=r1&_include=ServiceRequest:subject:Group", []),
        (
            "_id=r1&_include=ServiceRequest:subject&_include=ServiceRequest:requester",
            ["Patient/p1", "PractitionerRole/x"],
        ),
        ("_id=r2&_include=ServiceRequest:based-on", ["ServiceRequest/r1"]),
        ("_id=r1,r2&_include=ServiceRequest:based-on", []),
        ("_id=r3&_include=ServiceRequest:based-on", []),
        ("_id=r1&_revinclude=Provenance:target", ["Provenance/v1"]),
        (
            "_id=r1&_revinclude=Provenance:target&_revinclude=Task:focus"
            "&_revinclude=ServiceRequest:based-on",
            ["Provenance/v1", "ServiceRequest/r2", "Task/t1"],
        ),
        ("_id=r3&_revinclude=Provenance:target", []),
        ("_count=1&_include=ServiceRequest:subject", ["Patient/p1"]),
        ("_count=0&_include=ServiceRequest:subject", []),
    ],
)
async def test_what_matches_refer_to_is_included(
    database: Database, text: str, references: list[str]
) -> None:
    await referring(database)

    assert included(await search(database, "ServiceRequest", text)) == references


@pytest.mark.standard("FHIR search include")
async def test_an_include_is_there_once_however_often_it_is_referred_to(database: Database) -> None:
    await referring(database)

    page = await search(database, "ServiceRequest", "_include=ServiceRequest:subject")

    assert included(page) == ["Patient/p1", "Patient/p2"]
    assert page.total is None


# --- reach -------------------------------------------------------------------------------------


@pytest.mark.requirement("R014.1")
@pytest.mark.parametrize(
    ("reach", "found"),
    [
        (EVERYTHING, ["mine", "theirs", "related", "ended"]),
        (of("us"), ["mine", "related"]),
        (of("them"), ["theirs"]),
        (of("nobody"), []),
        (of(None), []),
        (of("us", patient="p1"), ["mine"]),
        (of("us", patient="p2"), []),
        (of("us", patient="p3"), ["related"]),
        (Reach(True, None, "p2", False), ["theirs"]),
        (Reach(False, "us", None, False, ((("code", "ct"),),)), ["mine"]),
        (Reach(False, "us", None, False, ((("code", "mr"),), (("status", "draft"),))), ["related"]),
        (Reach(False, "us", None, False, ((("code", "ct"), ("status", "draft")),)), []),
        (Reach(False, "us", None, False, ((("authored", "2026"),),)), []),
    ],
)
async def test_a_search_sees_as_far_as_the_gate_says(
    database: Database, reach: Reach, found: list[str]
) -> None:
    ct = {"coding": [{"code": "ct"}]}
    await put(database, a_request("mine", "p1", code=ct), organizations=["us"])
    await put(database, a_request("theirs", "p2"), organizations=["them"])
    await put(database, a_request("related", "p3", status="draft"), a_request("ended", "p4"))
    await relate(database, "us", "p3", FOREVER)
    await relate(database, "us", "p4", PAST)

    for text in ("", "status:not=revoked", "_sort=_id&_total=accurate"):
        page = await search(database, "ServiceRequest", text, reach=reach)

        assert sorted(ids(page)) == sorted(found)
        assert page.total in (None, len(found))


@pytest.mark.parametrize(("patient", "total"), [("p1", 1), ("p2", 0), ("p3", 1), ("p4", 0)])
async def test_a_search_for_one_patient_sees_no_further(
    database: Database, patient: str, total: int
) -> None:
    await put(database, a_request("mine", "p1"), organizations=["us"])
    await put(database, a_request("theirs", "p2"), organizations=["them"])
    await put(database, a_request("related", "p3"), a_request("ended", "p4"))
    await relate(database, "us", "p3", FOREVER)
    await relate(database, "us", "p4", PAST)

    page = await search(database, "ServiceRequest", f"patient={patient}", reach=of("us"))

    assert (len(page.matches), page.total) == (total, total)


async def test_open_types_are_seen_where_they_are_about_nobody(database: Database) -> None:
    device = {"resourceType": "Device", "id": "scanner"}
    await put(database, device, {**device, "id": "worn", "patient": {"reference": "Patient/p1"}})

    assert ids(await search(database, "Device", "", reach=of("us", open=True))) == ["scanner"]
    bound = of("us", patient="p2", open=True)
    assert ids(await search(database, "Device", "", reach=bound)) == ["scanner"]


@pytest.mark.standard("threats T1")
async def test_an_include_passes_the_reach_of_its_own_type(database: Database) -> None:
    await referring(database)
    await put(database, a_request("r1"), a_patient("p1"), organizations=["us"])
    text = (
        "_id=r1&_include=ServiceRequest:subject&_include=ServiceRequest:requester"
        "&_revinclude=Task:focus&_revinclude=Provenance:target"
    )
    reaches = {
        "Patient": of("us"),
        "PractitionerRole": None,
        "Task": of("us"),
        "Provenance": of("us", open=True),
    }

    page = await search(database, "ServiceRequest", text, reach=of("us"), reaches=reaches)

    assert included(page) == ["Patient/p1", "Provenance/v1"]


@pytest.mark.requirement("R014.1")
@pytest.mark.parametrize(
    ("seen", "found"), [(EVERYTHING, ["r1"]), (of("us"), []), (of("them"), ["r1"]), (None, [])]
)
@pytest.mark.parametrize("text", ["patient.identifier=v", "status=active&patient.gender=female"])
async def test_a_chain_leads_only_through_what_may_be_seen(
    database: Database, seen: Reach | None, found: list[str], text: str
) -> None:
    await put(database, a_request("r1"), organizations=["us"])
    patient = a_patient("p1", identifier=[{"value": "v"}], gender="female")
    await put(database, patient, organizations=["them"])

    page = await search(database, "ServiceRequest", text, reach=of("us"), reaches={"Patient": seen})

    assert ids(page) == found


# --- audit -------------------------------------------------------------------------------------


@pytest.mark.requirement("R014.1")
@pytest.mark.parametrize(("text", "hits"), [("status=active&_count=1", 2), ("_count=1", 1)])
async def test_the_audit_row_is_written_by_the_search_itself(
    database: Database, text: str, hits: int
) -> None:
    await put(database, a_request("r1"), a_request("r2"), a_request("r3", status="draft"))
    row = ledger.entry(CONTEXT, type="ServiceRequest", query=text)

    await search(database, "ServiceRequest", text, row=row)

    (found,) = await database.run("select interaction, subject, type, query, hits from audit")
    assert found == ("search-type", "System/test", "ServiceRequest", text, hits)


async def test_a_thousand_matches_are_one_page(database: Database) -> None:
    await database.run(
        "insert into version(type, id, version, instant, interaction, body)"
        " select 'Basic', 'b' || n, 1, n, 'C', '{}'::bytea from generate_series(1, 3000) n"
    )
    await database.run(
        "insert into current select type, id, key, 1, instant, false, null, '{}', null, null,"
        " '{B.code=x}' from version"
    )

    page = await search(database, "Basic", "code=x&_count=1000")

    assert (len(page.matches), page.total) == (1000, 3000)

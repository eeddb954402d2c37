"""The reach of a principal as a condition that others may put into their own statements."""

from typing import Any

import pytest

from fhir_server.access.gate import Reach
from fhir_server.postgres.database import Database
from fhir_server.search.reach import predicate
from tests.fhir_server.search.rows import EVERYTHING, put, relate

NOW = 1_800_000_000_000_000


def test_the_system_sees_everything_and_needs_no_parameter() -> None:
    params: list[Any] = ["given"]

    assert predicate(EVERYTHING, "c", params, type="Task", instant=NOW) == "true"
    assert params == ["given"]


def test_nobody_in_particular_sees_nothing() -> None:
    assert predicate(Reach(False, None, None, False), "c", [], type="Task", instant=NOW) == "false"


def test_parameters_follow_those_that_are_there() -> None:
    params: list[Any] = ["Task"]

    text = predicate(Reach(False, "us", "p1", False), "c", params, type="Task", instant=NOW)

    assert params == ["Task", "us", NOW, "p1"]
    assert text.endswith("c.patient = $4")


@pytest.mark.anyio
@pytest.mark.standard("threats T1")
async def test_a_relation_counts_until_it_has_ended(database: Database) -> None:
    for n in (1, 2):
        subject = {"reference": f"Patient/p{n}"}
        await put(database, {"resourceType": "Flag", "id": f"f{n}", "subject": subject})
    await relate(database, "us", "p1", NOW + 1)
    await relate(database, "us", "p2", NOW)
    params: list[Any] = ["Flag"]
    text = predicate(Reach(False, "us", None, False), "c", params, type="Flag", instant=NOW)

    rows = await database.run(f"select c.id from current c where c.type = $1 and {text}", params)

    assert rows == [("f1",)]

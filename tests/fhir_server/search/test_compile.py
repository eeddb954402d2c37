"""The text of a statement: one a shape, and one that PostgreSQL takes."""

from dataclasses import replace

import pytest

from fhir_server.access.gate import Reach
from fhir_server.postgres.database import Database
from fhir_server.search import query
from fhir_server.search.compile import compiled, statement
from fhir_server.search.query import Query, parse
from fhir_server.search.shape import shape_of
from resources.search_parameters import parameters
from tests.fhir_server.search.rows import EVERYTHING, pairs

OURS = Reach(False, "us", None, False)


def narrowed(type: str, text: str, reach: Reach = OURS) -> Query:
    return replace(parse(type, pairs(text), strict=True), reach=reach)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("status=active", "status=draft,revoked"),
        ("patient=p1&code=x", "patient=p2&code=s|y"),
        ("authored=2026", "authored=2027-01-01"),
        ("authored=ge2026,lt2020", "authored=ge2021,lt2019"),
        ("patient.family=a", "patient.family=b"),
        ("_count=5", "_count=10"),
        ("_id=1", "_id=2,3"),
    ],
)
def test_two_queries_of_one_shape_are_one_statement(one: str, other: str) -> None:
    texts = {
        statement(narrowed("ServiceRequest", each), 0, {"Patient": OURS})[0]
        for each in (one, other)
    }

    assert len(texts) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("status=active", "status:not=active"),
        ("authored=ge2026", "authored=lt2026"),
        ("patient=p1", "patient=p1,p2"),
        ("status=a", "status=a&status=b"),
        ("_sort=status", "_sort=-status"),
        ("code=x&_total=none", "code=x"),
    ],
)
def test_two_shapes_are_two_statements(one: str, other: str) -> None:
    texts = {statement(narrowed("ServiceRequest", each), 0, {})[0] for each in (one, other)}

    assert len(texts) == 2


def test_who_asks_is_a_value_and_how_far_they_see_is_the_shape() -> None:
    asked = narrowed("Task", "status=ready")

    assert (
        statement(asked, 0, {})[0]
        == statement(replace(asked, reach=OURS._replace(organization="them")), 0, {})[0]
    )
    assert statement(asked, 0, {})[0] != statement(replace(asked, reach=EVERYTHING), 0, {})[0]


def test_values_are_never_in_the_text() -> None:
    sql, params = statement(
        narrowed("ServiceRequest", "code=zzz1&patient.family=zzz2&subject=Patient/zzz3&_id=zzz4"),
        0,
        {"Patient": OURS},
    )

    assert "zzz" not in sql
    assert "us" in params


def test_a_shape_is_compiled_once() -> None:
    asked = narrowed("Task", "status=ready")

    one, other = (shape_of(asked, {}, [], None, True) for _ in range(2))
    assert compiled(one) is compiled(other)


VALUES = {
    "token": "s|x", "reference": "Group/x", "date": "2026", "string": "x", "uri": "http://x",
    "number": "5", "quantity": "5||mg", "special": "51|0|5|km",
}  # fmt: skip
MODIFIERS = {
    "token": ["", ":not", ":text", ":below", ":above"],
    "string": ["", ":contains", ":exact"],
    "uri": ["", ":below", ":above"],
    "reference": ["", ":identifier"],
}
UNSORTED = {"composite", "special"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "type",
    [
        "Patient",
        "ImagingStudy",
        "Task",
        "Provenance",
        "Observation",
        "Location",
        "RiskAssessment",
        "MolecularSequence",
        "Encounter",
        "DocumentReference",
    ],
)
async def test_every_parameter_makes_a_statement_that_runs(database: Database, type: str) -> None:
    for code, parameter in parameters(type).items():
        value = "$".join(VALUES[each.kind] for each in parameter.components or (parameter,))
        for modifier in (*MODIFIERS.get(parameter.kind, [""]), ":missing"):
            if code == "_id" and modifier:
                continue
            asked = f"{code}{modifier}={'true' if modifier == ':missing' else value}"
            asked += "" if parameter.kind in UNSORTED else f"&_sort=-{code}"
            found = narrowed(type, asked)

            rows = await database.run(*statement(found, 0, {}))

            assert rows[0][:2] == (2, 0), asked


@pytest.mark.anyio
async def test_a_pattern_runs(database: Database) -> None:
    asked = replace(narrowed("Patient", ""), criteria=(query.like("family", "o\\_neil%"),))

    assert len(await database.run(*statement(asked, 0, {}))) == 1

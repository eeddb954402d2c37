"""By when a report is acknowledged, what happens if it is not, and how that is counted."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server import settings as settings_of_server
from resources import acknowledgement, codes
from resources.acknowledgement import DEFAULT, PRIORITIES, RANKS, STEPS
from resources.acknowledgement_status import COUNTS, Item, lines, measure_report, percentile, table
from resources.errors import Invalid
from resources.plan import load
from resources.validate import check

ISSUED = "2026-11-24T09:00:00Z"

FILE: dict[str, Any] = json.loads(
    Path(acknowledgement.__file__).with_suffix(".json").read_text("utf-8")
)


def a_task(category: str | None = None, priority: str = "routine") -> dict[str, Any]:
    flagged = {"reasonCode": codes.URGENCIES[category].concept} if category else {}
    return {"priority": priority, "authoredOn": ISSUED, **flagged}


@pytest.mark.requirement("R011.2")
@given(st.sampled_from(RANKS), st.sampled_from([None, *PRIORITIES]))
def test_a_flag_raises_a_priority_and_never_lowers_it(asked: str, category: str | None) -> None:
    order = ["stat", "asap", "urgent", "routine"]

    priority = acknowledgement.priority(asked, category)

    assert order.index(priority) <= order.index(asked)
    if category is None:
        assert priority == asked


@pytest.mark.requirement("R010.3")
@given(st.sampled_from([None, *PRIORITIES]), st.sampled_from(RANKS))
def test_the_steps_of_an_escalation_come_in_order_and_each_once(
    category: str | None, priority: str
) -> None:
    task = a_task(category, priority)
    taken = []
    before = datetime.fromisoformat(ISSUED)
    while (found := acknowledgement.next_step(DEFAULT, task)) is not None:
        step, when = found
        assert when > before
        taken.append(step)
        task["output"] = acknowledgement.saying(task, step, when.isoformat())
        before = when

    assert tuple(taken) == STEPS


@pytest.mark.requirement("R010.3")
def test_what_is_more_urgent_is_due_sooner() -> None:
    assert DEFAULT.terms("critical", "stat").due < DEFAULT.terms("urgent", "asap").due
    for category in PRIORITIES:
        assert DEFAULT.terms(category, "routine").due < DEFAULT.terms(None, "routine").due


def test_the_pathway_says_the_same_of_reports_that_are_not_flagged() -> None:
    for action in load("primary"):
        if action.step == "acknowledge":
            assert action.due == {name: row.due for name, row in DEFAULT.priorities.items()}


@pytest.mark.requirement("R010.3")
def test_an_operator_sets_other_deadlines(tmp_path: Path) -> None:
    said = json.loads(json.dumps(FILE))
    said["categories"]["cancer"] = {"remind": 60, "due": 120, "fail_safe": 180}
    place = tmp_path / "deadlines.json"
    place.write_text(json.dumps(said))

    policy = acknowledgement.read(place)

    times = acknowledgement.deadlines(policy, a_task("cancer"))
    start = datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert list(times.values()) == [start + timedelta(hours=n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"categories": {}, "priorities": FILE["priorities"]},
        {**FILE, "categories": {**FILE["categories"], "odd": FILE["categories"]["cancer"]}},
        {**FILE, "priorities": {**FILE["priorities"], "stat": {"remind": 1, "due": 2}}},
        {
            **FILE,
            "priorities": {
                **FILE["priorities"], "stat": {"remind": 60, "due": 50, "fail_safe": 90}
            },
        },
        {
            **FILE,
            "priorities": {
                **FILE["priorities"], "stat": {"remind": 0, "due": 50, "fail_safe": 90}
            },
        },
        [],
    ],
)  # fmt: skip
def test_deadlines_that_make_no_sense_are_refused(tmp_path: Path, broken: Any) -> None:
    place = tmp_path / "deadlines.json"
    place.write_text(json.dumps(broken))

    with pytest.raises(Invalid):
        acknowledgement.read(place)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        acknowledgement.read(tmp_path / "nowhere.json")


def test_a_server_is_not_started_with_deadlines_that_make_no_sense(tmp_path: Path) -> None:
    place = tmp_path / "deadlines.json"
    place.write_text("{}")

    with pytest.raises(Invalid, match="ISOCENTRE_ACKNOWLEDGEMENT"):
        settings_of_server.read(acknowledgement=str(place))


# --- counting ------------------------------------------------------------------------------------

ITEMS = st.lists(
    st.builds(
        Item,
        issuer=st.sampled_from(["Organization/a", "Organization/b"]),
        organization=st.sampled_from(["Organization/c", ""]),
        referrer=st.sampled_from(["PractitionerRole/d", "PractitionerRole/e"]),
        category=st.sampled_from(["none", "critical"]),
        state=st.sampled_from(["open", "acknowledged", "superseded"]),
        overdue=st.booleans(),
        seconds=st.one_of(st.none(), st.floats(0, 1e6)),
    ),
    max_size=30,
)


@pytest.mark.requirement("R010.3")
@given(ITEMS)
def test_every_report_is_counted_once_by_each_dimension(items: list[Item]) -> None:
    total, *rest = lines(items)

    counts = total.counts
    assert counts["issued"] == len(items)
    assert counts["issued"] == counts["open"] + counts["acknowledged"] + counts["superseded"]
    assert counts["overdue"] <= counts["open"]
    for dimension in {line.dimension for line in rest}:
        for count in COUNTS:
            of_it = [line.counts[count] for line in rest if line.dimension == dimension]
            assert sum(of_it) == counts[count]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


@pytest.mark.standard("FHIR MeasureReport")
@settings(max_examples=25)
@given(ITEMS)
def test_the_counts_are_a_valid_measure_report_and_a_table(items: list[Item]) -> None:
    found = lines(items)

    report = measure_report(
        found,
        lambda line: "https://a.example/fhir/Task",
        period=(ISSUED, ISSUED),
        written=ISSUED,
        reporter="Organization/a",
    )

    assert check(report) == []
    assert len(table(found, lambda line: "").splitlines()) == len(found) + 1

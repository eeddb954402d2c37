"""Attribute matching, rule by rule (PS3.4 Section C.2.2.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_bridge.mapping.matching import dataset_matches, is_like, value_matches
from resources.errors import Invalid


# PS3.4 C.2.2.2.1 to C.2.2.2.5, typed in again.
@pytest.mark.standard("PS3.4 C.2.2.2")
@pytest.mark.parametrize(
    ("vr", "key", "values", "is_match"),
    [
        ("LO", "", [], True),
        ("LO", "*", [], True),
        ("LO", "A", [], False),
        ("LO", "A", ["A"], True),
        ("LO", "A", ["a"], False),
        ("LO", "A*", ["ABC"], True),
        ("LO", "A?C", ["ABC"], True),
        ("LO", "A?C", ["AC"], False),
        ("LO", "A.C", ["ABC"], False),
        ("CS", r"CT\MR", ["MR"], True),
        ("CS", "CT", ["MR", "CT"], True),
        ("PN", "okafor^ada", ["OKAFOR^ADA^^"], True),
        ("PN", "*ada*", ["Okafor^Ada"], True),
        ("PN", "Okafor", ["Okafor^Ada"], False),
        ("PN", "Yamada*", ["Yamada^Tarou=山田^太郎"], True),
        ("UI", r"1.2\1.3", ["1.3"], True),
        ("UI", "1.2*", ["1.2.3"], False),
        ("IS", "7", ["7"], True),
        ("DA", "20260314", ["20260314"], True),
        ("DA", "2026.03.14", ["20260314"], True),
        ("DA", "20260301-20260331", ["20260314"], True),
        ("DA", "20260301-20260331", ["20260401"], False),
        ("DA", "-20260314", ["20260314"], True),
        ("DA", "20260315-", ["20260314"], False),
        ("TM", "10-11", ["105959.5"], True),
        ("TM", "10-11", ["12"], False),
        ("TM", "1030", ["103015"], True),
        ("TM", "1030-1030", ["1030"], True),
        ("TM", "103000-", ["1030"], True),
        ("TM", "-093000", ["093000.000000"], True),
        ("DA", "20260314", [""], False),
    ],
)
def test_a_value_matches_a_key(vr: str, key: str, values: list[str], is_match: bool) -> None:
    assert value_matches(vr, key, values) is is_match


@pytest.mark.parametrize(
    ("vr", "key"), [("DA", "today"), ("DA", "-"), ("TM", "25x"), ("DA", "2026")]
)
def test_a_malformed_range_is_refused(vr: str, key: str) -> None:
    with pytest.raises(Invalid):
        value_matches(vr, key, ["20260314"])


def item(date: str, time: str) -> Dataset:
    ds, step = Dataset(), Dataset()
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = date, time
    step.Modality = "CT"
    ds.ScheduledProcedureStepSequence = [step]
    return ds


@pytest.mark.standard("PS3.4 K.6.1.2")
@pytest.mark.parametrize(
    ("date", "time", "is_match"),
    [
        ("20260705", "110000", True),
        ("20260706", "030000", True),
        ("20260705", "093000", False),
        ("20260707", "175900", True),
        ("20260707", "183000", False),
    ],
)
def test_ranges_of_start_date_and_time_are_one_span(date: str, time: str, is_match: bool) -> None:
    keys = item("20260705-20260707", "1000-1800")

    assert dataset_matches(keys, item(date, time)) is is_match


def test_a_sequence_without_values_matches_everything() -> None:
    keys = Dataset()
    keys.ScheduledProcedureStepSequence = [Dataset()]

    assert dataset_matches(keys, Dataset())


def is_like_by_trying(pattern: str, value: str) -> bool:
    """PS3.4 Section C.2.2.2.4 word by word, in whatever time it takes."""
    if not pattern:
        return not value
    one, rest = pattern[0], pattern[1:]
    if one == "*":
        return any(is_like_by_trying(rest, value[at:]) for at in range(len(value) + 1))
    return bool(value) and one in ("?", value[0]) and is_like_by_trying(rest, value[1:])


@pytest.mark.standard("PS3.4 C.2.2.2.4")
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_stand_for_what_they_should(pattern: str, value: str) -> None:
    assert is_like(pattern, value) is is_like_by_trying(pattern, value)


@pytest.mark.standard("threats T19")
@pytest.mark.parametrize(
    "pattern", ["*a" * 60 + "*b", "*a*?" * 60 + "b", "*?" * 30_000, "a" * 65_000]
)
def test_no_pattern_is_tried_in_endlessly_many_ways(pattern: str) -> None:
    assert not value_matches("LT", pattern, ["a" * 10_240])
    assert not value_matches("PN", pattern, ["a" * 64])


@pytest.mark.standard("threats T19")
def test_a_key_has_no_more_values_than_make_sense() -> None:
    with pytest.raises(Invalid):
        value_matches("SH", "\\".join(map(str, range(1000))), ["x"])

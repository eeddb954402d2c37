import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search import page
from fhir_server.search.page import Key, Sort
from resources.errors import Invalid

BY_STATUS = page.keys("Task", [Sort("status", "token", False)], False)


def test_the_order_is_total() -> None:
    assert BY_STATUS[-1].value == "c.key"


def test_the_resources_of_one_patient_come_newest_first() -> None:
    assert page.keys("ImagingStudy", (), True) == (
        Key("c.sort_at", False, True, True),
        Key("c.key", False, True, False),
    )


@given(
    st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
    | st.none()
)
def test_a_cursor_comes_back_as_it_was(status: str | None) -> None:
    position = (status, 7)

    assert page.decode(page.encode(position), BY_STATUS) == position


@given(st.text(max_size=40))
def test_a_cursor_of_somebody_elses_making_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        page.decode(cursor, BY_STATUS)


@pytest.mark.parametrize(
    "position", [(), (1,), ("a",), ("a", "b"), (1, 2), ("a", None), ("a", 2**63), ("a", 1.5),
                 ("a", True), ("a\x00", 1), ("a", 1, 2)],
)  # fmt: skip
def test_a_cursor_of_another_search_is_refused(position: tuple[int | str | None, ...]) -> None:
    with pytest.raises(Invalid):
        page.decode(page.encode(position), BY_STATUS)


@pytest.mark.parametrize(
    ("missing", "condition"),
    [
        ((False, False), "(s1 > $1 or s1 is null or (s1 = $1 and (s2 > $2)))"),
        ((True, False), "((s1 is null and (s2 > $2)))"),
    ],
)
def test_missing_values_come_last(missing: tuple[bool, bool], condition: str) -> None:
    assert page.after(BY_STATUS, missing, ["$1", "$2"]) == condition


def test_an_order_that_an_index_has_is_compared_as_a_row() -> None:
    keys = page.keys("Task", (), False)

    assert page.after(keys, (False, False), ["$1", "$2"]) == "(s1, s2) > ($1, $2)"

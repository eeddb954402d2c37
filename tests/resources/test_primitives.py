"""The primitive datatypes of R4, good values and bad ones."""

from typing import Any

import pytest

from resources.primitives import CHECKS

ROWS: dict[str, tuple[list[Any], list[Any]]] = {
    "boolean": ([True, False], ["true", 1, 0, None]),
    "integer": ([0, -1, 2147483647, -2147483648], [2147483648, 1.0, "1", True]),
    "unsignedInt": ([0, 2147483647], [-1, 2147483648, 1.5, False]),
    "positiveInt": ([1, 2147483647], [0, -1, "1"]),
    "decimal": ([1, 1.5, -0.0, 1e3], ["1.5", True, None]),
    "string": (["a", " ", "a\tb\r\nc", "å😀"],
        ["", "a\x00", "\x1b[0m", 5, "x" * (1024 * 1024 + 1)]),
    "markdown": (["# a\n\nb"], ["", "\x07"]),
    "code": (["a", "a b", "a-b_c.d"], ["", " a", "a ", "a  b", "a\x00b", 1]),
    "id": (["a", "A-1.b", "x" * 64], ["", "x" * 65, "a_b", "a b", "å", "a/b"]),
    "uri": (["urn:oid:1.2", "http://x.example/a?b#c", "x"], ["", "a b", "a\n", "\x00"]),
    "url": (["https://x.example/"], ["", "http://x example"]),
    "canonical": (["http://x.example/a|1.0"], ["", "a b"]),
    "oid": (["urn:oid:1.2.840.10008", "urn:oid:2.0"],
        ["1.2.3", "urn:oid:3.1", "urn:oid:1.02", "urn:oid:1"]),
    "uuid": (
        ["urn:uuid:c757873d-ec9a-4326-a141-556f43239520"],
        ["c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:c757873d", "urn:uuid:" + "0" * 32],
    ),
    "date": (
        ["2026", "2026-02", "2026-02-28", "2024-02-29", "2000-02-29", "0001", "9999-12-31"],
        ["26", "2026-13", "2026-00", "2026-02-29", "1900-02-29", "2026-04-31", "2026-2-1",
         "0000", "0000-02-29", "2026-01-00", "2026-01-32",
         "2026-11-24T10:00:00Z", " 2026", "2026\n"],
    ),
    "dateTime": (
        ["2026", "2026-11", "2026-11-24", "2026-11-24T00:00:00Z", "2026-11-24T23:59:60+14:00",
         "2026-11-24T10:00:00.123456789-05:30"],
        ["2026-11-24T10:00:00", "2026-11-24T10:00Z", "2026-11-24T24:00:00Z", "2026-11-24 10:00:00Z",
         "2026-11-24T10:00:00+14:30", "2026-11T10:00:00Z", "2026-02-30T10:00:00Z",
         "2026-11-24T10:00:00z", "2026-11-24T10:00:61Z", "２０２６"],
    ),
    "instant": (
        ["2026-11-24T03:00:00.123Z", "2026-11-24T03:00:00+00:00"],
        ["2026-11-24", "2026-11-24T03:00:00", "2026", ""],
    ),
    "time": (["00:00:00", "23:59:60.5"], ["24:00:00", "10:00", "10:00:00Z", ""]),
    "base64Binary": (["QQ==", "QUI=", "QUJD", "QU\nJD", "QU JD"],
        ["", "Q", "QQ=", "Q===", "QU*D", " ", 1]),
}  # fmt: skip


def is_good(datatype: str, value: Any) -> bool:
    try:
        return bool(CHECKS[datatype](value))
    except TypeError:
        return False


@pytest.mark.standard("FHIR Datatypes primitive")
@pytest.mark.parametrize(
    ("datatype", "value"), [(t, v) for t, (good, _) in ROWS.items() for v in good]
)
def test_a_value_of_the_datatype_is_good(datatype: str, value: Any) -> None:
    assert is_good(datatype, value)


@pytest.mark.standard("FHIR Datatypes primitive")
@pytest.mark.parametrize(
    ("datatype", "value"), [(t, v) for t, (_, bad) in ROWS.items() for v in bad]
)
def test_another_value_is_not(datatype: str, value: Any) -> None:
    assert not is_good(datatype, value)


def test_every_primitive_of_r4_has_a_check() -> None:
    assert CHECKS.keys() == ROWS.keys()


@pytest.mark.parametrize("datatype", [name for name in ROWS if name != "decimal"])
@pytest.mark.parametrize("value", [{}, [], None, 1.5])
def test_values_of_other_json_types_are_never_good(datatype: str, value: Any) -> None:
    assert not is_good(datatype, value)

"""Plain values as DICOM JSON: the same as pydicom's, for whatever values there are."""

import struct
import warnings
from io import BytesIO

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_bridge.mapping import dicom_json, plain_json

pytestmark = pytest.mark.standard("PS3.18 F.2")

VRS = ["AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL",
       "SS", "ST", "TM", "UI", "UL", "US"]  # fmt: skip
CHARACTER_SETS = [
    None, b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 13", b"ISO_IR 101 ",
    b"\\ISO 2022 IR 87", b"NONE",
]  # fmt: skip
likely = st.sampled_from([
    b"ORIGINAL\\PRIMARY\\AXIAL ", b"HFS ", b"hfs", b"A B", b" A", b"A  ", b"_", b"A" * 17,
    b"20260314", b"20260229", b"20261314", b"2026", b"2026031 ", b"101530", b"101530.25", b"1015",
    b"256199", b"-250.5\\0\\1", b"1e5 ", b"+1", b"1.", b".5", b"-0", b"007", b"2147483648",
    b"-999999999", b"1\\\\2", b"12\\ 13", b"1 ", b"4.5", b"Adams^Anna", b"Adams^Anna=x=y", b"A^^^",
    b"O'Neil^J.-P.", b"A\\B", b"Yamada\x1b", b"M\xfcller", b"1.2.840.10008.1.2\0", b"1.2.03",
    b"1..2", b"1", b"9.9", b"1." + b"2" * 63, b"1.2." + b"3." * 40 + b"1", b"CHEST, left",
    b"tab\there", b"~\\", b"x" * 64, b"x" * 65, b"\0\0", b"  ", b"a" * 16, b"1.2\\3.4", b"",
])  # fmt: skip
digits = st.from_regex(rb"-?[0-9]{1,12}(\.[0-9]{0,8})?(\\-?[0-9]{1,5})?", fullmatch=True)
letters = st.from_regex(rb"[A-Za-z0-9_ ^.'=\\-]{0,20}[ \0]?", fullmatch=True)
values = st.one_of(likely, digits, letters, st.binary(max_size=12), st.binary(max_size=80))


def read(elements: list[tuple[str, bytes]], character_set: bytes | None) -> Dataset:
    """A data set of private elements, in Explicit VR Little Endian."""
    pieces = []
    if character_set is not None:
        even = character_set + b" " * (len(character_set) % 2)
        pieces.append(struct.pack("<HH2sH", 8, 5, b"CS", len(even)) + even)
    for at, (vr, value) in enumerate(elements):
        head = struct.pack("<HH2sH", 0x0008 if at % 2 else 0x0009, 0x1000 + at, vr.encode(), 0)
        pieces.append(head[:6] + struct.pack("<H", len(value)) + value)
    return read_dataset(BytesIO(b"".join(pieces)), False, True)


def by_pydicom(ds: Dataset) -> dict[str, object]:
    """What pydicom makes of the same data set."""
    return ds.to_json_dict(
        bulk_data_threshold=dicom_json.BULK_BYTES,
        bulk_data_element_handler=dicom_json._bulk_uri,
        suppress_invalid_tags=True,
    )


def text(made: dict[str, object]) -> bytes:
    return orjson.dumps(made, option=orjson.OPT_SORT_KEYS)


@given(
    st.lists(st.tuples(st.sampled_from(VRS), values), min_size=1, max_size=6),
    st.sampled_from(CHARACTER_SETS),
)
def test_every_value_is_written_as_pydicom_writes_it(
    elements: list[tuple[str, bytes]], character_set: bytes | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_pydicom(read(elements, character_set))

        assert text(dicom_json._members(read(elements, character_set))) == text(expected)


@pytest.mark.parametrize("vr", plain_json.ONE)
@settings(max_examples=30)
@given(st.data())
def test_what_is_written_without_pydicom_is_what_it_writes(vr: str, data: st.DataObject) -> None:
    value = data.draw(st.from_regex(plain_json._PATTERNS[vr], fullmatch=True))
    ds = read([(vr, value)], b"ISO_IR 192")
    (tag,) = [tag for tag in ds.keys() if tag != 0x00080005]  # noqa: SIM118

    made = plain_json.written(ds.get_item(tag), plain=True)

    assert made is None or text({"x": made}) == text({"x": by_pydicom(ds)[f"{tag:08X}"]})
    assert made is not None or vr == "UI", "it is the way that nearly all values take"

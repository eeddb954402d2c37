"""A header read directly is the header that the parser for all of DICOM reads."""

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_bridge import instance, plain
from resources.errors import NotDicom

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\\"))
VALUES = {
    "SpecificCharacterSet": st.sampled_from(["ISO_IR 192"]),
    "PatientName": TEXTS.map(lambda text: text.replace("=", "")[:60]),
    "PatientID": TEXTS.map(lambda text: text[:60]),
    "StudyDescription": TEXTS.map(lambda text: text[:60]),
    "StudyDate": st.sampled_from(["20261124", ""]),
    "Modality": st.sampled_from(["CT", "MR", ""]),
    "Rows": st.integers(0, 65535),
    "InstanceNumber": st.integers(0, 99999).map(str),
    "SOPInstanceUID": st.sampled_from(["1.2.3", "1.2.840.113"]),
    "PixelSpacing": st.just(["0.5", "0.5"]),
    "ImageComments": TEXTS.map(lambda text: text[:400]),
    "WindowCenter": st.just("40"),
}


def encoded(ds: Dataset, syntax: Any) -> bytes:
    """A data set as bytes, without file meta information."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    buffer.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(buffer, ds)
    return buffer.getvalue()


def a_data_set(values: dict[str, Any]) -> Dataset:
    """A data set with pixels, and these values."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.add_new(0x7FE00010, "OW", b"\1\0" * 8)
    return ds


@pytest.mark.standard("PS3.5 7.1")
@given(values=st.fixed_dictionaries({}, optional=VALUES), syntax=st.sampled_from(SYNTAXES))
@settings(max_examples=80, deadline=None)
def test_both_ways_of_reading_find_the_same_header(values: dict[str, Any], syntax: Any) -> None:
    data = encoded(a_data_set({"SpecificCharacterSet": "ISO_IR 192", **values}), syntax)

    found = plain.header(data, syntax, is_all=True)

    assert found is not None
    assert found == instance._parsed(io.BytesIO(data), syntax)[0]


@given(data=st.binary(max_size=200), cut=st.integers(0, 300), syntax=st.sampled_from(SYNTAXES))
@settings(max_examples=150, deadline=None)
def test_what_is_broken_is_read_the_same_way_or_left_to_the_parser(
    data: bytes, cut: int, syntax: Any
) -> None:
    whole = encoded(a_data_set({"PatientID": "1", "StudyDate": "20261124", "Rows": 3}), syntax)
    broken = whole[:cut] + data
    found = plain.header(broken, syntax, is_all=True)
    if found is None:
        return
    try:
        parsed = instance._parsed(io.BytesIO(broken), syntax)[0]
    except NotDicom:
        pytest.fail("the parser would have refused it")
    assert found == parsed


@pytest.mark.standard("PS3.5 7.3")
def test_big_endian_is_left_to_the_parser() -> None:
    data = encoded(a_data_set({"PatientID": "1"}), ExplicitVRBigEndian)
    assert plain.header(data, ExplicitVRBigEndian, is_all=True) is None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_sequence_that_is_wanted_is_left_to_the_parser(syntax: Any) -> None:
    code = Dataset()
    code.CodeValue = "1"
    data = encoded(a_data_set({"ProcedureCodeSequence": [code]}), syntax)
    assert plain.header(data, syntax, is_all=True) is None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_header_that_goes_on_is_not_taken_for_whole(syntax: Any) -> None:
    ds = Dataset()
    ds.PatientID = "1"
    data = encoded(ds, syntax)
    assert plain.header(data, syntax, is_all=False) is None
    assert plain.header(data, syntax, is_all=True) == {"PatientID": "1"}

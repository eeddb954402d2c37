"""DICOM JSON of headers and of whole data sets (PS3.18 Annex F)."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from dicom_bridge.mapping import dicom_json, tags
from dicom_bridge.mapping.dicom_json import Stored
from dicom_bridge.spool import read_meta
from tests.dicom_bridge.build import an_instance, part10


@pytest.mark.standard("PS3.18 F.2")
@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("StudyDate", "20260314", {"vr": "DA", "Value": ["20260314"]}),
        ("SeriesNumber", "4", {"vr": "IS", "Value": [4]}),
        ("SeriesNumber", "four", {"vr": "IS", "Value": ["four"]}),
        ("Rows", 512, {"vr": "US", "Value": [512]}),
        ("ModalitiesInStudy", ["CT", "SR"], {"vr": "CS", "Value": ["CT", "SR"]}),
        ("AccessionNumber", "", {"vr": "SH"}),
        (
            "PatientName",
            "Yamada^Tarou=山田^太郎",
            {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
        ),
        (
            "RequestAttributesSequence",
            [{"RequestedProcedureID": "R1"}],
            {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["R1"]}}]},
        ),
    ],
)
def test_an_attribute_is_written_by_its_vr(keyword: str, value: Any, expected: Any) -> None:
    assert dicom_json.element(keyword, value)[1] == expected


@pytest.mark.standard("PS3.18 10.6.3")
def test_a_row_has_the_attributes_of_its_level_in_order() -> None:
    made = dicom_json.row(
        {"Modality": "CT", "PatientID": "X", "Rows": 5},
        [tags.SERIES],
        {"NumberOfSeriesRelatedInstances": 2},
    )

    assert list(made) == sorted(made)
    assert made["00080060"]["Value"] == ["CT"]
    assert "00100020" not in made
    assert "00280010" not in made


@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2.1", str(ImplicitVRLittleEndian)])
def test_a_data_set_leaves_its_pixels_where_they_are(tmp_path: Path, transfer_syntax: str) -> None:
    file = part10(an_instance(transfer_syntax=transfer_syntax))
    path = tmp_path / ("ab" * 32)
    path.write_bytes(file)
    meta = read_meta(file)
    assert meta is not None

    ((uid, text, _),) = dicom_json.metadata([Stored("1.2", path, meta.offset, transfer_syntax)])

    made = orjson.loads(text)
    assert uid == "1.2"
    assert made["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
    assert made["00280010"] == {"vr": "US", "Value": [8]}


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    gone = Stored("1.2", tmp_path / "gone", 0, "1.2.840.10008.1.2.1")

    assert dicom_json.metadata([gone]) == []

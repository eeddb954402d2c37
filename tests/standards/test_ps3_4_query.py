"""PS3.4 Annex C, Query/Retrieve, Study Root: a second reading of its tables."""

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import failures
from dicom_bridge.dimse import find, retrieve
from resources import errors

# Tables C.6-5 (study), C.6-3 (series), C.6-4 (instance): keys of type U and R.
KEYS = {
    "STUDY": ("StudyDate StudyTime AccessionNumber PatientName PatientID StudyID StudyInstanceUID"),
    "SERIES": "Modality SeriesNumber SeriesInstanceUID",
    "IMAGE": "InstanceNumber SOPInstanceUID",
}
ABOVE = {
    "STUDY": {},
    "SERIES": {"StudyInstanceUID": "1.2.3"},
    "IMAGE": {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"},
}


def identifier(level: str, **keys: str) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, key in {**ABOVE[level], **keys}.items():
        setattr(ds, keyword, key)
    return ds


@pytest.mark.standard("PS3.4 C.6.2.1")
@pytest.mark.parametrize("level", KEYS)
def test_unique_and_required_keys_are_matched_at_their_level(level: str) -> None:
    for keyword in KEYS[level].split():
        key = {"StudyDate": "20260314", "StudyTime": "1015"}.get(keyword, "1")

        asked = find.read(identifier(level, **{keyword: key}))

        assert asked.is_supported, keyword
        assert asked.keys[keyword] == key


@pytest.mark.standard("PS3.4 C.4.1.2.1")
@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
def test_the_unique_keys_above_must_be_there(level: str) -> None:
    for missing in ABOVE[level]:
        ds = identifier(level)
        delattr(ds, missing)

        with pytest.raises(errors.Invalid):
            find.read(ds)


# Table C.4-1 and C.4-3.
@pytest.mark.standard("PS3.4 C.4.1.1.4")
@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (errors.Exhausted("why"), 0xA700),
        (errors.Invalid("why"), 0xA900),
        (errors.Refusal("why"), 0xC000),
    ],
)
def test_each_refusal_has_its_status(refusal: errors.Refusal, status: int) -> None:
    said = find.failed(refusal)

    assert (said.Status, said.ErrorComment) == (status, "why")
    assert failures.find_or_retrieve_status(refusal) == status


@pytest.mark.standard("PS3.4 C.4.3.1.3.1")
@pytest.mark.parametrize(
    ("level", "keys", "uids"),
    [
        ("STUDY", {"StudyInstanceUID": r"1.2\1.3"}, [("1.2",), ("1.3",)]),
        ("SERIES", {"SeriesInstanceUID": "1.2.9"}, [("1.2.3", "1.2.9")]),
        (
            "IMAGE",
            {"SOPInstanceUID": r"1.2.7\1.2.8"},
            [("1.2.3", "1.2.3.4", "1.2.7"), ("1.2.3", "1.2.3.4", "1.2.8")],
        ),
    ],
)
def test_the_unique_key_of_the_level_may_be_a_list(
    level: str, keys: dict[str, str], uids: list[tuple[str, ...]]
) -> None:
    assert retrieve.read(identifier(level, **keys)) == uids

"""PS3.18 Section 10.6, Search Transaction: a second reading of its tables."""

import pytest

from dicom_bridge.dicomweb import router
from dicom_bridge.mapping import attributes
from dicom_bridge.mapping.attributes import keyword_of, studies

# Table 10.6.1-5, Required Matching Attributes, Study level: a value to match by.
STUDY_KEYS = {
    "00080020": ("StudyDate", "20260314"),
    "00080030": ("StudyTime", "101500-103000"),
    "00080050": ("AccessionNumber", "A1"),
    "00080061": ("ModalitiesInStudy", "CT"),
    "00080090": ("ReferringPhysicianName", "Example*"),
    "00100010": ("PatientName", "Okafor*"),
    "00100020": ("PatientID", "9000000009"),
    "0020000D": ("StudyInstanceUID", "1.2.3"),
    "00200010": ("StudyID", "1"),
}

# Tables 10.6.3-3, 10.6.3-4 and 10.6.3-5: what is returned.
RETURNED = {
    "STUDY": (
        "00080020 00080030 00080050 00080056 00080061 00080090 00080201 00081190 00100010 00100020"
        " 00100030 00100040 0020000D 00200010 00201206 00201208"
    ),
    "SERIES": (
        "00080060 00080201 0008103E 00081190 0020000E 00200011 00201209 00400244 00400245 00400275"
    ),
    "INSTANCE": (
        "00080016 00080018 00080056 00080201 00081190 00200013 00280010 00280011 00280100 00280008"
    ),
}


@pytest.mark.standard("PS3.18 10.6.1")
@pytest.mark.parametrize("tag", STUDY_KEYS)
def test_every_required_key_can_be_given_as_tag_or_keyword_and_is_matched(tag: str) -> None:
    keyword, value = STUDY_KEYS[tag]

    asked = studies({keyword: value})

    assert keyword_of(tag) == keyword_of(keyword) == keyword
    assert asked.pairs or asked.names or asked.rest


@pytest.mark.standard("PS3.18 10.6.3.3")
@pytest.mark.parametrize("level", RETURNED)
def test_every_attribute_to_be_returned_belongs_to_its_level(level: str) -> None:
    held = getattr(attributes, level)

    assert {keyword_of(tag) for tag in RETURNED[level].split()} <= held


@pytest.mark.standard("PS3.18 10.6.1.1")
@pytest.mark.parametrize(
    "address",
    [
        "/studies",
        "/studies/{study}/series",
        "/studies/{study}/instances",
        "/studies/{study}/series/{series}/instances",
        "/series",
        "/instances",
    ],
)
def test_every_resource_can_be_searched(address: str) -> None:
    assert ("GET", address, "QIDO-RS") in [row[:3] for row in router.TRANSACTIONS]


@pytest.mark.standard("PS3.18 8.3.4.1")
@pytest.mark.parametrize(
    ("attribute", "keyword"),
    [
        ("0020000d", "StudyInstanceUID"),
        ("0020000D", "StudyInstanceUID"),
        ("StudyInstanceUID", "StudyInstanceUID"),
        ("RequestAttributesSequence.00401001", "RequestAttributesSequence.RequestedProcedureID"),
        ("studyinstanceuid", None),
        ("00990001", None),
        ("", None),
    ],
)
def test_an_attribute_is_a_tag_or_a_keyword(attribute: str, keyword: str | None) -> None:
    assert keyword_of(attribute) == keyword

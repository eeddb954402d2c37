"""PS3.18 Section 10.5 and Annex I, Store Transaction: a second reading of its tables."""

from typing import Any

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_bridge import failures
from dicom_bridge.dicomweb import router, stored
from dicom_bridge.dicomweb.stored import Named, Report
from resources import errors


# Table 10.5.3-1: how many were stored, how many failed, what the status is.
@pytest.mark.standard("PS3.18 10.5.3.1")
@pytest.mark.parametrize(("stored", "failed", "status"), [(2, 0, 200), (1, 1, 202), (0, 2, 409)])
def test_the_status_says_whether_all_some_or_none_were_stored(
    stored: int, failed: int, status: int
) -> None:
    instances: list[Any] = [None] * stored

    assert Report(instances, [(Named(), 0x0110)] * failed).status == status


# Table I.2-2, and PS3.7 Annex C for what it leaves to "additional codes".
@pytest.mark.standard("PS3.18 I.2.2")
@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (errors.Exhausted("no room"), 0xA700),
        (errors.Invalid("does not match its SOP Class"), 0xA900),
        (errors.NotDicom("cannot be understood"), 0xC000),
        (errors.Unsupported("transfer syntax", at="TransferSyntaxUID"), 0xC122),
        (errors.Unsupported("SOP class"), 0x0122),
        (errors.Refusal("processing failure"), 0x0110),
        (errors.Conflict("another object, or another study"), 0x0111),
        (errors.Forbidden("not authorised"), 0x0124),
    ],
)
def test_each_failure_has_its_reason(refusal: errors.Refusal, reason: int) -> None:
    assert failures.failure_reason(refusal) == reason


@pytest.mark.standard("PS3.18 I.1")
def test_the_response_module_uses_the_attributes_of_the_standard() -> None:
    assert {
        keyword: (f"{tag_for_keyword(keyword):08X}", dictionary_VR(keyword))
        for keyword in stored.ATTRIBUTE
    } == stored.ATTRIBUTE


@pytest.mark.standard("PS3.18 10.5.1.1")
@pytest.mark.parametrize("address", ["/studies", "/studies/{study}"])
def test_instances_are_stored_to_studies_or_one_study(address: str) -> None:
    assert ("POST", address, "STOW-RS") in [row[:3] for row in router.TRANSACTIONS]

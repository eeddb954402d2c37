"""Every refusal has a status (typed in again from PS3.4 B.2.3, PS3.7 Annex C, PS3.18 Annex I)."""

import pytest

from dicom_bridge import failures
from resources import errors


@pytest.mark.standard("PS3.18 I.2.2")
@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (errors.NotDicom("x"), 0xC000),
        (errors.Invalid("x"), 0xA900),
        (errors.Unprocessable("x"), 0xA900),
        (errors.Unsupported("x"), 0x0122),
        (errors.Unsupported("x", at="TransferSyntaxUID"), 0xC122),
        (errors.Unauthenticated("x"), 0x0124),
        (errors.Forbidden("x"), 0x0124),
        (errors.NotFound("x"), 0x0112),
        (errors.Gone("x"), 0x0112),
        (errors.Conflict("x"), 0x0111),
        (errors.Stale("x"), 0x0111),
        (errors.Exhausted("x"), 0xA700),
        (errors.TooLarge("x"), 0xA700),
        (errors.Refusal("x"), 0x0110),
    ],
)
def test_a_refusal_sounds_as_the_standard_says(refusal: errors.Refusal, status: int) -> None:
    assert failures.failure_reason(refusal) == status


@pytest.mark.standard("PS3.7 C.4")
def test_an_error_comment_has_at_most_64_characters() -> None:
    assert len(failures.comment(errors.Refusal("x" * 100))) == 64

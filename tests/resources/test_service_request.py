"""What a request says is the referrer's to change."""

import pytest

from resources.errors import Forbidden, Unprocessable
from resources.service_request import check_change
from tests.build import a_request


@pytest.mark.requirement("R007.2")
@pytest.mark.parametrize("element", ["code", "reasonCode", "note", "supportingInfo", "requester"])
def test_the_words_of_the_referrer_are_changed_by_the_referrer_alone(element: str) -> None:
    before = a_request()
    after = {**before, element: [{"text": "other"}]}

    check_change(before, after, by_referrer=True)
    with pytest.raises(Forbidden) as refusal:
        check_change(before, after, by_referrer=False)
    assert refusal.value.at == f"ServiceRequest.{element}"


@pytest.mark.parametrize("element", ["subject", "requisition", "intent"])
def test_a_request_does_not_become_another_one(element: str) -> None:
    with pytest.raises(Unprocessable):
        check_change(a_request(), {**a_request(), element: None}, by_referrer=True)


def test_others_add_their_identifiers_and_withdraw() -> None:
    filler = [{"system": "urn:x", "value": "1"}]
    after = {**a_request(), "identifier": filler, "status": "revoked"}
    check_change(a_request(), after, by_referrer=False)

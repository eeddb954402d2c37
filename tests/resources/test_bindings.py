"""Required bindings, against value sets typed in from the pages of R4."""

import json
from pathlib import Path

import pytest

from resources.bindings import NOT_LISTED, codes, holds

CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
DATA = Path(__file__).parent.parent.parent / "resources"

VALUE_SETS = {
    "task-status": """draft requested received accepted rejected ready cancelled in-progress on-hold
        failed completed entered-in-error""",
    "task-intent": """unknown proposal plan order original-order reflex-order filler-order
        instance-order option""",
    "request-status": "draft active on-hold revoked completed entered-in-error unknown",
    "request-intent": """proposal plan directive order original-order reflex-order filler-order
        instance-order option""",
    "request-priority": "routine urgent asap stat",
    "imagingstudy-status": "registered available cancelled entered-in-error unknown",
    "diagnostic-report-status": """registered partial preliminary final amended corrected appended
        cancelled entered-in-error unknown""",
    "appointmentstatus": """proposed pending booked arrived fulfilled cancelled noshow
        entered-in-error checked-in waitlist""",
    "list-mode": "working snapshot changes",
    "list-status": "current retired entered-in-error",
    "bundle-type": """document message transaction transaction-response batch batch-response history
        searchset collection""",
    "subscription-status": "requested active error off",
    "subscription-channel-type": "rest-hook websocket email sms message",
    "provenance-entity-role": "derivation revision quotation source removal",
    "audit-event-action": "C R U D E",
    "audit-event-outcome": "0 4 8 12",
    "narrative-status": "generated extensions additional empty",
    "identifier-use": "usual official temp secondary old",
    "administrative-gender": "male female other unknown",
    "endpoint-status": "active suspended error off entered-in-error test",
    "composition-status": "preliminary final amended entered-in-error",
    "consent-state-codes": "draft proposed active rejected inactive entered-in-error",
    "event-status": """preparation in-progress not-done on-hold stopped completed entered-in-error
        unknown""",
}


@pytest.mark.standard("FHIR Terminologies required")
@pytest.mark.parametrize("name", VALUE_SETS)
def test_a_required_binding_holds_the_codes_of_its_page(name: str) -> None:
    assert codes(name) == frozenset(VALUE_SETS[name].split())


def test_an_open_grammar_is_not_listed() -> None:
    assert {name for name in NOT_LISTED if codes(name) is not None} == set()


@pytest.mark.parametrize(
    ("concept", "bound"),
    [
        ({"coding": [{"system": CLINICAL, "code": "active"}]}, True),
        ({"coding": [{"code": "x"}, {"system": CLINICAL, "code": "active"}]}, True),
        ({"system": CLINICAL, "code": "active"}, True),
        ({"coding": [{"code": "active"}]}, False),
        ({"coding": [{"system": "http://snomed.info/sct", "code": "active"}]}, False),
        ({"coding": [{"system": CLINICAL, "code": "Active"}]}, False),
        ({"text": "active"}, False),
        ({}, False),
    ],
)
def test_one_coding_of_a_concept_is_of_the_value_set(
    concept: dict[str, object], bound: bool
) -> None:
    assert holds("condition-clinical", concept) is bound


def test_every_binding_of_a_definition_is_listed_or_known_not_to_be() -> None:
    listed = {
        json.loads(line)["name"]
        for line in (DATA / "value_sets" / "required.ndjson").read_text().splitlines()
    }
    named = {
        row["binding"]
        for path in (DATA / "structure_definitions").glob("*/*.json")
        for row in json.loads(path.read_text())["elements"]
        if "binding" in row
    }

    assert named == listed | NOT_LISTED

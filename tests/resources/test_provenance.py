"""Provenance: the shape of an act, and of the evidence it was based on."""

import pytest

from resources import codes
from resources.provenance import Agent, act, evidence, source
from resources.request_state import Held
from resources.validate import check
from tests.build import a_study

RECORDED = "2026-11-24T03:00:00.000Z"


@pytest.mark.requirement("R014.2")
def test_an_act_names_person_organisation_and_time() -> None:
    made = act(
        ["Task/1/_history/2"],
        RECORDED,
        codes.JUSTIFY.concept,
        Agent("PractitionerRole/p", "lead"),
    )

    assert made["recorded"] == RECORDED
    assert made["agent"] == [
        {
            "type": codes.PERFORMER.concept,
            "who": {"reference": "PractitionerRole/p"},
            "onBehalfOf": {"reference": "Organization/lead"},
        }
    ]
    assert check(made) == []


@pytest.mark.requirement("R014.3")
def test_evidence_pins_a_version_of_the_study_and_counts_its_instances() -> None:
    pinned = evidence(Held(a_study(images=3), 4))

    assert pinned["what"] == {"reference": "ImagingStudy/is1/_history/4"}
    manifest = pinned["extension"][1]["extension"]
    assert manifest[0] == {"url": "count", "valueUnsignedInt": 3}
    assert len(manifest[1]["valueString"]) == 64
    entities = [pinned, source("ServiceRequest/1/_history/2")]
    made = act(
        ["DiagnosticReport/1/_history/1"],
        RECORDED,
        codes.LEGALLY_AUTHENTICATED.concept,
        Agent("Client/ris", "lead"),
        codes.AUTHOR,
        entities=entities,
        by_system=True,
    )
    assert check(made) == []
    assert len(made["agent"]) == 2

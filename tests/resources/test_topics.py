"""Topics: each file is a SubscriptionTopic of R4B, and says the same as a query and as FHIRPath."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import fhirpathpy
import pytest
from fhir.resources.R4B.subscriptiontopic import SubscriptionTopic  # noqa: TID251
from fhirpathpy.models import models

from fhir_server.search.stored import Stored
from resources import codes, search_parameters, topics
from resources.topics import INTERACTIONS
from subscriptions.firing import Step

Json = dict[str, Any]

BASE = "https://fhir.example/fhir"
AT = "https://isocentre.example/fhir/SubscriptionTopic/"

STANDARDS = {
    "request-to-justify", "step-scheduled", "images-available", "study-updated", "report-final",
    "report-urgent", "report-issued", "ack-overdue", "report-reissued", "correction",
    "study-access-granted", "mdt-list-changed", "request-complete",
}  # fmt: skip
DEFINITIONS = {each["id"]: each for each in topics.definitions()}


def test_every_topic_that_the_record_needs_is_there() -> None:
    assert set(DEFINITIONS) == STANDARDS


@pytest.mark.standard("FHIR R4B SubscriptionTopic")
@pytest.mark.parametrize("id", sorted(DEFINITIONS))
def test_a_topic_is_a_subscription_topic_of_r4b(id: str) -> None:
    read = SubscriptionTopic.model_validate_json(json.dumps(DEFINITIONS[id]))

    assert read.url == AT + id


@pytest.mark.parametrize("id", sorted(DEFINITIONS))
def test_a_topic_is_filtered_and_completed_by_what_a_search_knows(id: str) -> None:
    topic = topics.topics()[AT + id]

    for type, filters in topic.filters.items():
        assert type in topic.types
        assert filters <= search_parameters.parameters(type).keys()
    for each in itertools.chain(*topic.includes.values(), *topic.reverse_includes.values()):
        source, code = each.split(":")
        assert search_parameters.parameters(source)[code].kind == "reference"


def concept(code: str, system: str = codes.IMAGING_STEP) -> Json:
    return {"coding": [{"system": system, "code": code}]}


STEPS = (
    "justify", "acquire", "report", "mdt-review", "acknowledge", "apply-correction", "share",
    "reconcile",
)  # fmt: skip


def tasks() -> Iterator[Json]:
    statuses = ("requested", "ready", "completed")
    for code, status in itertools.product((*STEPS, "other"), statuses):
        yield {"status": status, "code": concept(code)}
    yield {"status": "requested", "code": concept("justify", "urn:other")}
    for priority in ("routine", "urgent", "asap", "stat", None):
        said = {"priority": priority} if priority else {}
        yield {"status": "ready", "code": concept("acknowledge"), **said}
    for status in ("unread", "escalated"):
        yield {
            "status": "ready",
            "code": concept("acknowledge"),
            "businessStatus": concept(status, codes.STEP_BUSINESS_STATUS),
        }


def studies() -> Iterator[Json]:
    for status in ("registered", "available"):
        yield {"status": status}
        yield {"status": status, "numberOfInstances": 1}
        yield {"status": status, "numberOfInstances": 2, "series": [{"uid": "1"}]}
        series = {"uid": "1", "instance": [{"uid": "1.1"}]}
        yield {"status": status, "numberOfInstances": 2, "series": [series]}
        yield {"status": status, "numberOfInstances": 2, "series": [series | {"number": 3}]}
        more = {"uid": "1", "instance": [{"uid": "1.1"}, {"uid": "1.2"}]}
        yield {"status": status, "numberOfInstances": 2, "series": [more]}


def reports() -> Iterator[Json]:
    addendum = {
        "url": "http://hl7.org/fhir/StructureDefinition/diagnosticReport-addendumOf",
        "valueReference": {"reference": "DiagnosticReport/1"},
    }
    for status in ("registered", "final", "amended", "corrected", "appended", "entered-in-error"):
        yield {"status": status}
        yield {"status": status, "extension": [addendum]}


def consents() -> Iterator[Json]:
    for status in ("draft", "active", "inactive"):
        yield {"status": status}
        for id in ("1", "2"):
            data = {"meaning": "instance", "reference": {"reference": f"ImagingStudy/{id}"}}
            yield {"status": status, "provision": {"data": [data]}}


def lists() -> Iterator[Json]:
    for code, mode in itertools.product(("mdt-agenda", "mdt-record"), ("working", "snapshot")):
        shared = {"status": "current", "mode": mode, "code": concept(code, codes.LIST_KIND)}
        yield shared
        yield {**shared, "title": "Monday"}
        for ids in (("1",), ("1", "2"), ("2", "1")):
            entries = [{"item": {"reference": f"Task/{id}"}} for id in ids]
            yield {**shared, "entry": entries}


def requests() -> Iterator[Json]:
    for status in ("draft", "active", "completed", "revoked"):
        yield {"status": status, "intent": "order"}


STATES = {
    "Task": list(tasks()),
    "ImagingStudy": list(studies()),
    "DiagnosticReport": list(reports()),
    "Consent": list(consents()),
    "List": list(lists()),
    "ServiceRequest": list(requests()),
}
"""What resources of a type may be, as far as topics look at them."""


def stored(resource: Json, version: int, interaction: str) -> Stored:
    return Stored(
        resource["resourceType"], "1", version, 0, interaction, json.dumps(resource).encode()
    )


def changes(type: str) -> Iterator[tuple[str, Json | None, Json]]:
    for members in STATES[type]:
        after = {"resourceType": type, "id": "1", **members}
        yield "create", None, after
        for others in STATES[type]:
            yield "update", {"resourceType": type, "id": "1", **others}, after


def by_path(
    definition: Mapping[str, Any], interaction: str, before: Json | None, after: Json
) -> bool:
    """Whether a topic fires by the FHIRPath of one of its triggers."""
    for trigger in definition["resourceTrigger"]:
        fits = trigger["resource"].endswith(f"/{after['resourceType']}")
        if not fits or interaction not in trigger["supportedInteraction"]:
            continue
        found = COMPILED[trigger["fhirPathCriteria"]](
            {}, {"current": after, "previous": before if before is not None else []}
        )
        if found == [True]:
            return True
    return False


COMPILED = {
    trigger["fhirPathCriteria"]: fhirpathpy.compile(trigger["fhirPathCriteria"], models["r4"])
    for definition in topics.definitions()
    for trigger in definition["resourceTrigger"]
}


@pytest.mark.standard("FHIR R4B SubscriptionTopic.resourceTrigger.fhirPathCriteria")
@pytest.mark.parametrize("id", sorted(DEFINITIONS))
def test_the_query_and_the_fhirpath_of_a_topic_agree(id: str) -> None:
    definition = DEFINITIONS[id]
    fired = {True: 0, False: 0}
    for type in topics.topics()[AT + id].types:
        for interaction, before, after in changes(type):
            was = None if before is None else stored(before, 1, "C")
            step = Step(was, stored(after, 2, INTERACTIONS[interaction]), BASE)
            fires = step.fires({AT + id}, 0) != []
            assert fires == by_path(definition, interaction, before, after), (before, after)
            fired[fires] += 1

    assert min(fired.values()) > 0


def test_a_topic_asks_nothing_that_memory_does_not_know() -> None:
    """What a trigger asks must be answered of versions that the database has left behind."""
    for trigger in (each for topic in topics.topics().values() for each in topic.triggers):
        for text in (trigger.previous, trigger.current):
            assert "." not in text.partition("=")[0]
            assert "_has" not in text

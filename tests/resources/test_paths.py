"""FHIRPath in search parameters, read a second time: by hand, and by fhirpathpy."""

import json
from typing import Any

import pytest
from fhirpathpy import evaluate
from fhirpathpy.models import models

from resources import paths, search_parameters
from resources.path_grammar import ExpressionError

CHOICES = {"Observation.value": ("CodeableConcept", "string", "dateTime", "Period")}

PATIENT = {"reference": "Patient/1"}
GROUP = {"reference": "Group/1"}


@pytest.mark.standard("FHIR search expression")
@pytest.mark.parametrize(
    ("expression", "resource", "found"),
    [
        ("Task.status", {"status": "ready"}, ["ready"]),
        ("Task.status", {}, []),
        ("Task.status", {"status": None}, []),
        ("Task.basedOn", {"basedOn": [PATIENT, GROUP]}, [PATIENT, GROUP]),
        ("Task.restriction.period", {"restriction": {"period": {"end": 1}}}, [{"end": 1}]),
        ("Resource.meta.tag", {"meta": {"tag": [{"code": "a"}]}}, [{"code": "a"}]),
        ("Task.status | Task.intent", {"intent": "order", "status": "ready"}, ["ready", "order"]),
        ("Device.status | Task.status", {"status": "ready"}, ["ready"]),
        ("Device.status", {"status": "ready"}, []),
        ("Task.for.where(resolve() is Patient)", {"for": PATIENT}, [PATIENT]),
        ("Task.for.where(resolve() is Patient)", {"for": GROUP}, []),
        (
            "Task.for.where(resolve() is Patient)",
            {"for": {"reference": "https://other.example/fhir/Patient/1/_history/2"}},
            [{"reference": "https://other.example/fhir/Patient/1/_history/2"}],
        ),
        (
            "Task.for.where(resolve() is Patient)",
            {"for": {"reference": "#p", "type": "Patient"}},
            [{"reference": "#p", "type": "Patient"}],
        ),
        ("Task.for.where(resolve() is Patient)", {"for": {"reference": "#p"}}, []),
        (
            "Task.telecom.where(system='phone')",
            {"telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}]},
            [{"system": "phone", "value": "1"}],
        ),
        (
            "Task.identifier.where(type.coding.where(code='ACSN').exists())",
            {
                "identifier": [
                    {"value": "1", "type": {"coding": [{"code": "FILL"}, {"code": "ACSN"}]}},
                    {"value": "2", "type": {"coding": [{"code": "FILL"}]}},
                    {"value": "3"},
                ]
            },
            [{"value": "1", "type": {"coding": [{"code": "FILL"}, {"code": "ACSN"}]}}],
        ),
        (
            "Task.extension('http://x').value",
            {"extension": [{"url": "y", "valueCode": "a"}, {"url": "http://x", "valueCode": "b"}]},
            ["b"],
        ),
        (
            "Task.input.extension('http://x').value",
            {"input": [{"extension": [{"url": "http://x", "valueCode": "b"}]}, {}]},
            ["b"],
        ),
        (
            "Task.item.where(hasExtension('http://x')).answer",
            {"item": [{"answer": 1}, {"answer": 2, "extension": [{"url": "http://x"}]}]},
            [2],
        ),
        ("Task.entry[0].resource", {"entry": [{"resource": 1}, {"resource": 2}]}, [1]),
        ("Task.entry[0].resource", {}, []),
    ],
)  # fmt: skip
def test_a_path_finds_what_the_standard_says(
    expression: str, resource: dict[str, Any], found: list[Any]
) -> None:
    path = paths.compile(expression, "Task", {"Extension.value": ("code",)})

    assert path(resource) == found


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("Observation.value", ["x", {"start": "2026"}]),
        ("(Observation.value as string)", ["x"]),
        ("Observation.value.as(Period)", [{"start": "2026"}]),
        ("Observation.value.ofType(Period).start", ["2026"]),
        ("(Observation.value as CodeableConcept).text", []),
        ("Observation.value.exists() and Observation.value != false", [True]),
        ("Observation.value.exists() and Observation.value != 'x'", [False]),
        ("Observation.missing.exists() and Observation.value != false", [False]),
    ],
)
def test_a_choice_is_found_by_the_name_of_its_type(expression: str, found: list[Any]) -> None:
    path = paths.compile(expression, "Observation", CHOICES)

    assert path({"valueString": "x", "valuePeriod": {"start": "2026"}}) == found


@pytest.mark.parametrize(
    "expression",
    [
        "Task.", "Task.all(x)", "Task.status +", "Task.where(status", "(Task.a", "Task.a = 5",
        "'a'", "Task.note.first()", "Task.note.where(time = @2026)", "Task.note[a]",
        "Task.note[-1]",
        f"Task.note[{'9' * 100}]",
        f"{'(' * 990}Task.note{')' * 990}",
        f"Task.{'where(' * 200}a{')' * 200}",
        f"Task.{'iif(a,a,' * 150}a{')' * 150}",
        f"Task.note{'[0]' * 600}",
        f"Task{'.extension' * 190}",
    ],
)  # fmt: skip
def test_what_the_grammar_has_not_is_refused_when_compiled(expression: str) -> None:
    with pytest.raises(ExpressionError):
        paths.compile(expression, "Task", {})


def test_an_odd_resource_finds_nothing_and_breaks_nothing() -> None:
    path = paths.compile("Task.input.extension('http://x').value.coding.code", "Task", {})

    assert path({"input": ["text", 3, None, {"extension": []}]}) == []


@pytest.mark.standard("FHIR search expression")
def test_every_expression_of_the_release_compiles() -> None:
    counted = {
        (type, code)
        for type in search_parameters.types()
        for code in search_parameters.parameters(type)
    }

    assert len(counted) > 2000


RESOURCES: list[dict[str, Any]] = [
    {
        "resourceType": "Observation",
        "identifier": [{"system": "s", "value": "v"}],
        "status": "final",
        "code": {"coding": [{"system": "l", "code": "1"}]},
        "component": [{"code": {"coding": [{"code": "2"}]}}, {"code": {"text": "t"}}],
        "effectivePeriod": {"start": "2026-01-01", "end": "2026-01-02"},
        "valueCodeableConcept": {"text": "high"},
        "performer": [{"reference": "Practitioner/1"}],
    },
    {
        "resourceType": "Patient",
        "name": [{"family": "Okafor", "given": ["Ada", "B"]}, {"text": "Ada O"}],
        "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "a@b"}],
        "address": [{"city": "Leeds", "postalCode": "LS1"}],
        "deceasedDateTime": "2026",
        "birthDate": "1970-01-01",
        "gender": "female",
    },
    {
        "resourceType": "ImagingStudy",
        "status": "available",
        "series": [
            {"uid": "1.2", "modality": {"code": "CT"}, "instance": [{"uid": "1.2.3"}]},
            {"uid": "1.3", "modality": {"code": "SR"}, "performer": [{"actor": {"display": "x"}}]},
        ],
    },
    {
        "resourceType": "ConceptMap",
        "sourceCanonical": "http://a",
        "targetUri": "http://b",
        "relatedArtifact": [{"type": "depends-on", "resource": "http://c"}],
    },
    {
        "resourceType": "MedicationRequest",
        "medicationReference": {"reference": "Medication/1"},
        "dosageInstruction": [{"timing": {"event": ["2026-01-01"]}}],
    },
    {
        "resourceType": "Condition",
        "onsetPeriod": {"start": "2020"},
        "abatementString": "last year",
        "stage": [{"summary": {"text": "x"}}],
    },
]  # fmt: skip


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each["resourceType"])
def test_fhirpathpy_finds_the_same(resource: dict[str, Any]) -> None:
    type = resource["resourceType"]
    differing = []
    for parameter in search_parameters.parameters(type).values():
        operands = [
            each.strip()
            for each in parameter.expression.split("|")
            if f"{type}." in each or each.strip() == type
        ]
        # It resolves nothing, and casts only single items.
        if (
            operands
            and "resolve" not in parameter.expression
            and "component.value" not in str(operands)
        ):
            theirs = evaluate(resource, " | ".join(operands), {}, models["r4"])
            if _texts(parameter.extract(resource)) != _texts(theirs):
                differing.append((parameter.code, theirs))

    assert differing == []


def _texts(items: list[Any]) -> set[str]:
    return {json.dumps(item, sort_keys=True) for item in items}

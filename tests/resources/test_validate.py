"""The walk tells what R4 forbids, where it is, and agrees with a second opinion."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.content import Content, made, read
from resources.errors import Invalid
from resources.models import TYPES, model
from resources.validate import check, require_valid

EXAMPLES = {
    path.stem: path.read_bytes()
    for path in sorted((Path(__file__).parent.parent / "examples").glob("*.json"))
}


def study(**members: Any) -> dict[str, Any]:
    return {
        "resourceType": "ImagingStudy",
        "status": "available",
        "subject": {"reference": "Patient/1"},
        **members,
    }


def request(**members: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/1"},
        **members,
    }


def without(resource: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != name}


def told(resource: dict[str, Any]) -> list[tuple[str, str]]:
    return [(issue.code, issue.at) for issue in check(resource)]


CT = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}


@pytest.mark.parametrize(
    ("resource", "code", "at"),
    [
        # unknown elements, wherever
        (study(colour="red"), "structure", "ImagingStudy.colour"),
        (study(subject={"refer": "x"}), "structure", "ImagingStudy.subject.refer"),
        (
            study(series=[{"uid": "1.2", "modality": CT, "x": 1}]),
            "structure",
            "ImagingStudy.series[0].x",
        ),
        (study(_subject={"id": "a"}), "structure", "ImagingStudy._subject"),
        # of another release
        (request(serviceType=[]), "structure", "ServiceRequest.serviceType"),
        # JSON types
        (study(numberOfSeries="2"), "structure", "ImagingStudy.numberOfSeries"),
        (study(numberOfSeries=True), "structure", "ImagingStudy.numberOfSeries"),
        (study(numberOfSeries=1.5), "structure", "ImagingStudy.numberOfSeries"),
        (study(description=5), "structure", "ImagingStudy.description"),
        (study(subject="Patient/1"), "structure", "ImagingStudy.subject"),
        (study(series={"uid": "1.2"}), "structure", "ImagingStudy.series"),
        (study(series=["1.2"]), "structure", "ImagingStudy.series[0]"),
        (study(subject=[{"reference": "Patient/1"}]), "structure", "ImagingStudy.subject"),
        (study(status=["available"]), "structure", "ImagingStudy.status"),
        (request(doNotPerform="true"), "structure", "ServiceRequest.doNotPerform"),
        (request(doNotPerform=0), "structure", "ServiceRequest.doNotPerform"),
        # what must be there
        (without(study(), "status"), "required", "ImagingStudy.status"),
        (without(study(), "subject"), "required", "ImagingStudy.subject"),
        (study(series=[{"modality": CT}]), "required", "ImagingStudy.series[0].uid"),
        (study(series=[{"uid": "1.2"}]), "required", "ImagingStudy.series[0].modality"),
        (without(request(), "intent"), "required", "ServiceRequest.intent"),
        (
            {"resourceType": "Parameters", "parameter": [{}]},
            "required",
            "Parameters.parameter[0].name",
        ),
        # empty
        (study(series=[]), "structure", "ImagingStudy.series"),
        (study(subject={}), "structure", "ImagingStudy.subject"),
        (study(description=""), "structure", "ImagingStudy.description"),
        (study(description=None), "structure", "ImagingStudy.description"),
        (study(modality=[{"id": "a"}]), "structure", "ImagingStudy.modality[0]"),
        # formats
        (study(started="2026-02-29"), "value", "ImagingStudy.started"),
        (study(started="2026-11-24T10:00:00"), "value", "ImagingStudy.started"),
        (study(id="a/b"), "value", "ImagingStudy.id"),
        (study(numberOfSeries=-1), "value", "ImagingStudy.numberOfSeries"),
        (study(series=[{"uid": "1 2", "modality": CT}]), "value", "ImagingStudy.series[0].uid"),
        (study(meta={"lastUpdated": "2026-11-24"}), "value", "ImagingStudy.meta.lastUpdated"),
        (study(description="a\x00b"), "value", "ImagingStudy.description"),
        # choices
        (
            request(quantityQuantity={"value": 1}, quantityRange={"low": {"value": 1}}),
            "structure",
            "ServiceRequest.quantity",
        ),
        (request(occurrenceString="x"), "structure", "ServiceRequest.occurrenceString"),
        (request(occurrenceDateTime="soon"), "value", "ServiceRequest.occurrence"),
        (
            {
                "resourceType": "MedicationRequest",
                "status": "draft",
                "intent": "order",
                "subject": {"reference": "Patient/1"},
            },
            "required",
            "MedicationRequest.medication",
        ),
        # bindings
        (study(status="done"), "code-invalid", "ImagingStudy.status"),
        (request(priority="high"), "code-invalid", "ServiceRequest.priority"),
        # references
        (study(subject={"reference": "Practitioner/1"}), "value", "ImagingStudy.subject"),
        (
            study(subject={"reference": "https://x.example/fhir/Practitioner/1"}),
            "value",
            "ImagingStudy.subject",
        ),
        (
            study(subject={"reference": "Practitioner?identifier=1"}),
            "value",
            "ImagingStudy.subject",
        ),
        (
            study(subject={"type": "Practitioner", "display": "x"}),
            "value",
            "ImagingStudy.subject.type",
        ),
        (
            study(basedOn=[{"reference": "ServiceRequest/1"}, {"reference": "Patient/1"}]),
            "value",
            "ImagingStudy.basedOn[1]",
        ),
        (study(subject={"reference": "#p"}), "invariant", "ImagingStudy.subject"),
        # extensions
        (study(extension=[{"valueCode": "x"}]), "required", "ImagingStudy.extension[0].url"),
        (study(extension=[{"url": "http://x"}]), "invariant", "ImagingStudy.extension[0]"),
        (
            study(
                extension=[
                    {
                        "url": "http://x",
                        "valueCode": "x",
                        "extension": [{"url": "y", "valueCode": "z"}],
                    }
                ]
            ),
            "invariant",
            "ImagingStudy.extension[0]",
        ),
        (
            study(extension=[{"url": "http://x", "valueCode": "x", "valueString": "x"}]),
            "structure",
            "ImagingStudy.extension[0].value",
        ),
        (
            study(extension=[{"url": "http://x", "valuePatient": {}}]),
            "structure",
            "ImagingStudy.extension[0].valuePatient",
        ),
        # narrative
        (study(text={"status": "generated"}), "required", "ImagingStudy.text.div"),
        (study(text={"status": "generated", "div": "CT"}), "invariant", "ImagingStudy.text.div"),
    ],
)
def test_what_r4_forbids_is_told_with_its_place(
    resource: dict[str, Any], code: str, at: str
) -> None:
    assert (code, at) in told(resource)


@pytest.mark.parametrize(
    "resource",
    [
        study(),
        study(_status={"extension": [{"url": "http://x", "valueCode": "x"}]}),
        without(study(_status={"extension": [{"url": "http://x", "valueCode": "x"}]}), "status"),
        study(subject={"display": "somebody"}),
        study(subject={"reference": "urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9"}),
        study(subject={"reference": "Patient?identifier=urn:x|1"}),
        study(subject={"reference": "https://x.example/fhir/Patient/1/_history/2"}),
        study(subject={"type": "Patient", "identifier": {"value": "1"}}),
        study(extension=[{"url": "http://x", "extension": [{"url": "a", "valueDecimal": 1.10}]}]),
        study(series=[{"uid": "1.2", "modality": CT, "number": 0}]),
        request(occurrencePeriod={"start": "2026"}, quantityQuantity={"value": 1e3}),
        request(_occurrenceDateTime={"extension": [{"url": "http://x", "valueCode": "x"}]}),
    ],
)
def test_what_r4_allows_is_left_alone(resource: dict[str, Any]) -> None:
    assert check(resource) == []


@pytest.mark.parametrize(
    ("members", "places"),
    [
        (
            {
                "given": ["A", None],
                "_given": [None, {"extension": [{"url": "x", "valueCode": "y"}]}],
            },
            [],
        ),
        ({"given": ["A"], "_given": [{"id": "g1"}]}, []),
        ({"_given": [{"extension": [{"url": "x", "valueCode": "y"}]}]}, []),
        ({"given": ["A", None]}, ["given"]),
        ({"given": [None], "_given": [None]}, ["given[0]"]),
        ({"given": ["A"], "_given": [None, {"id": "g"}]}, ["given"]),
        ({"given": ["A", ""]}, ["given[1]"]),
        ({"given": ["A"], "_given": ["B"]}, ["given[0]"]),
        ({"given": ["A"], "_given": [{"x": 1}]}, ["given[0].x"]),
        ({"family": "A", "_family": {"id": "f"}}, []),
        ({"_family": {"id": "f"}}, ["family"]),
        ({"family": "A", "_family": {}}, ["family"]),
        ({"family": "A", "_family": None}, ["family"]),
        ({"family": "A", "_family": [{"id": "f"}]}, ["family"]),
        ({"family": "A", "_id": {"id": "f"}}, ["_id"]),
    ],
)
def test_siblings_stand_beside_their_primitives(members: dict[str, Any], places: list[str]) -> None:
    patient = {"resourceType": "Patient", "name": [members]}

    assert [at for _, at in told(patient)] == [f"Patient.name[0].{place}" for place in places]


def contained(**members: Any) -> dict[str, Any]:
    patient = {"resourceType": "Patient", "id": "p", "active": True, **members}
    return study(subject={"reference": "#p"}, contained=[patient])


@pytest.mark.standard("FHIR References contained")
@pytest.mark.parametrize(
    ("resource", "text"),
    [
        (contained(), ""),
        (contained(resourceType="Practitioner"), "A reference to Practitioner"),
        (contained(resourceType="Ghost"), "There is no such resource type"),
        (contained(colour="x"), "There is no such element"),
        (contained(meta={"versionId": "1"}), "dom-4"),
        (contained(meta={"lastUpdated": "2026-11-24T10:00:00Z"}), "dom-4"),
        (contained(meta={"security": [CT]}), "dom-5"),
        (contained(contained=[{"resourceType": "Patient", "id": "q"}]), "dom-2"),
        (study(contained=[{"resourceType": "Patient", "id": "p"}]), "dom-3"),
        (study(contained=[{"resourceType": "Patient"}]), "A contained resource has an id"),
        (study(contained={"resourceType": "Patient", "id": "p"}), "A list"),
        (study(contained=[{"id": "p"}]), "A resource says"),
        (study(contained=["p"]), "A resource is an object"),
    ],
)
def test_contained_resources_live_in_one_place_and_are_pointed_to(
    resource: dict[str, Any], text: str
) -> None:
    texts = [issue.text for issue in check(resource)]

    assert bool(texts) == bool(text)
    assert not text or any(each.startswith(text) for each in texts)


def test_a_contained_resource_may_point_to_the_one_around_it() -> None:
    order = request()
    order["contained"] = [
        {
            "resourceType": "Provenance", "id": "x", "target": [{"reference": "#"}],
            "recorded": "2026-11-24T10:00:00Z", "agent": [{"who": {"display": "x"}}],
        }
    ]  # fmt: skip

    assert check(order) == []


def test_resources_in_a_bundle_are_checked_each_with_its_own_fragments() -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": contained()}, {"resource": study(subject={"reference": "#p"})}],
    }

    assert told(bundle) == [("invariant", "Bundle.entry[1].resource.subject")]


def test_a_bundle_may_hold_only_resources_of_known_types() -> None:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {}}]}

    assert told(bundle) == [("structure", "Bundle.entry[0].resource")]


@pytest.mark.parametrize("json", [{}, {"resourceType": "Ghost"}, {"resourceType": 5}])
def test_only_resources_of_known_types_are_resources(json: dict[str, Any]) -> None:
    assert len(check(json)) == 1


def test_places_are_told_from_where_the_resource_stands() -> None:
    issues = check(study(status="done"), at="Bundle.entry[3].resource")

    assert [issue.at for issue in issues] == ["Bundle.entry[3].resource.status"]


def test_an_invalid_resource_is_refused_with_all_that_is_wrong() -> None:
    content = made(study(status="done", colour="red"))

    with pytest.raises(Invalid) as refused:
        require_valid(content)

    assert {issue.at for issue in refused.value.issues} == {
        "ImagingStudy.status",
        "ImagingStudy.colour",
    }


def test_values_never_appear_in_what_is_told() -> None:
    secret = study(description=["SECRET"], status="SECRET", started="SECRET", SECRET_="x")
    secret["subject"] = {"reference": "Practitioner/SECRET"}

    assert not [issue for issue in check(secret) if "SECRET" in issue.text]


def test_nesting_without_end_is_told_and_not_followed() -> None:
    extension: dict[str, Any] = {"url": "x", "valueCode": "y"}
    for _ in range(20_000):
        extension = {"url": "x", "extension": [extension]}

    assert [issue.code for issue in check(study(extension=[extension]))] == ["too-costly"]


def test_a_thousand_mistakes_are_told_as_a_hundred() -> None:
    assert len(check(study(series=["x"] * 1000))) == 100


@pytest.mark.standard("FHIR R4 examples")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_official_examples_are_valid(name: str) -> None:
    assert check(read(EXAMPLES[name])) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_second_opinion_accepts_the_official_examples(name: str) -> None:
    content = read(EXAMPLES[name])

    assert model(content.type).model_validate(content.json) is not None


STRICTER_THAN_THE_MODELS = (
    ("structure", "A resource is an object."),  # a model of Bundle takes a string for one
    # (code, how the text begins): why the models accept it
    ("code-invalid", ""),                                # they check no binding
    ("invariant", ""),                                   # nor invariants, nor what a narrative does
    ("value", "A reference to"),                         # nor some reference targets
    ("structure", "A list with at least one item"),      # they drop [] and null
    ("structure", "An object is expected"),              # they drop null
    ("structure", "A null stands only beside"),
    ("structure", "A value is not empty"),               # they drop ""
    ("structure", "ele-1"),                              # they accept an element of nothing
    ("structure", "A resource says its resourceType"),   # {} is dropped
    ("structure", "Not the JSON of a"),                  # null is dropped, 1 is true, 1.5 a time
    ("required", "A contained resource has an id"),
)  # fmt: skip
"""Known differences between the walk and fhir.resources; there is none the other way round."""

ODD_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [1, 1.5, -1, True, "x", "", None, [], {}, ["x"], [None], [[]], {"a": 1}, "2026-02-30"]
)


@st.composite
def mutants(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an official example with one member dropped, added, wrapped or of another value."""
    name = draw(st.sampled_from([name for name, raw in EXAMPLES.items() if len(raw) < 6000]))
    resource: dict[str, Any] = json.loads(EXAMPLES[name])
    place = draw(st.sampled_from(list(objects(resource))))
    member = draw(st.sampled_from([name for name in place if name != "resourceType"]))
    match draw(st.sampled_from(["drop", "add", "replace", "wrap"])):
        case "drop":
            del place[member]
        case "add":
            place["unheardOf"] = draw(ODD_VALUES)
        case "replace":
            place[member] = draw(ODD_VALUES)
        case "wrap":
            place[member] = place[member][0] if isinstance(place[member], list) else [place[member]]
    return resource


def objects(json: Any) -> list[dict[str, Any]]:
    """List every object in the tree that has a member but its type."""
    children = json.values() if isinstance(json, dict) else json if isinstance(json, list) else ()
    below = [each for child in children for each in objects(child)]
    return [json, *below] if isinstance(json, dict) and set(json) - {"resourceType"} else below


@settings(max_examples=400, deadline=None)
@given(mutants())
def test_the_walk_refuses_whatever_the_models_refuse(mutant: dict[str, Any]) -> None:
    issues = check(mutant)

    if not issues:
        assert is_accepted(mutant)
    elif is_accepted(mutant):
        assert [
            issue for issue in issues
            if not any(issue.code == code and issue.text.startswith(text)
                       for code, text in STRICTER_THAN_THE_MODELS)
        ] == []  # fmt: skip


@st.composite
def chimeras(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an official example into which a part of another one has been put."""
    short = [name for name, raw in EXAMPLES.items() if len(raw) < 3000]
    resource: dict[str, Any] = json.loads(EXAMPLES[draw(st.sampled_from(short))])
    donor: dict[str, Any] = json.loads(EXAMPLES[draw(st.sampled_from(short))])
    part = draw(st.sampled_from(objects(donor)))
    place = draw(st.sampled_from(objects(resource)))
    member = draw(st.sampled_from([name for name in place if name != "resourceType"]))
    graft: Any = draw(st.sampled_from([part, [part], *part.values()]))
    place[draw(st.sampled_from([member, f"_{member}", "contained", "extension"]))] = graft
    return resource


@settings(max_examples=300, deadline=None)
@given(chimeras())
def test_nothing_makes_the_walk_stumble(chimera: dict[str, Any]) -> None:
    assert all(issue.code and issue.text and issue.at for issue in check(chimera))


def is_accepted(resource: dict[str, Any]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model(resource["resourceType"]).model_validate(copy.deepcopy(resource))
        except (ValueError, TypeError, KeyError, AttributeError, LookupError):
            return False
    return True


def test_the_types_are_those_of_r4_that_the_models_know() -> None:
    assert {"ImagingStudy", "ServiceRequest", "Task", "Bundle", "Parameters"} <= TYPES
    assert not TYPES & {"Resource", "DomainResource", "MedicinalProduct", "SubscriptionTopic"}
    assert len(TYPES) == 128


@pytest.mark.parametrize("name", ["ImagingStudy", "Task", "ServiceRequest", "HumanName", "Bundle"])
def test_the_models_are_those_of_r4b(name: str) -> None:
    assert model(name).__module__.startswith("fhir.resources.R4B.")


def test_there_is_no_model_of_another_release() -> None:
    with pytest.raises(KeyError):
        model("SubscriptionTopic")


def test_content_and_its_json_are_checked_alike() -> None:
    resource = study(status="done")

    assert check(Content("ImagingStudy", resource, b"")) == check(resource)

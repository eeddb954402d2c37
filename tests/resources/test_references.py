"""References are parsed, found and rewritten without touching anything else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.content import read
from resources.references import Reference, find, parse, rewrite

BASE = "https://isocentre.example/fhir/R4"
A = {"reference": "Patient/1"}
URN = "urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9"


@pytest.mark.standard("FHIR References literal")
@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("Patient/1", Reference("Patient", "1")),
        ("ImagingStudy/a.B-9/_history/4", Reference("ImagingStudy", "a.B-9", 4)),
        (f"{BASE}/Patient/1", Reference("Patient", "1")),
        (f"{BASE}/Patient/1/_history/2", Reference("Patient", "1", 2)),
        ("https://other.example/x/Patient/1", Reference("Patient", "1", None, "https://other.example/x")),
        ("Patient/1/_history/abc", Reference("Patient", "1", 0)),
        ("Patient/" + "x" * 64, Reference("Patient", "x" * 64)),
        ("Patient/" + "x" * 65, None),
        ("Patient", None),
        ("Patient/", None),
        ("Patient/1/", None),
        ("Patient/1/_history", None),
        ("Patient/a b", None),
        ("patient/1", None),
        ("Ghost/1", None),
        ("/Patient/1", None),
        ("Patient/1\n", None),
        ("Patient?identifier=urn:x|1", None),
        (f"{BASE}/Patient?identifier=1", None),
        ("#p1", None),
        (URN, None),
        ("", None),
    ],
)  # fmt: skip
def test_a_literal_reference_is_type_id_and_perhaps_a_version(
    literal: str, expected: Reference | None
) -> None:
    assert parse(literal, BASE + "/") == expected


def test_every_literal_is_found_with_its_path() -> None:
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "subject": {"reference": "Patient/1"},
        "basedOn": [{"reference": "ServiceRequest/1"}, {"identifier": {"value": "x"}}],
        "media": [{"link": {"reference": "Media/2"}}],
        "extension": [{"url": "u", "valueReference": {"reference": "DiagnosticReport/0"}}],
        "performer": [
            {"reference": "Organization/3", "identifier": {"assigner": {"reference": URN}}}
        ],
        "contained": [{"resourceType": "Media", "subject": {"reference": "#x"}}],
    }

    assert sorted((path, literal) for path, literal, _ in find(report)) == [
        ("DiagnosticReport.basedOn[0]", "ServiceRequest/1"),
        ("DiagnosticReport.contained[0].subject", "#x"),
        ("DiagnosticReport.extension[0].value", "DiagnosticReport/0"),
        ("DiagnosticReport.media[0].link", "Media/2"),
        ("DiagnosticReport.performer[0]", "Organization/3"),
        ("DiagnosticReport.performer[0].identifier.assigner", URN),
        ("DiagnosticReport.subject", "Patient/1"),
    ]


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ({"resourceType": "Task", "input": [{"valueReference": A}]}, "Task.input[0].value"),
        (
            {"resourceType": "ImagingStudy", "procedureReference": A},
            "ImagingStudy.procedureReference",
        ),
        (
            {"resourceType": "ServiceRequest", "note": [{"authorReference": A}]},
            "ServiceRequest.note[0].author",
        ),
        (
            {
                "resourceType": "Task",
                "contained": [{"resourceType": "Task", "input": [{"valueReference": A}]}],
            },
            "Task.contained[0].input[0].value",
        ),
        (
            {"resourceType": "Task", "input": [{"valueSignature": {"who": A}}]},
            "Task.input[0].value.who",
        ),
        ({"resourceType": "Ghost", "x": [{"y": A}]}, "Ghost.x[0].y"),
        ({"resourceType": "Task", "ghost": {"x": A}}, "Task.ghost.x"),
    ],
)
def test_the_path_names_elements_as_fhirpath_does(resource: dict[str, Any], path: str) -> None:
    assert [found for found, _, _ in find(resource)] == [path]


def test_the_element_that_holds_the_literal_comes_along() -> None:
    report = {"resourceType": "Task", "focus": {"reference": "ImagingStudy/1", "display": "CT"}}

    assert [element["display"] for _, _, element in find(report)] == ["CT"]


def test_the_references_of_entries_are_not_those_of_the_bundle() -> None:
    task = {"resourceType": "Task", "focus": {"reference": "ImagingStudy/1"}}

    assert list(find({"resourceType": "Bundle", "entry": [{"resource": task}]})) == []


@pytest.mark.standard("FHIR http transaction")
def test_a_urn_is_rewritten_where_it_is_a_link_and_nowhere_else() -> None:
    sent = (
        '{"resourceType":"DiagnosticReport", "subject":{"reference" : "URN","display":"URN"},\n'
        '"identifier":[{"system":"urn:ietf:rfc:3986","value":"URN"}],'
        '"presentedForm":[{"url":"URN","title":"at \\"url\\":\\"URN\\""}],'
        '"text":{"status":"generated","div":"<div><a href=\\"URN\\">URN</a></div>"},'
        '"extension":[{"url":"http://x","valueUri":"URN"},{"url":"http://y","valueString":"URN"}],'
        '"conclusion":"\\u00e4 1.10"}'
    ).replace("URN", URN)
    expected = (
        sent.replace(f'"reference" : "{URN}"', '"reference" : "Patient/9"')
        .replace(f'"url":"{URN}"', '"url":"Patient/9"')
        .replace(f'href=\\"{URN}\\"', 'href=\\"Patient/9\\"')
        .replace(f'"valueUri":"{URN}"', '"valueUri":"Patient/9"')
    )

    after = rewrite(read(sent.encode()), {URN: "Patient/9"})

    assert after.text.decode() == expected
    assert after.json == json.loads(expected)


@pytest.mark.standard("FHIR http transaction conditional reference")
def test_a_conditional_reference_is_rewritten_with_or_without_escapes() -> None:
    sent = b'{"resourceType":"Task","focus":{"reference":"Patient?identifier=http:\\/\\/x|1"}}'

    after = rewrite(read(sent), {"Patient?identifier=http://x|1": "Patient/9"})

    assert after.json["focus"] == {"reference": "Patient/9"}


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=5))
def test_nothing_changes_when_nothing_is_mapped(members: dict[str, str]) -> None:
    content = read(json.dumps({**members, "resourceType": "Basic"}).encode())

    assert rewrite(content, {URN: "Patient/1"}) is content

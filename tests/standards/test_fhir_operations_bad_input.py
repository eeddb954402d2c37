"""Whatever an operation is asked, it answers, and never with a failure of ours."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = st.sampled_from([
    "resource", "mode", "profile", "url", "valueSet", "filter", "offset", "count", "code", "system",
    "coding", "codeableConcept", "codeA", "codeB", "_since", "_type", "_count", "_cursor", "start",
    "end", "_outputFormat", "x",
])  # fmt: skip
PATHS = st.sampled_from([
    "/Patient/$validate", "/Patient/nobody/$meta", "/Patient/nobody/$everything",
    "/ValueSet/$expand",
    "/ValueSet/$validate-code", "/CodeSystem/$lookup", "/CodeSystem/$validate-code",
    "/CodeSystem/$subsumes", "/$export", "/Patient/$export", "/Group/nobody/$export",
    "/ServiceRequest/nobody/$everything", "/_export/nobody", "/_export/a/b",
])  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from([
        "", "http://hl7.org/fhir/ValueSet/request-priority", "0", "-1", "99999999999999999999",
        "2026-02-30", "|", "create", "urn:x|1", "http://hl7.org/fhir/request-priority", "stat",
    ]),
    st.text(max_size=20),
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from([
                    "resourceType", "compose", "include", "system", "concept", "code", "filter",
                    "property", "op", "value", "valueSet", "coding", "status", "meta", "profile",
                ]),
                TEXTS,
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip
VALUES = st.sampled_from([
    "valueString", "valueCode", "valueUri", "valueCoding", "valueCodeableConcept", "valueInteger",
    "resource", "part",
])  # fmt: skip
OURS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def questions(draw: st.DrawFn) -> Any:
    rows = draw(st.lists(st.tuples(NAMES, VALUES, JSON), max_size=4))
    listed = [{"name": name, member: value} for name, member, value in rows]
    return draw(st.sampled_from([{"resourceType": "Parameters", "parameter": listed}, draw(JSON)]))


def answered(answer: httpx.Response) -> None:
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.standard("FHIR R4 operations")
@OURS
@given(path=PATHS, body=questions())
def test_any_body_is_answered(api: httpx.Client, path: str, body: Any) -> None:
    answered(api.post(path, content=json.dumps(body).encode()))


@pytest.mark.standard("FHIR R4 operations")
@OURS
@given(path=PATHS, pairs=st.lists(st.tuples(NAMES, TEXTS), max_size=4))
def test_any_query_is_answered(api: httpx.Client, path: str, pairs: list[tuple[str, str]]) -> None:
    answered(api.get(path, params=dict(pairs), headers={"Prefer": "respond-async"}))

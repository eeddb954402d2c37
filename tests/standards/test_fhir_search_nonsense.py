"""Searches that nobody would write: each is answered or refused, in time, and never fails."""

import time
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources import models

SEARCHED = ["Task", "ServiceRequest", "Patient", "ImagingStudy", "Observation", "List"]
CODES = [
    "status", "patient", "subject", "focus", "based-on", "owner", "code", "due", "priority-rank",
    "_id", "_lastUpdated", "identifier", "name", "family", "modality", "value-quantity", "wings",
    "_tag", "_profile", "combo-code-value-quantity", "part-of", "_list", "_type", "item",
]  # fmt: skip
MODIFIERS = [
    "",
    "",
    "",
    ":missing",
    ":not",
    ":Patient",
    ":Task",
    ":identifier",
    ":text",
    ":iterate",
]
VALUES = st.one_of(
    st.sampled_from(
        ["", ",", "ready", "Patient/1", "1", "true", "ge2026", "2026-13", "a|b", "|", "$", "-1",
         "*", "Task:focus", "Task:*", "ImagingStudy:*:Endpoint", "-_lastUpdated,_id", "0", "1001",
         "Task,Patient", "Unicorn", "5.4||mg", "\\", "%", "'", '"', "\u0130", "x" * 2000, "1e400"]
    ),
    st.text(max_size=8),
)  # fmt: skip

hops = st.builds(
    lambda code, modifier: f"{code}{modifier}.", st.sampled_from(CODES), st.sampled_from(MODIFIERS)
)
backs = st.builds(
    lambda type, code: f"_has:{type}:{code}:", st.sampled_from(SEARCHED), st.sampled_from(CODES)
)
leaves = st.builds(
    lambda code, modifier: code + modifier, st.sampled_from(CODES), st.sampled_from(MODIFIERS)
)
chains = st.builds(
    lambda steps, leaf: "".join(steps) + leaf,
    st.lists(st.one_of(hops, backs), max_size=6),
    leaves,
)
results = st.sampled_from(
    ["_sort", "_count", "_include", "_include:iterate", "_revinclude", "_revinclude:iterate",
     "_total", "_summary", "_elements", "_cursor", "_contained", "_filter", "_has", "_format"]
)  # fmt: skip
places = st.sampled_from(
    ["/", *(f"/{type}" for type in SEARCHED), "/Patient/1/*", "/Patient/1/Task",
     "/Encounter/1/Observation", "/Device/1/*", "/RelatedPerson/x/Observation"]
)  # fmt: skip


@pytest.mark.standard("FHIR R4 search, Handling Errors")
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(places, st.lists(st.tuples(st.one_of(chains, results), VALUES), max_size=4), st.booleans())
def test_any_search_is_answered_or_refused(
    api: httpx.Client, place: str, asked: list[tuple[str, str]], strict: bool
) -> None:
    headers = {"Prefer": "handling=strict"} if strict else {}
    began = time.monotonic()

    answer = api.get(f"{place}?{urlencode(asked)}", headers=headers)

    assert time.monotonic() - began < 5
    assert answer.status_code in {200, 400, 403, 404, 406}, answer.text
    body = answer.json()
    if answer.status_code == 200:
        assert body["type"] == "searchset"
        assert body["link"][0]["relation"] == "self"
        outcomes = [e for e in body.get("entry", []) if e["search"]["mode"] == "outcome"]
        assert not (strict and outcomes)
        models.model("Bundle").model_validate_json(answer.content)
    else:
        assert body["resourceType"] == "OperationOutcome"

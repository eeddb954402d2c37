"""Whatever patch, condition or Bundle is sent: answered, never a failure of the server."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import a_patient
from tests.standards.asking import Json, put
from tests.standards.test_fhir_http_bad_input import VALUES, answered, quick, written

pytestmark = pytest.mark.standard("FHIR http status codes")

PATHS = st.lists(
    st.sampled_from(
        [
            "/",
            "name",
            "0",
            "-",
            "given",
            "meta",
            "id",
            "text",
            "~1",
            "~",
            "extension",
            "_given",
            "é",
        ]
    ),
    max_size=5,
).map("".join)
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | VALUES,
        "path": PATHS | VALUES,
        "from": PATHS | VALUES,
        "value": VALUES,
    },
)
FHIRPATHS = st.lists(
    st.sampled_from(
        ["Patient", ".", "name", "given", "[0]", "extension", "('x')", "where(", "use = 'official'",
         ")", "value", "contained", "id", "meta", "text", "div", "exists()", "first()", "%"]
    ),
    max_size=8,
).map("".join)  # fmt: skip
PARTS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["type", "path", "name", "value", "index", "source"])},
        optional={
            "valueCode": st.sampled_from(["add", "insert", "delete", "replace", "move"]),
            "valueString": FHIRPATHS,
            "valueInteger": st.integers(-3, 3),
            "valueHumanName": st.just({"family": "x"}),
            "part": st.just([{"name": "url", "valueUri": "x"}]),
        },
    ),
    max_size=6,
)
CONDITIONS = st.lists(
    st.sampled_from(
        ["identifier", "name", "_id", "_has", "=", "|", ",", "&", ":", "missing", "true", "%00",
         "?", "Patient", "_lastUpdated", "gt2026", "_sort", "\\", "organization.name", "%ff", "*"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


@pytest.fixture(scope="session")
def address(api: httpx.Client) -> str:
    """A Patient to be patched."""
    put(api, a_patient("bad-changes", name=[{"given": ["a", "b"]}]))
    return "/Patient/bad-changes"


@quick
@given(operations=st.lists(OPERATIONS, max_size=3) | VALUES)
def test_any_json_patch(api: httpx.Client, address: str, operations: Any) -> None:
    headers = {"Content-Type": "application/json-patch+json"}

    answered(api.patch(address, content=written(operations), headers=headers))


@quick
@given(parts=PARTS, path=FHIRPATHS)
def test_any_fhirpath_patch(api: httpx.Client, address: str, parts: list[Json], path: str) -> None:
    parts = [*parts, {"name": "path", "valueString": path or "x"}]
    patch = {
        "resourceType": "Parameters",
        "parameter": [{"name": "operation", "part": parts}],
    }

    answered(api.patch(address, content=written(patch)))


@quick
@given(condition=CONDITIONS, method=st.sampled_from(["PUT", "PATCH", "DELETE", "POST"]))
def test_any_condition(api: httpx.Client, condition: str, method: str) -> None:
    resource = {"resourceType": "Basic", "code": {"text": "x"}}
    if method == "POST":
        header = {"If-None-Exist": condition}
        answered(api.post("/Basic", json=resource, headers=header))
    else:
        answered(api.request(method, f"/Basic?{condition}", json=resource))


@quick
@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
            st.sampled_from(["Basic", "Basic/bad", "Basic/bad/_history", "Basic?code=x", "",
                             "_history", "Basic/bad/_history/1", "Basic?", "Provenance/1",
                             "Basic?_id=bad"]),
            st.sampled_from(["Basic", "Binary", "Parameters", ""]),
            st.dictionaries(
                st.sampled_from(["ifMatch", "ifNoneExist", "ifNoneMatch", "ifModifiedSince"]),
                st.sampled_from(['W/"1"', "code=x", "2026-11-24T00:00:00Z", "x"]),
                max_size=2,
            ),
        ),
        max_size=4,
    ),
    kind=st.sampled_from(["batch", "transaction"]),
)  # fmt: skip
def test_any_bundle_of_changes(
    api: httpx.Client, requests: list[tuple[str, str, str, Json]], kind: str
) -> None:
    resources = {
        "Basic": {"resourceType": "Basic", "id": "bad", "code": {"text": "x"}},
        "Binary": {"resourceType": "Binary", "contentType": "application/json-patch+json"},
        "Parameters": {"resourceType": "Parameters"},
    }
    entries = [
        {
            "request": {"method": method, "url": url, **conditions},
            **({"resource": resources[resource]} if resource else {}),
        }
        for method, url, resource, conditions in requests
    ]

    answer = api.post("", json={"resourceType": "Bundle", "type": kind, "entry": entries})

    answered(answer)
    if answer.status_code == 200:
        statuses = [each["response"]["status"] for each in answer.json().get("entry", [])]
        assert not [each for each in statuses if each.startswith("500")]


@pytest.mark.parametrize("query", ["_since", "_at", "_cursor", "_count", "_summary", "_elements"])
@quick
@given(value=st.text(max_size=12) | st.sampled_from(["2026", "9999-12-31", "0001", "1.1.1"]))
def test_any_cut_of_a_history(api: httpx.Client, query: str, value: str) -> None:
    value = quote(value.encode("utf-8", "surrogatepass"))

    answered(api.get(f"/Basic/_history?_count=1&{query}={value}"))

"""What the tests of FHIR http have in common: storing, and looking at what was refused."""

from typing import Any

import httpx

Json = dict[str, Any]


def stored(api: httpx.Client, resource: Json) -> Json:
    """Create a resource, and give it as it is stored."""
    answer = api.post(f"/{resource['resourceType']}", json=resource)
    assert answer.status_code == 201, answer.text
    created: Json = answer.json()
    return created


def put(api: httpx.Client, resource: Json) -> Json:
    """Store a resource under its id, and give it as it is stored."""
    answer = api.put(f"/{resource['resourceType']}/{resource['id']}", json=resource)
    assert answer.status_code in {200, 201}, answer.text
    written: Json = answer.json()
    return written


def refused(answer: httpx.Response, status: int, code: str = "", expression: str = "") -> Json:
    """Check that an answer is an OperationOutcome of this kind, and give its first issue."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/fhir+json")
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert "Traceback" not in answer.text
    issue: Json = outcome["issue"][0]
    assert issue["severity"] in {"error", "fatal"}
    assert issue["details"]["text"]
    if code:
        assert issue["code"] == code, answer.text
    if expression:
        assert issue["expression"] == [expression], answer.text
    return issue

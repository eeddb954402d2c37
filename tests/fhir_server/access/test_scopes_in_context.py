"""A scope that grants some resources grants no others, whichever patient is in context."""

import pytest

from tests.server import Server


@pytest.mark.standard("SMART App Launch 2.2 finer-grained scopes")
def test_a_scope_for_some_holds_in_the_context_of_another(server: Server) -> None:
    api = server.client()
    for patient in ("p1", "p2"):
        api.put(f"/Patient/{patient}", json={"resourceType": "Patient", "id": patient})
    flag = {"resourceType": "Flag", "status": "inactive", "code": {"text": "x"}}
    id = api.post("/Flag", json={**flag, "subject": {"reference": "Patient/p2"}}).json()["id"]

    some = server.client(scope="user/Flag.rs?status=active", patient="p1")
    assert some.get(f"/Flag/{id}").status_code in (403, 404)

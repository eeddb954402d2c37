"""A search parameter that an administrator brings, on a server with several processes.

FHIR R4 SearchParameter; docs/adr/0024.
"""

import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest

from fhir_server.access.token import Keys, mint
from fhir_server.installation import read_back
from tests.flows.installation import Installation

COLOUR = "http://example.org/StructureDefinition/colour"
DEFINITION = {
    "resourceType": "SearchParameter", "url": "http://example.org/SearchParameter/colour",
    "name": "colour", "status": "active", "description": "A colour", "code": "colour",
    "base": ["Organization"], "type": "token",
    "expression": f"Organization.extension('{COLOUR}').value",
}  # fmt: skip


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    served = Installation(tmp_path_factory.mktemp("data"), "--http-workers", "2")
    served.start()
    yield served
    served.stop()


def administrator(installation: Installation) -> str:
    served = read_back(installation.data)
    assert served is not None
    return mint(
        Keys.load(installation.data), served.url, subject="Practitioner/admin", client="test",
        scope="user/*.cruds", organization="lead", role="administrator", patient=None,
        lifetime=3600,
    )  # fmt: skip


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def red(id: str) -> dict[str, object]:
    return {"resourceType": "Organization", "id": id, "name": "x",
            "extension": [{"url": COLOUR, "valueCode": "red"}]}  # fmt: skip


@pytest.mark.slow
@pytest.mark.standard("FHIR SearchParameter")
def test_every_process_learns_of_it_and_it_outlives_a_restart(installation: Installation) -> None:
    header = {"Authorization": f"Bearer {administrator(installation)}"}
    client = {"base_url": installation.base, "headers": header, "timeout": 30}
    before, later = uuid.uuid4().hex, uuid.uuid4().hex

    def found() -> set[str] | None:
        """Ask on a connection of its own, so that any process may answer."""
        with httpx.Client(**client) as fresh:  # type: ignore[arg-type]
            answer = fresh.get("/Organization?colour=red").json()
        if "colour" not in answer["link"][0]["url"]:
            return None
        return {each["resource"]["id"] for each in answer.get("entry", ())}

    def always(wanted: set[str] | None) -> bool:
        return all(found() == wanted for _ in range(8))

    with httpx.Client(**client) as api:  # type: ignore[arg-type]
        assert api.put(f"/Organization/{before}", json=red(before)).status_code == 201
        defined = api.post("/SearchParameter", json=DEFINITION)
        assert (defined.status_code, defined.json()["status"]) == (201, "draft"), defined.text
        address = f"/SearchParameter/{defined.json()['id']}"
        assert api.put(f"/Organization/{later}", json=red(later)).status_code == 201
        eventually(lambda: api.get(address).json()["status"] == "active")
        eventually(lambda: always({before, later}))

    installation.stop()
    installation.start()
    assert always({before, later})
    with httpx.Client(**client) as api:  # type: ignore[arg-type]
        assert api.delete(address).status_code == 204
    eventually(lambda: always(None))
    assert "Traceback" not in installation.log()

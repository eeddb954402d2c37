"""The door of DICOMweb: whatever an address holds, the answer is a problem and never a fault."""

import pytest

from tests.dicom_bridge.dicomweb.conftest import Service

pytestmark = pytest.mark.anyio


@pytest.mark.standard("PS3.18 8.5 status codes")
@pytest.mark.parametrize(
    "address",
    [
        "/studies/%00",
        "/studies/1.2.3/metadata/%00",
        "/studies/1/bulk/2/%00",
        "/studies/%ff%fe",
        "/studies/..%2f..%2fetc",
        "/%00",
    ],
)
async def test_an_address_that_no_text_can_hold_is_refused_and_audited(
    service: Service, address: str
) -> None:
    answer = await service.client().get(address)

    assert answer.status_code in {400, 404}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    rows = await service.bridge.database.run("select detail from audit order by n desc limit 1")
    assert rows[0][0] in {"Invalid", "NotFound"}


@pytest.mark.standard("RFC 9110 15.5.6")
@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("DELETE", "/studies", {"GET", "HEAD", "POST"}),
        ("PUT", "/studies/1.2.3", {"GET", "HEAD", "POST"}),
        ("POST", "/studies/1.2.3/metadata", {"GET", "HEAD"}),
        ("PROPFIND", "/series", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_a_problem_that_names_the_ones_there_are(
    service: Service, method: str, address: str, allowed: set[str]
) -> None:
    answer = await service.client().request(method, address)

    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_there_is_nothing_elsewhere_whatever_the_method(
    service: Service, method: str
) -> None:
    answer = await service.client().request(method, "/nowhere")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"

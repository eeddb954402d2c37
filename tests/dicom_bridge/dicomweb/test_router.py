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

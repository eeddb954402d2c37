"""Who is answered at /metrics."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from fhir_server import scraping

pytestmark = [pytest.mark.anyio, pytest.mark.standard("RFC 6750")]
SHOWN = {"Authorization": "Bearer s3cret"}


async def asked(tmp_path: Path, token: str = "", host: str = "127.0.0.1", **headers: str) -> int:
    application = Starlette(routes=[scraping.route(tmp_path, token)])
    transport = httpx.ASGITransport(application, client=(host, 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await client.get("/metrics", headers=named)
    assert ("isocentre" in answer.text) is (answer.status_code == 200)
    return answer.status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.8.0.1"])
async def test_this_machine_is_answered_where_no_token_is_set(tmp_path: Path, host: str) -> None:
    assert await asked(tmp_path, host=host) == 200


@pytest.mark.parametrize("host", ["10.1.2.3", "2001:db8::1", "203.0.113.5", "testclient"])
async def test_another_machine_is_not(tmp_path: Path, host: str) -> None:
    assert await asked(tmp_path, host=host) == 403
    assert await asked(tmp_path, host=host, **SHOWN) == 403


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X_Forwarded_For", "X_Real_IP"])
async def test_nor_is_what_a_proxy_on_this_machine_passes_on(tmp_path: Path, name: str) -> None:
    assert await asked(tmp_path, **{name: "127.0.0.1"}) == 403


async def test_with_a_token_who_shows_it_is_answered_from_anywhere(tmp_path: Path) -> None:
    assert await asked(tmp_path, "s3cret", "10.1.2.3", **SHOWN) == 200
    assert await asked(tmp_path, "s3cret", **SHOWN, Via="1.1 proxy") == 200


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer s3cre", "Bearer s3crets", "Basic s3cret", "s3cret"]
)
async def test_with_a_token_nobody_else_is_not_even_this_machine(
    tmp_path: Path, shown: str
) -> None:
    headers = {"Authorization": shown} if shown else {}

    assert await asked(tmp_path, "s3cret", **headers) == 401

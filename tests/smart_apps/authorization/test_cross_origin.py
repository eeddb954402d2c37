"""Fetch Standard and SMART: pages of registered clients may ask, others may not read."""

import httpx
import pytest

from tests.smart_apps.authorization.browser import Site

REGISTERED = "http://127.0.0.1:18999"


@pytest.mark.standard("SMART smart_cors_token_exchange")
@pytest.mark.parametrize("path", ["/auth/token", "/auth/introspect", "/fhir/Patient/p1"])
def test_a_page_of_a_registered_client_may_ask(site: Site, path: str) -> None:
    asked = {
        "Origin": REGISTERED,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }

    preflight = httpx.options(f"{site.url}{path}", headers=asked)
    answer = httpx.get(f"{site.url}{path}", headers={"Origin": REGISTERED})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == REGISTERED
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert answer.headers["access-control-allow-origin"] == REGISTERED
    assert "location" in answer.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:18998", "x"])
@pytest.mark.parametrize("path", ["/auth/token", "/fhir/Patient/p1", "/dicom-web/studies"])
def test_a_page_of_anybody_else_may_not(site: Site, path: str, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}

    preflight = httpx.options(f"{site.url}{path}", headers=asked)
    answer = httpx.get(f"{site.url}{path}", headers={"Origin": origin})

    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in answer.headers


def test_no_page_of_anybody_reads_where_people_sign_in(site: Site) -> None:
    answer = httpx.get(f"{site.url}/auth/authorize", headers={"Origin": REGISTERED})

    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.standard("SMART smart_cors_metadata_request")
def test_anybody_reads_what_the_server_can_do(site: Site) -> None:
    answer = httpx.get(f"{site.base}/metadata", headers={"Origin": "https://any.example"})

    assert answer.headers["access-control-allow-origin"] == "*"

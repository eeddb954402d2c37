"""RFC 7591: an application asks to be registered, and can do nothing until it is approved."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from fhir_server.postgres.database import Database
from resources.errors import Invalid, NotFound
from smart_apps.authorization import registration
from tests.smart_apps.authorization.browser import REDIRECT, App, Site, authorized
from tests.smart_apps.authorization.conftest import EC, PASSWORD, serving
from tests.smart_apps.authorization.key_server import published
from tests.smart_apps.authorization.test_clients import ask, assertion

pytestmark = [pytest.mark.standard("RFC 7591"), pytest.mark.requirement("R014.1")]

WANTED: dict[str, Any] = {
    "client_name": "A <b>viewer</b>",
    "redirect_uris": [REDIRECT],
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
    "scope": "openid user/*.rs",
}
KEYED: dict[str, Any] = {
    "token_endpoint_auth_method": "private_key_jwt",
    "grant_types": ["client_credentials"],
    "jwks": {"keys": [EC.as_dict(private=False)]},
    "scope": "system/*.rs",
}


@pytest.fixture(scope="module")
def open_site(
    cluster: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("registration")
    with serving(
        cluster, template, folder, "registration", registration="approved", jwks_hosts="127.0.0.1"
    ) as site:
        yield site


def register(site: Site, wanted: Any) -> httpx.Response:
    found = httpx.get(f"{site.base}/.well-known/smart-configuration").json()
    return httpx.post(found["registration_endpoint"], json=wanted, timeout=30)


def administer(site: Site, work: Callable[[Database], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        database = Database(site.database_url, size=1)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def test_nobody_registers_where_it_is_not_allowed(site: Site) -> None:
    for address in ("/fhir/.well-known/smart-configuration", "/.well-known/openid-configuration"):
        assert "registration_endpoint" not in httpx.get(f"{site.url}{address}").json()

    assert httpx.post(f"{site.url}/auth/register", json=WANTED).status_code == 404


@pytest.mark.standard("RFC 7591 3.2.1")
def test_an_app_is_told_its_id_and_works_when_it_is_approved_and_not_before(
    open_site: Site,
) -> None:
    answer = register(open_site, WANTED)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["redirect_uris"] == [REDIRECT]
    assert "client_secret" not in told
    app = App(open_site, told["client_id"])
    asked = app.request("user/Patient.rs")
    before = httpx.get(f"{open_site.url}/auth/authorize", params=asked)
    assert (before.status_code, "location" in before.headers) == (400, False)

    administer(open_site, lambda each: registration.approve(each, told["client_id"], "lead"))

    code = authorized(app, "user/Patient.rs", "one", PASSWORD)["code"]
    token = app.token(code).json()["access_token"]
    assert open_site.get("Patient/p1", token).status_code == 200


def test_a_backend_asks_for_nothing_until_it_is_approved(open_site: Site) -> None:
    id = register(open_site, KEYED).json()["client_id"]

    before = ask(open_site, assertion(open_site, id))
    administer(open_site, lambda each: registration.approve(each, id, "lead", "system/Patient.rs"))
    after = ask(open_site, assertion(open_site, id), "system/Patient.rs system/Task.rs")

    assert before.json()["error"] == "invalid_client"
    assert after.json()["scope"] == "system/Patient.rs"


def test_a_confidential_client_is_told_its_secret_once(open_site: Site) -> None:
    wanted = {**WANTED, "token_endpoint_auth_method": "client_secret_basic"}

    told = register(open_site, wanted).json()

    assert len(told["client_secret"]) >= 32
    assert told["client_secret_expires_at"] == 0
    with psycopg.connect(open_site.database_url) as connection:
        kept = str(connection.execute("select r::text from registration as r").fetchall())
    assert told["client_secret"] not in kept
    assert told["client_id"] in kept


@pytest.mark.standard("RFC 7591 3.2.2")
@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ([], "invalid_client_metadata"),
        ({}, "invalid_client_metadata"),
        ({**WANTED, "scope": "all"}, "invalid_client_metadata"),
        ({**WANTED, "scope": ""}, "invalid_client_metadata"),
        ({**WANTED, "client_name": "x" * 500}, "invalid_client_metadata"),
        ({**WANTED, "client_name": ["x"]}, "invalid_client_metadata"),
        ({**WANTED, "grant_types": ["password"]}, "invalid_client_metadata"),
        ({**WANTED, "grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({**WANTED, "response_types": ["token"]}, "invalid_client_metadata"),
        ({**WANTED, "token_endpoint_auth_method": "plain"}, "invalid_client_metadata"),
        ({**WANTED, "token_endpoint_auth_method": {}}, "invalid_client_metadata"),
        ({**WANTED, "redirect_uris": []}, "invalid_redirect_uri"),
        ({**WANTED, "redirect_uris": "x"}, "invalid_redirect_uri"),
        ({**WANTED, "redirect_uris": ["http://evil.example/cb"]}, "invalid_redirect_uri"),
        ({**WANTED, "redirect_uris": ["https://a.example/#f"]}, "invalid_redirect_uri"),
        ({**WANTED, "redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({**WANTED, "redirect_uris": ["https://a.example/cb", "\0"]}, "invalid_redirect_uri"),
        ({**WANTED, "software_statement": "x.y.z"}, "unapproved_software_statement"),
        ({**KEYED, "jwks": {"keys": []}}, "invalid_client_metadata"),
        ({**KEYED, "jwks": {"keys": [EC.as_dict(private=True)]}}, "invalid_client_metadata"),
        ({**KEYED, "jwks": None}, "invalid_client_metadata"),
        ({**KEYED, "jwks_uri": "https://app.example/jwks"}, "invalid_client_metadata"),
        ({**KEYED, "jwks": None, "jwks_uri": ["https://a.example"]}, "invalid_client_metadata"),
        ({**KEYED, "jwks": None, "jwks_uri": "file:///etc/keys"}, "invalid_client_metadata"),
        ({**KEYED, "jwks": None, "jwks_uri": "https://u:p@a.example"}, "invalid_client_metadata"),
        ({**WANTED, "jwks_uri": "https://app.example/jwks"}, "invalid_client_metadata"),
        ({**KEYED, "token_endpoint_auth_method": "none"}, "invalid_client_metadata"),
    ],
)
def test_metadata_that_no_client_can_have_is_refused(
    open_site: Site, wanted: Any, error: str
) -> None:
    answer = register(open_site, wanted)

    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_what_is_no_json_or_too_long_is_refused(open_site: Site) -> None:
    address = f"{open_site.url}/auth/register"

    assert httpx.post(address, content=b"{" * 50_000, timeout=30).status_code == 400
    assert httpx.post(address, content=b" " * 100_000, timeout=30).status_code == 413


@pytest.mark.standard("threats T9")
def test_an_address_of_keys_is_kept_and_nobody_asks_it_before_it_is_approved(
    open_site: Site,
) -> None:
    with published() as there:
        there.publishes(EC)
        wanted = {name: value for name, value in KEYED.items() if name != "jwks"}

        told = register(open_site, {**wanted, "jwks_uri": there.url}).json()

        assert told["jwks_uri"] == there.url
        id = told["client_id"]
        refused = ask(open_site, assertion(open_site, id), "system/Patient.rs")
        assert refused.json()["error"] == "invalid_client"
        assert there.asked == []
        administer(open_site, lambda database: registration.approve(database, id, "lead"))
        answer = ask(open_site, assertion(open_site, id), "system/Patient.rs")
        assert answer.status_code == 200, answer.text
        assert len(there.asked) == 1


def test_an_administrator_gives_no_more_than_was_asked_for_and_may_refuse(
    open_site: Site,
) -> None:
    id = register(open_site, WANTED).json()["client_id"]

    async def look(database: Database) -> list[str]:
        with pytest.raises(Invalid):
            await registration.approve(database, id, "lead", "user/*.cruds")
        await registration.refuse(database, id)
        with pytest.raises(NotFound):
            await registration.approve(database, id, "lead")
        return [each.id for each in await registration.waiting(database)]

    assert id not in administer(open_site, look)


def test_asking_and_being_refused_are_audited(open_site: Site) -> None:
    id = register(open_site, WANTED).json()["client_id"]
    register(open_site, {})

    with psycopg.connect(open_site.database_url) as connection:
        rows = connection.execute("select outcome, detail from audit").fetchall()

    assert (0, f"registration asked for {id}") in rows
    assert (4, "registration refused") in rows


def test_only_so_many_wait(open_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = registration.KEEP.replace(str(registration.MOST_WAITING), "0")
    monkeypatch.setattr(registration, "KEEP", keep)

    answer = register(open_site, WANTED)

    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")

"""A client that is disabled can do nothing on any path, and what it had does not come back."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from anyio import to_thread
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fhir_server.core import Core
from smart_apps import clients, registry
from smart_apps.clients import Client
from tests.smart_apps.authorization.browser import (
    REDIRECT,
    App,
    Site,
    authorized,
    follow,
    returned,
    submit,
)
from tests.smart_apps.authorization.conftest import PASSWORD, USER_SCOPES
from tests.smart_apps.authorization.test_clients import ask, assertion
from tests.subscriptions.wanting import subscription

pytestmark = [pytest.mark.standard("threats T7"), pytest.mark.requirement("R014.1")]

SCOPE = "openid fhirUser user/*.cruds offline_access"


def changed(site: Site, *changes: Callable[..., Any]) -> None:
    """Do something to the registry, as a command does."""

    async def run() -> None:
        core = Core.of(site.settings, site.database_url)
        await core.database.open()
        try:
            async with core.database.transaction() as change:
                for each in changes:
                    await each(change)
        finally:
            await core.database.close()

    asyncio.run(run())


def disable(site: Site, id: str) -> None:
    changed(site, lambda change: registry.disable(change, id))


def enable(site: Site, id: str) -> None:
    changed(site, lambda change: registry.enable(change, id))


@pytest.fixture
def app(site: Site) -> Iterator[str]:
    """The id of a client of this test alone."""
    id = f"d-{secrets.token_hex(8)}"
    launch = "http://127.0.0.1:18999/launch"
    one = Client(id, "public", USER_SCOPES, "lead", (REDIRECT,), launch_url=launch)
    changed(site, lambda change: clients.add(change, one))
    yield id
    changed(site, lambda change: registry.remove(change, id))


def granted(site: Site, client: str) -> dict[str, Any]:
    app = App(site, client)
    token: dict[str, Any] = app.token(authorized(app, SCOPE, "one", PASSWORD)["code"]).json()
    return token


def refresh(site: Site, client: str, token: str) -> httpx.Response:
    return site.post(
        "/auth/token", grant_type="refresh_token", client_id=client, refresh_token=token
    )


def test_its_tokens_end_on_every_path_and_it_gets_no_others(site: Site, app: str) -> None:
    had, code = granted(site, app), App(site, app)
    came = authorized(code, SCOPE, "one", PASSWORD)["code"]
    access = had["access_token"]
    assert site.get("Task", access).status_code == 200  # and is remembered from now on

    disable(site, app)

    assert site.soon_refused("Task", access)
    bearer = {"Authorization": f"Bearer {access}"}
    for address in ("/dicom-web/studies", "/fhir/AuditEvent", "/fhir/Task/$meta"):
        assert httpx.get(f"{site.url}{address}", headers=bearer).status_code == 401
    launch = httpx.post(f"{site.url}/auth/launch", headers=bearer, json={"client": "app"})
    assert launch.status_code == 401
    assert refresh(site, app, had["refresh_token"]).json()["error"] == "invalid_client"
    assert code.token(came).json()["error"] == "invalid_client"
    asked = site.post("/auth/introspect", token=access, client_id="app", headers=bearer)
    assert asked.status_code == 401


def test_nobody_is_asked_on_its_behalf_or_sent_to_it(site: Site, app: str) -> None:
    disable(site, app)

    browser = site.browser()
    page = follow(browser, browser.get("/auth/authorize", params=App(site, app).request(SCOPE)))
    assert page.status_code == 400
    assert "Password" not in page.text
    other = {"Authorization": f"Bearer {granted(site, 'app')['access_token']}"}
    launched = httpx.post(f"{site.url}/auth/launch", headers=other, json={"client": app})
    assert launched.status_code == 400


def test_what_it_had_does_not_come_back_and_people_are_asked_anew(site: Site, app: str) -> None:
    had, code = granted(site, app), App(site, app)
    came = authorized(code, SCOPE, "one", PASSWORD)["code"]
    disable(site, app)
    enable(site, app)

    assert site.soon_refused("Task", had["access_token"])
    assert refresh(site, app, had["refresh_token"]).json()["error"] == "invalid_grant"
    assert code.token(came).json()["error"] == "invalid_grant"
    browser = site.signed_in["one"]
    page = browser.get("/auth/authorize", params=App(site, app).request(SCOPE))
    assert "act for you" in page.text
    anew = granted(site, app)
    assert site.get("Task", anew["access_token"]).status_code == 200
    assert refresh(site, app, anew["refresh_token"]).status_code == 200


def test_a_backend_that_is_disabled_gets_nothing_for_itself(site: Site, app: str) -> None:
    backend = f"b-{app}"

    def of(database: Any) -> Any:
        async def add(change: Any) -> None:
            found = await clients.find(change, "backend")
            await clients.add(change, found._replace(id=backend, epoch=""))

        return add(database)

    changed(site, of)
    had = ask(site, assertion(site, backend)).json()["access_token"]
    assert site.get("Patient/p1", had).status_code == 200

    disable(site, backend)

    assert ask(site, assertion(site, backend)).json()["error"] == "invalid_client"
    assert site.soon_refused("Patient/p1", had)
    enable(site, backend)
    anew = ask(site, assertion(site, backend)).json()["access_token"]
    assert site.get("Patient/p1", anew).status_code == 200
    assert site.get("Patient/p1", had).status_code == 401
    changed(site, lambda change: registry.remove(change, backend))
    assert site.soon_refused("Patient/p1", anew)


def test_its_socket_is_closed(site: Site, app: str) -> None:
    bearer = {"Authorization": f"Bearer {granted(site, app)['access_token']}"}
    asked = subscription("Flag?status=active", channel="websocket")
    made = httpx.post(f"{site.base}/Subscription", headers=bearer, json=asked, timeout=30)
    assert made.status_code == 201, made.text
    bound = httpx.get(
        f"{site.base}/Subscription/{made.json()['id']}/$get-ws-binding-token", headers=bearer
    )
    told = {one["name"]: one for one in bound.json()["parameter"]}
    with connect(f"{site.base}/$subscriptions".replace("http:", "ws:")) as socket:
        socket.send(f"bind-with-token {told['token']['valueString']}")
        assert str(socket.recv(timeout=30)).startswith("bound ")

        disable(site, app)

        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_one_that_is_registered_by_the_same_id_again_is_another(site: Site, app: str) -> None:
    had = granted(site, app)["access_token"]
    changed(site, lambda change: registry.remove(change, app))
    again = Client(app, "public", USER_SCOPES, "lead", (REDIRECT,))
    changed(site, lambda change: registry.register(change, again))

    assert site.soon_refused("Task", had)
    assert site.get("Task", granted(site, app)["access_token"]).status_code == 200


def test_a_change_of_its_registration_does_not_enable_it(site: Site, app: str) -> None:
    disable(site, app)
    changed(
        site,
        lambda change: registry.change(change, Client(app, "public", SCOPE, "lead", (REDIRECT,))),
    )

    code = App(site, app).token("none")
    assert code.json()["error"] == "invalid_client"


def test_what_is_given_just_as_it_is_disabled_is_worth_nothing_ever(site: Site, app: str) -> None:
    backend = f"r-{app}"

    async def add(change: Any) -> None:
        found = await clients.find(change, "backend")
        await clients.add(change, found._replace(id=backend, epoch=""))

    changed(site, add)
    given: list[str] = []
    over = threading.Event()

    def asks() -> None:
        while not over.is_set():
            answer = ask(site, assertion(site, backend)).json()
            given.extend(filter(None, [answer.get("access_token")]))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(asks) for _ in range(4)]
        while len(given) < 8:
            assert not any(each.done() for each in asking)
            time.sleep(0.005)
        disable(site, backend)
        over.set()
    enable(site, backend)

    assert all(site.soon_refused("Patient/p1", token) for token in given)
    anew = ask(site, assertion(site, backend)).json()["access_token"]
    assert site.get("Patient/p1", anew).status_code == 200
    changed(site, lambda change: registry.remove(change, backend))


def waits_or_is_done(site: Site, task: Any) -> bool:
    """Whether the server has answered, or waits for somebody to finish with a client."""
    waiting = (
        "select from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
    )
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        for _ in range(6000):
            if task.done() or connection.execute(waiting).fetchall():
                return True
            time.sleep(0.01)
    return False


def test_what_is_allowed_just_as_its_scopes_change_is_not_given(site: Site, app: str) -> None:
    browser, code = site.signed_in.setdefault("one", site.browser()), App(site, app)
    authorized(App(site), SCOPE, "one", PASSWORD)
    page = follow(browser, browser.get("/auth/authorize", params=code.request(SCOPE)))
    narrower = Client(app, "public", "openid user/Patient.rs", "lead", (REDIRECT,))

    with ThreadPoolExecutor(1) as pool:

        async def allow(change: Any) -> None:
            await registry.change(change, narrower)  # which nobody sees until it is committed
            allowing.append(pool.submit(submit, browser, page, decision="allow"))
            assert await to_thread.run_sync(waits_or_is_done, site, allowing[0])

        allowing: list[Any] = []
        changed(site, allow)
        back = returned(allowing[0].result())

    assert back["error"] == "unauthorized_client"
    assert "code" not in back

"""A server with people who watch over it: at two organisations, one of them in two roles."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fhir_server import emergencies
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import EVERYTHING, parse
from fhir_server.context import RequestContext
from fhir_server.core import Core
from fhir_server.emergencies import Wish
from resources import content
from smart_apps import passwords, users
from smart_apps.users import User
from tests.build import a_role
from tests.smart_apps.authorization.browser import Forms, Site
from tests.smart_apps.authorization.conftest import PASSWORD, serving
from tests.subscriptions.wanting import subscription

PEOPLE = (
    ("boss", "lead", "administrator"),
    ("eye", "lead", "auditor"),
    ("safe", "lead", "safety-officer"),
    ("both", "lead", "administrator"),
    ("both", "other", "auditor"),
    ("far", "other", "administrator"),
    ("doctor", "lead", "reporter"),
)
"""Login, organisation, role."""


class Office:
    """A site, and the browsers of the people at it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.url = site.url
        self._browsers: dict[str, httpx.Client] = {}

    def browser(self, login: str) -> httpx.Client:
        """The browser of somebody who has signed in."""
        if login not in self._browsers:
            browser = self.site.browser()
            answer = sign_in(browser, login)
            assert answer.status_code == 303, answer.text
            self._browsers[login] = browser
        return self._browsers[login]

    def run(self, work: Any) -> Any:
        """Do something with the server's own parts, beside it."""

        async def done() -> Any:
            core = Core.of(self.site.settings, self.site.database_url)
            await core.database.open()
            try:
                return await work(core)
            finally:
                await core.database.close()

        return asyncio.run(done())

    @property
    def base(self) -> str:
        """The FHIR base."""
        return self.site.settings.fhir_base

    async def write(self, core: Core, json: dict[str, Any]) -> None:
        """Write a resource as the server."""
        async with core.store.begin(RequestContext(Principal.system("test"), "create")) as work:
            await work.create(content.made(json))

    def ledger(self, what: str) -> list[tuple[Any, ...]]:
        """Who did something on these pages, in order: subject, outcome, detail."""
        sql = "select subject, outcome, detail from audit where query = $1 order by instant, n"
        rows = self.run(lambda core: core.database.run(sql, (what,)))
        return [tuple(row) for row in rows]


def sign_in(browser: httpx.Client, login: str, password: str = PASSWORD) -> httpx.Response:
    page = browser.get("/admin/sign-in")
    return send(browser, page, {"login": login, "password": password})


def send(
    browser: httpx.Client, page: httpx.Response, fields: dict[str, str], n: int = -1
) -> httpx.Response:
    """Fill in a form of a page, the last one unless said otherwise, and send it."""
    form = Forms(page.text).found[n]
    return browser.post(form["action"], data={**form["fields"], **fields})


@pytest.fixture(scope="package")
def office(
    cluster: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    folder, hosts = tmp_path_factory.mktemp("admin"), "127.0.0.0/8"
    with serving(cluster, template, folder, "admin_pages", subscription_hosts=hosts) as site:
        office = Office(site)
        office.run(_people)
        yield office


async def _people(core: Core) -> None:
    kept = passwords.derive(PASSWORD)
    async with core.store.begin(RequestContext(Principal.system("test"), "transaction")) as work:
        for login, place, role in PEOPLE:
            id = f"{login}-{role}"
            await work.create(content.made(a_role(id, practitioner="dr", organization=place)), id)
    for login, place, role in PEOPLE:
        await users.add(core.database, User(login, kept, f"{login}-{role}", place, role))

    await subscribe(core, "https://hooks.example/a-secret-path", "app")


async def subscribe(core: Core, endpoint: str, id: str) -> None:
    """An application of the first organisation asks to be told of a patient's Tasks."""
    who = Principal("Client/app", "lead", "application", parse("system/*.cruds"), None, "app")
    json = subscription("Task?status=ready&patient=Patient/p1")
    json["channel"] |= {"endpoint": endpoint, "header": ["Authorization: Bearer a-secret"]}
    async with core.store.begin(RequestContext(who, "create")) as work:
        await work.create(content.made(json), id)


async def emergency(core: Core) -> str:
    """Somebody at another organisation opens the record of a patient of the first."""
    who = Principal("PractitionerRole/gp", "other", "referrer", EVERYTHING)
    wish = Wish("p1", "life", "Unconscious & <alone> on arrival")
    opened = await emergencies.open_access(core.store, RequestContext(who, "login"), wish, "a")
    return opened.id

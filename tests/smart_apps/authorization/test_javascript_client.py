"""The SMART JavaScript client (npm ``fhirclient``) launches in a real browser, both ways."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from fhir_server.postgres.database import Database
from smart_apps import clients
from smart_apps.clients import Client
from tests.chromium import CHROMIUM, Tab, browsing
from tests.smart_apps.authorization.browser import App, Site, authorized
from tests.smart_apps.authorization.conftest import NHS, PASSWORD, USER_SCOPES

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "clients" / "node_modules" / "fhirclient" / "build" / "fhir-client.min.js"

LAUNCH = """<!doctype html><title>launch</title><script src="fhir-client.js"></script><script>
FHIR.oauth2.authorize({clientId: "browser-app", scope: "SCOPE", redirectUri: "app.html",
  iss: new URLSearchParams(location.search).get("iss"), pkceMode: "required"});
</script>"""

APP = """<!doctype html><title>app</title><body>waiting</body><script src="fhir-client.js"></script>
<script>
FHIR.oauth2.ready().then(client => client.patient.read().then(patient => {
  document.body.innerText = JSON.stringify({patient, fhirUser: client.getFhirUser(),
    state: client.state.tokenResponse});
  document.title = "done";
})).catch(error => { document.body.innerText = String(error); document.title = "failed"; });
</script>"""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def app(site: Site, tmp_path: Path) -> Iterator[str]:
    """Where the app is served; a client of the site."""
    (tmp_path / "fhir-client.js").write_bytes(LIBRARY.read_bytes())
    (tmp_path / "app.html").write_text(APP)
    handler = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Client(
            "browser-app", "public", USER_SCOPES, "lead", (f"{url}/app.html",),
            launch_url=f"{url}/launch.html",
        )  # fmt: skip
        asyncio.run(_register(site, client))
        yield url
        server.shutdown()


async def _register(site: Site, client: Client) -> None:
    database = Database(site.database_url, size=1)
    await database.open()
    await clients.add(database, client)
    await database.close()


async def signed_in(tab: Tab) -> None:
    await tab.fill("#login", "one")
    await tab.fill("#password", PASSWORD)
    await tab.click("form button")


async def finished(tab: Tab) -> Any:
    await tab.until("document.title == 'done' || document.title == 'failed'")
    text = await tab.run("document.body.innerText")
    assert await tab.run("document.title") == "done", text
    return json.loads(text)


@pytest.mark.standard("SMART launch-standalone")
async def test_the_javascript_client_launches_by_itself(
    site: Site, app: str, tmp_path: Path
) -> None:
    scope = "launch/patient openid fhirUser patient/*.rs"
    (tmp_path / "launch.html").write_text(LAUNCH.replace("SCOPE", scope))

    async with browsing() as tab:
        await tab.goto(f"{app}/launch.html?iss={quote(site.base)}")
        await signed_in(tab)
        await tab.fill("#nhs", NHS)
        await tab.click("form button")
        await tab.click("button[name=patient]")
        await tab.click("button[value=allow]")
        found = await finished(tab)

    assert found["patient"]["id"] == "p1"
    assert found["fhirUser"] == "Practitioner/dr"
    assert found["state"]["need_patient_banner"] is True


@pytest.mark.standard("SMART launch-ehr")
async def test_the_javascript_client_is_launched(site: Site, app: str, tmp_path: Path) -> None:
    scope = "launch openid fhirUser patient/*.rs"
    (tmp_path / "launch.html").write_text(LAUNCH.replace("SCOPE", scope))
    worklist = App(site)
    code = authorized(worklist, "user/*.rs", "one", PASSWORD)["code"]
    opened = httpx.post(
        f"{site.url}/auth/launch",
        json={"client": "browser-app", "patient": "p1"},
        headers={"Authorization": f"Bearer {worklist.token(code).json()['access_token']}"},
    )

    async with browsing() as tab:
        await tab.goto(opened.json()["url"])
        await signed_in(tab)
        await tab.click("button[value=allow]")
        found = await finished(tab)

    assert found["patient"]["id"] == "p1"
    assert found["fhirUser"] == "Practitioner/dr"

"""The people of the demonstration, each asking a running server as themselves over HTTP."""

import json
from types import TracebackType
from typing import Any, Self

import httpx

from demo import data
from fhir_server.access.token import Keys, mint
from fhir_server.settings import Settings

Json = dict[str, Any]

FHIR_JSON = "application/fhir+json"
MINUTES = 60


class RefusedError(RuntimeError):
    """The server did not do what was asked; its own words say why."""


class People:
    """HTTP clients with a token each, made for whoever is asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._keys = Keys.load(settings.data_dir)
        self._http = httpx.AsyncClient(timeout=60)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    def token(self, login: str, scope: str = "user/*.cruds") -> str:
        """A token as the authorisation server would give to the demonstration app."""
        person = data.person(login)
        return mint(
            self._keys,
            self.settings.url,
            subject=f"PractitionerRole/{login}",
            client="demo-app",
            scope=scope,
            organization=person.place,
            role=person.role,
            lifetime=30 * MINUTES,
        )

    async def ask(
        self,
        login: str,
        method: str,
        url: str,
        body: Json | None = None,
        *,
        accept: str = FHIR_JSON,
        if_match: str | None = None,
    ) -> httpx.Response:
        """One request of a person.

        Raises
        ------
        RefusedError
            The answer was not a success.
        """
        address = url if url.startswith("http") else f"{self.settings.fhir_base}/{url}".rstrip("/")
        headers = {"authorization": f"Bearer {self.token(login)}", "accept": accept}
        if if_match:
            headers["if-match"] = f'W/"{if_match}"'
        if body is not None:
            headers["content-type"] = FHIR_JSON
        answer = await self._http.request(
            method, address, content=json.dumps(body) if body is not None else None, headers=headers
        )
        if not answer.is_success:
            raise RefusedError(f"{method} {url}: {answer.status_code} {_said(answer)}")
        return answer

    async def get(self, login: str, url: str) -> Json:
        """Read one resource or page."""
        found: Json = (await self.ask(login, "GET", url)).json()
        return found

    async def search(self, login: str, url: str) -> list[Json]:
        """The matches of a page, without what they include."""
        page = await self.get(login, url)
        return [
            one["resource"]
            for one in page.get("entry", [])
            if one.get("search", {}).get("mode", "match") == "match"
        ]

    async def only(self, login: str, url: str) -> Json:
        """The one match there is."""
        found = await self.search(login, url)
        if len(found) != 1:
            raise RefusedError(f"{len(found)} matches, not one, for {url}")
        return found[0]

    async def create(self, login: str, resource: Json) -> Json:
        """Create a resource; as it was stored."""
        made: Json = (await self.ask(login, "POST", resource["resourceType"], resource)).json()
        return made

    async def change(self, login: str, resource: Json, **members: Any) -> Json:
        """Update over the version that was read; as it was stored."""
        name = f"{resource['resourceType']}/{resource['id']}"
        version = resource["meta"]["versionId"]
        answer = await self.ask(login, "PUT", name, {**resource, **members}, if_match=version)
        changed: Json = answer.json()
        return changed


def _said(answer: httpx.Response) -> str:
    """What an OperationOutcome says, else the start of the body."""
    try:
        issues = answer.json()["issue"]
        return "; ".join(one.get("details", {}).get("text", one["code"]) for one in issues)
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]

"""A browser without script, and an app, as somebody else would write them: httpx and HTML forms."""

import base64
import hashlib
import secrets
import time
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from fhir_server.settings import Settings

REDIRECT = "http://127.0.0.1:18999/cb"


class Forms(HTMLParser):
    """The forms of a page: where they go, their hidden fields and their buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append({"action": given["action"], "fields": {}, "buttons": []})
        elif tag == "input" and given.get("type") == "hidden":
            self.found[-1]["fields"][given["name"]] = given["value"]
        elif tag == "button" and "name" in given:
            self.found[-1]["buttons"].append((given["name"], given["value"]))


class Site:
    """A running server."""

    def __init__(self, url: str, settings: Settings, database_url: str) -> None:
        self.url = url
        self.base = f"{url}/fhir"
        self.settings = settings
        self.database_url = database_url
        self.signed_in: dict[str, httpx.Client] = {}
        self._browsers: list[httpx.Client] = []

    def browser(self) -> httpx.Client:
        self._browsers.append(httpx.Client(base_url=self.url, timeout=30))
        return self._browsers[-1]

    def close(self) -> None:
        for browser in self._browsers:
            browser.close()

    def post(self, path: str, **fields: Any) -> httpx.Response:
        headers = fields.pop("headers", {})
        return httpx.post(f"{self.url}{path}", data=fields, headers=headers, timeout=30)

    def get(self, path: str, token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.base}/{path}", headers=headers, timeout=30)

    def soon_refused(self, path: str, token: str) -> bool:
        """Whether a token counts no more within five seconds (threats T7)."""
        until = time.monotonic() + 5
        while self.get(path, token).status_code != 401:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True


class App:
    """One attempt of a client to be authorised, with its state and verifier."""

    def __init__(self, site: Site, client: str = "app") -> None:
        self.site = site
        self.client = client
        self.verifier = secrets.token_urlsafe(48)
        self.state = secrets.token_urlsafe(12)

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def request(self, scope: str | None, **changes: str | None) -> dict[str, str]:
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": REDIRECT,
            "scope": scope,
            "state": self.state,
            "aud": self.site.base,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def token(self, code: str, **changes: str | None) -> httpx.Response:
        asked: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": self.client,
            "code_verifier": self.verifier,
            **changes,
        }
        fields = {name: value for name, value in asked.items() if value is not None}
        return self.site.post("/auth/token", **fields)


def submit(
    browser: httpx.Client, page: httpx.Response, form: int = 0, **fields: str
) -> httpx.Response:
    """Send a form of a page, and follow where it leads on the same site."""
    found = Forms(page.text).found[form]
    return follow(browser, browser.post(found["action"], data={**found["fields"], **fields}))


def follow(browser: httpx.Client, answer: httpx.Response) -> httpx.Response:
    while answer.is_redirect and not answer.headers["location"].startswith(REDIRECT):
        answer = browser.get(answer.headers["location"])
    return answer


def returned(answer: httpx.Response) -> dict[str, str]:
    """What a redirect brings back to the client."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    location = answer.headers["location"]
    assert location.startswith(REDIRECT), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def authorized(
    app: App, scope: str, login: str, password: str, patient: str = "", **changes: str
) -> dict[str, str]:
    """Sign in, choose and allow, as a person would; what comes back to the client.

    The browser is the one in which this person has signed in before, if there is one: to look at
    a password takes its time.
    """
    browser = app.site.signed_in.setdefault(login, app.site.browser())
    page = follow(browser, browser.get("/auth/authorize", params=app.request(scope, **changes)))
    if "Password" in page.text:
        page = submit(browser, page, login=login, password=password)
    if "Which patient" in page.text:
        page = submit(browser, page, nhs=patient)
        (found,) = Forms(page.text).found[1]["buttons"]
        page = submit(browser, page, form=1, **dict([found]))
    if "act for you" in page.text:
        page = submit(browser, page, decision="allow")
    return returned(page)

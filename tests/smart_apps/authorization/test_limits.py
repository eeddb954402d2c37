"""Who asks too much is told when to ask again, and it is audited once (threats T22)."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.build import nhs_number
from tests.smart_apps.authorization.browser import App, Site, authorized
from tests.smart_apps.authorization.conftest import NHS, PASSWORD, serving
from tests.smart_apps.authorization.test_clients import ask, assertion

pytestmark = [
    pytest.mark.standard("threats T22"),
    pytest.mark.standard("RFC 6585 4"),
    pytest.mark.requirement("R014.1"),
]


TOKENS = 30
"""What may be asked of the authorisation server in a minute."""


@pytest.fixture(scope="module")
def narrow(cluster: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with small limits."""
    folder = tmp_path_factory.mktemp("limits")
    limits = {"rate_requests": 2, "rate_lookups": 5, "rate_tokens": TOKENS}
    with serving(cluster, template, folder, "limits", **limits) as site:
        yield site


def audited(site: Site, where: str, *params: Any) -> int:
    with psycopg.connect(site.database_url) as connection:
        ((count,),) = connection.execute(f"select count(*) from audit where {where}", params)
    return int(count)


def test_a_client_that_asks_too_much_for_a_person_is_told_when_to_ask_again(narrow: Site) -> None:
    app = App(narrow)
    code = authorized(app, "user/*.rs", "one", PASSWORD)["code"]
    token = app.token(code).json()["access_token"]
    web = App(narrow, "other-app")
    code = authorized(web, "user/*.rs", "gp", PASSWORD)["code"]
    other = web.token(code).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=30) as client:
        answers = [client.get(f"{narrow.base}/Organization/lead")]
        while answers[-1].status_code == 200 and len(answers) < 500:
            answers.append(client.get(f"{narrow.base}/Organization/lead"))
        over = client.get(f"{narrow.url}/dicom-web/studies")
        for _ in range(500):
            if over.status_code == 429:
                break
            over = client.get(f"{narrow.url}/dicom-web/studies")

    refused = answers[-1]
    assert refused.status_code == 429
    assert len(answers) > 20
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["issue"][0]["code"] == "throttled"
    assert over.status_code == 429
    assert over.headers["content-type"] == "application/problem+json"
    assert int(over.headers["retry-after"]) >= 1
    assert narrow.get("Organization/other", other).status_code == 200
    assert audited(narrow, "detail = 'Throttled' and client = 'app'") == 1


def test_who_looks_for_people_in_vain_looks_no_further(narrow: Site) -> None:
    token = ask(narrow, assertion(narrow)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    base = narrow.base
    with httpx.Client(headers=headers, timeout=30) as client:
        known = [client.get(f"{base}/Patient", params={"identifier": NHS}) for _ in range(8)]
        guesses = [
            client.get(f"{base}/Patient", params={"identifier": nhs_number(500 + number)})
            for number in range(8)
        ]
        chained = client.get(f"{base}/ServiceRequest", params={"patient.identifier": NHS})
        qido = client.get(f"{narrow.url}/dicom-web/studies", params={"PatientID": NHS})
        posted = client.post(f"{base}/Patient/_search", data={"family": "Nobody"})
        batch = client.post(
            base,
            json={
                "resourceType": "Bundle",
                "type": "batch",
                "entry": [{"request": {"method": "GET", "url": f"Patient?identifier={NHS}"}}],
            },
            headers={"Content-Type": "application/fhir+json"},
        )
        reading = client.get(f"{base}/Patient/p1")

    assert [answer.status_code for answer in known] == [200] * 8
    assert [answer.status_code for answer in guesses] == [200] * 5 + [429] * 3
    assert (chained.status_code, qido.status_code, posted.status_code) == (429, 429, 429)
    assert batch.json()["entry"][0]["response"]["status"].startswith("429")
    assert reading.status_code == 200
    assert audited(narrow, "detail = 'Throttled' and client = 'backend'") == 1


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/auth/token", {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "web"}),
        ("/auth/introspect", {"token": "x", "client_id": "web"}),
        ("/auth/revoke", {"token": "x", "client_id": "web"}),
        ("/auth/login", {"login": "one", "password": "x"}),
        ("/auth/authorize", {"client_id": "nobody"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_address_asks_the_authorisation_server_only_so_often(
    narrow: Site, path: str, fields: dict[str, str]
) -> None:
    before = audited(narrow, "detail = 'asked too often'")
    began = time.monotonic()
    with httpx.Client(timeout=30) as client:
        answers = [client.post(f"{narrow.url}{path}", data=fields) for _ in range(40)]
        while answers[-1].status_code != 429 and len(answers) < 500:
            answers.append(client.post(f"{narrow.url}{path}", data=fields))
    earned = (time.monotonic() - began) * TOKENS / 60

    heard = [answer for answer in answers if answer.status_code != 429]
    assert {answer.status_code for answer in answers[:5]} <= {400, 401, 403}
    assert len(heard) <= TOKENS + earned + 1
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    if path in {"/auth/token", "/auth/introspect", "/auth/revoke"}:
        assert answers[-1].json()["error"] == "temporarily_unavailable"
    assert audited(narrow, "detail = 'asked too often'") == before + 1


@pytest.mark.standard("threats F3")
@pytest.mark.parametrize("address", ["token", "introspect", "revoke"])
def test_what_is_refused_and_cannot_be_audited_is_asked_again_later(
    narrow: Site, address: str
) -> None:
    with psycopg.connect(narrow.database_url, autocommit=True) as connection:
        connection.execute("alter table audit rename to elsewhere")
        try:
            answer = httpx.post(f"{narrow.url}/auth/{address}", data={"token": "x"}, timeout=30)
        finally:
            connection.execute("alter table elsewhere rename to audit")

    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["retry-after"]) >= 1

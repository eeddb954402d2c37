"""A client that publishes its keys gets tokens by them, from a whole server (RFC 7523, SMART)."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from fhir_server.access.token import Keys, TokenChecker
from fhir_server.postgres.database import Database
from smart_apps import clients, registry
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.key_sets import KeySets
from smart_apps.authorization.server import SmartServer
from smart_apps.authorization.tokens import Issuer
from smart_apps.clients import Client
from subscriptions.addresses import Addresses
from tests.smart_apps.authorization.browser import REDIRECT, App, Site, authorized
from tests.smart_apps.authorization.conftest import EC, PASSWORD, RSA, serving
from tests.smart_apps.authorization.key_server import KeyServer, published
from tests.smart_apps.authorization.test_clients import ASSERTION, ask, assertion
from tests.smart_apps.authorization.test_disabling import changed

pytestmark = [
    pytest.mark.standard("SMART client-confidential-asymmetric"),
    pytest.mark.standard("threats T22"),
]

NEXT = ECKey.generate_key("P-384", auto_kid=True)


@pytest.fixture(scope="module")
def open_site(
    cluster: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("published")
    with serving(cluster, template, folder, "published", jwks_hosts="127.0.0.1") as site:
        yield site


@pytest.fixture
def there() -> Iterator[KeyServer]:
    with published() as server:
        server.publishes(EC, RSA)
        yield server


@pytest.fixture
def client(open_site: Site, there: KeyServer) -> Iterator[str]:
    """A client that publishes its keys, for itself and for people."""
    id = f"at-{there.url.rpartition(':')[2].partition('/')[0]}"
    scope = "system/*.rs user/*.rs openid fhirUser"
    one = Client(id, "jwks", scope, "lead", (REDIRECT,), jwks_uri=there.url)
    changed(open_site, lambda change: registry.register(change, one))
    yield id
    changed(open_site, lambda change: registry.remove(change, id))


@pytest.mark.parametrize("key", [EC, RSA], ids=["ES384", "RS384"])
def test_a_client_gets_a_token_by_a_key_that_it_publishes(
    open_site: Site, there: KeyServer, client: str, key: Any
) -> None:
    answer = ask(open_site, assertion(open_site, client, key))

    assert answer.status_code == 200, answer.text
    assert open_site.get("Patient/p1", answer.json()["access_token"]).status_code == 200
    assert ask(open_site, assertion(open_site, client, key)).status_code == 200
    assert len(there.asked) == 1
    assert "Authorization" not in there.asked[0]


def test_a_person_lets_it_act_and_it_swaps_its_code(open_site: Site, client: str) -> None:
    app = App(open_site, client)
    code = authorized(app, "user/Patient.rs openid fhirUser", "one", PASSWORD)["code"]

    answer = app.token(
        code, client_assertion_type=ASSERTION, client_assertion=assertion(open_site, client)
    )

    assert answer.status_code == 200, answer.text


def test_a_client_rolls_its_key_over_by_publishing_the_next_one(
    open_site: Site, there: KeyServer, client: str
) -> None:
    there.publishes(EC, Cache_Control="max-age=1")
    assert ask(open_site, assertion(open_site, client)).status_code == 200

    there.publishes(NEXT, Cache_Control="max-age=1")

    until = time.monotonic() + 60
    while signed_by_next(open_site, client).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    refused = ask(open_site, assertion(open_site, client))
    assert refused.json()["error"] == "invalid_client"


def signed_by_next(site: Site, client: str) -> httpx.Response:
    return ask(site, assertion(site, client, NEXT, {"alg": "ES384"}))


def test_the_header_may_name_the_address_that_is_registered_and_no_other(
    open_site: Site, there: KeyServer, client: str
) -> None:
    right = assertion(open_site, client, header={"jku": there.url})
    assert ask(open_site, right).status_code == 200

    with published() as elsewhere:
        elsewhere.publishes(NEXT)
        for jku in (elsewhere.url, there.url.replace("?v=1", "")):
            wrong = assertion(open_site, client, NEXT, {"alg": "ES384", "jku": jku})
            assert ask(open_site, wrong).json()["error"] == "invalid_client"
            wrong = assertion(open_site, client, header={"jku": jku})
            assert ask(open_site, wrong).json()["error"] == "invalid_client"
        assert elsewhere.asked == []


def raw(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A JWT as nobody's library would make it."""
    parts = [json.dumps(part).encode() for part in (header, claims)]
    said = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (said + b"." + base64.urlsafe_b64encode(sign(said)).rstrip(b"=")).decode()


def by_hash(name: str, key: bytes) -> Callable[[bytes], bytes]:
    return lambda said: hmac.digest(key, said, name)


def claims_of(site: Site, client: str) -> dict[str, Any]:
    return jwt.decode(assertion(site, client), EC, algorithms=["ES384"]).claims


PUBLIC = EC.as_pem(private=False)
FORGED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "none": ("none", lambda said: b""),
    "None": ("None", lambda said: b""),
    "no signature": ("ES384", lambda said: b""),
    "zeros": ("ES384", lambda said: b"\0" * 96),
    "HS256 by the public key": ("HS256", by_hash("sha256", PUBLIC)),
    "HS384 by the public key": ("HS384", by_hash("sha384", PUBLIC)),
    "HS384 by nothing": ("HS384", by_hash("sha384", b"")),
    "ES384 by a hash of the public key": ("ES384", by_hash("sha384", PUBLIC)),
    "RS384 by a hash": ("RS384", by_hash("sha384", PUBLIC)),
}
"""RFC 8725 Sections 2.1 and 3.1: an algorithm that the key is not for."""


@pytest.mark.standard("RFC 8725 3.1")
@pytest.mark.parametrize("how", FORGED)
def test_an_algorithm_that_the_key_is_not_for_is_refused(
    open_site: Site, client: str, how: str
) -> None:
    algorithm, sign = FORGED[how]
    header = {"alg": algorithm, "kid": EC.kid, "typ": "JWT"}

    made = raw(header, claims_of(open_site, client), sign)

    assert ask(open_site, made).json()["error"] == "invalid_client"


@pytest.mark.standard("RFC 8725 3.1")
def test_a_name_of_a_key_is_not_its_kind(open_site: Site, there: KeyServer, client: str) -> None:
    """Two keys by one name, and each algorithm takes its own."""
    there.publishes({**RSA.as_dict(private=False), "kid": EC.kid}, EC)

    assert ask(open_site, assertion(open_site, client)).status_code == 200
    other = assertion(open_site, client, RSA, {"kid": EC.kid})
    assert ask(open_site, other).status_code == 200
    stranger = RSAKey.generate_key(2048)
    forged = jwt.encode({"alg": "RS384", "kid": EC.kid}, claims_of(open_site, client), stranger,
                        algorithms=["RS384"])  # fmt: skip
    assert ask(open_site, forged).json()["error"] == "invalid_client"


def test_keys_that_cannot_be_had_are_a_client_that_cannot_be_known(
    open_site: Site, there: KeyServer, client: str
) -> None:
    there.status = 500

    answer = ask(open_site, assertion(open_site, client))

    assert answer.json()["error"] == "invalid_client"
    assert there.url not in answer.text
    with psycopg.connect(open_site.database_url) as connection:
        rows = connection.execute("select detail from audit where interaction = 'login'").fetchall()
    assert ("token refused",) in rows


@pytest.mark.anyio
async def test_nobody_else_waits_for_a_client_that_is_slow_to_publish(
    database: Database, tmp_path: Path, there: KeyServer
) -> None:
    here: Any = SimpleNamespace(url="http://127.0.0.1:8000")
    issuer = Issuer(Keys.load(tmp_path), here.url)
    sets = KeySets(Addresses("127.0.0.1"), patience=60)
    server = SmartServer(database, issuer, TokenChecker(issuer.keys, here.url), sets)
    slow = Client("slow", "jwks", "system/*.rs", "lead", jwks_uri=there.url)
    keyed = json.dumps({"keys": [EC.as_dict(private=False)]})
    await clients.add(database, slow)
    await clients.add(database, Client("quick", "jwks", "system/*.rs", "lead", jwks=keyed))

    def asks(id: str) -> Asked:
        fields = {
            "grant_type": "client_credentials",
            "scope": "system/Patient.rs",
            "client_assertion_type": ASSERTION,
            "client_assertion": assertion(here, id),
        }
        return Asked("POST", list(fields.items()), {}, "192.0.2.1")

    there.go.clear()
    waiting = [asyncio.create_task(server.token(asks("slow"))) for _ in range(60)]
    while not there.asked:
        await asyncio.sleep(0.01)

    assert (await server.token(asks("quick"))).status_code == 200
    assert not any(each.done() for each in waiting)
    there.go.set()
    answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {200}
    assert len(there.asked) == 1


def test_a_key_of_another_client_is_worth_nothing(open_site: Site, client: str) -> None:
    with published() as others:
        others.publishes(NEXT)
        other = Client("at-other", "jwks", "system/*.rs", "lead", (), jwks_uri=others.url)
        changed(open_site, lambda change: registry.register(change, other))
        assert signed_by_next(open_site, "at-other").status_code == 200

        assert signed_by_next(open_site, client).json()["error"] == "invalid_client"


def test_where_it_is_not_allowed_nobody_is_asked(site: Site, there: KeyServer) -> None:
    one = Client("at-inside", "jwks", "system/*.rs", "lead", (), jwks_uri=there.url)
    changed(site, lambda change: registry.register(change, one))

    answer = ask(site, assertion(site, "at-inside"))

    assert answer.json()["error"] == "invalid_client"
    assert there.asked == []

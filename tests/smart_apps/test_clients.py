import json
from typing import Any

import pytest
from joserfc.jwk import ECKey

from fhir_server.postgres.database import Database
from resources.errors import Invalid, NotFound
from smart_apps import clients
from smart_apps.clients import Client

pytestmark = pytest.mark.anyio


def a_client(**changes: Any) -> Client:
    return Client("portal", "public", "user/*.rs openid", "lead")._replace(**changes)


def keys(*, private: bool = False) -> str:
    return json.dumps({"keys": [ECKey.generate_key("P-384").as_dict(private=private)]})


async def test_a_client_is_found_as_it_was_registered(database: Database) -> None:
    client = a_client(redirect_uris=("http://127.0.0.1:18999/cb", "https://app.example/cb"))

    await clients.add(database, client)

    found = await clients.find(database, "portal")
    assert found._replace(epoch="") == client
    assert found.epoch


async def test_registering_again_replaces(database: Database) -> None:
    await clients.add(database, a_client())
    await clients.add(database, a_client(kind="jwks", jwks=keys(), scope="system/*.rs"))

    found = await clients.find(database, "portal")

    assert (found.kind, found.scope) == ("jwks", "system/*.rs")
    assert found.principal("system/Task.r").role == "application"


async def test_nobody_is_found_under_an_unknown_id(database: Database) -> None:
    with pytest.raises(NotFound):
        await clients.find(database, "nobody")


@pytest.mark.standard("RFC 6749 3.1.2")
@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a b"},
        {"id": ""},
        {"scope": "user/Task.dus"},
        {"redirect_uris": ("http://app.example/cb",)},
        {"redirect_uris": ("https://app.example/cb#x",)},
        {"redirect_uris": ("/cb",)},
        {"kind": "jwks"},
        {"kind": "jwks", "jwks": "{}"},
        {"kind": "jwks", "jwks": keys(), "jwks_uri": "https://app.example/jwks"},
        {"kind": "jwks", "jwks_uri": "app.example/jwks"},
        {"kind": "jwks", "jwks_uri": "https://app.example/jwks#x"},
        {"kind": "public", "jwks_uri": "https://app.example/jwks"},
        {"kind": "secret", "secret": "x", "jwks_uri": "https://app.example/jwks"},
        {"kind": "jwks", "jwks": '{"keys": []}'},
        {"kind": "jwks", "jwks": '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'},
        {"kind": "jwks", "jwks": keys(private=True)},
        {"kind": "secret"},
        {"secret": "x"},
    ],
)
async def test_a_registration_outside_the_standards_is_refused(
    database: Database, changes: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        await clients.add(database, a_client(**changes))


@pytest.mark.standard("RFC 8252 7", "RFC 6749 3.1.2")
@pytest.mark.parametrize(
    ("uri", "good"),
    [
        ("https://app.example/cb", True),
        ("https://app.example/cb?tenant=a%20b&x=[1]", True),
        ("http://127.0.0.1:8999/cb", True),
        ("http://[::1]:8999/cb", True),
        ("uk.example.app:/cb", True),
        ("http://app.example/cb", False),
        ("https://app.example/cb#x", False),
        ("https:///cb", False),
        ("https://user@app.example/cb", False),
        ("https://app.example/a b", False),
        ("https://app.example/\x00", False),
        ('https://app.example/"', False),
        ("https://app.example\\@evil.example", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("/cb", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_a_redirect_uri_is_absolute_and_leads_to_an_application(uri: str, good: bool) -> None:
    client = Client("app", "public", "user/*.rs", "lead", (uri,))

    if good:
        clients.check(client)
    else:
        with pytest.raises(Invalid):
            clients.check(client)


@pytest.mark.standard("RFC 7518 6")
@pytest.mark.parametrize(
    "key",
    [
        {"kty": "RSA"},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {"kty": "RSA", "n": "!" * 400, "e": "AQAB"},
        {"kty": "RSA", "n": "AQAB" * 40, "e": "AQAB"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": ["P-384"], "x": "AA", "y": "AA"},
    ],
    ids=str,
)
def test_a_key_that_is_none_is_refused_before_anybody_signs_with_it(key: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        clients.check(a_client(kind="jwks", jwks=json.dumps({"keys": [key]})))

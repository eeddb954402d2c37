"""Keys of clients that are published at an address: how they are read, and whom nobody asks."""

import asyncio
import gzip
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from smart_apps.authorization.key_sets import KeySets
from smart_apps.clients import Client
from subscriptions.addresses import Addresses
from tests.smart_apps.authorization.key_server import KeyServer, published
from tests.subscriptions.receiving import certified

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("SMART client-confidential-asymmetric"),
    pytest.mark.standard("threats T9"),
]

FIRST = ECKey.generate_key("P-384", auto_kid=True)
SECOND = ECKey.generate_key("P-384", auto_kid=True)
RSA = RSAKey.generate_key(2048, auto_kid=True)


class Clock:
    """The seconds that have gone by, as a test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def there() -> Iterator[KeyServer]:
    with published() as server:
        server.publishes(FIRST, RSA)
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sets(clock: Clock) -> KeySets:
    return KeySets(Addresses("127.0.0.1"), clock=clock, patience=60)


def at(url: str) -> Client:
    return Client("backend", "jwks", "system/*.rs", "lead", jwks_uri=url)


async def kids(sets: KeySets, url: str, kid: Any = FIRST.kid) -> set[str]:
    return {key["kid"] for key in await sets.of(at(url), str(kid))}


async def test_they_are_read_once_and_kept_for_five_minutes(
    sets: KeySets, there: KeyServer, clock: Clock
) -> None:
    for seconds in (0, 100, 199):
        clock.now += seconds
        assert await kids(sets, there.url) == {FIRST.kid, RSA.kid}
    assert [asked["path"] for asked in there.asked] == ["/jwks.json?v=1"]

    clock.now += 2
    await kids(sets, there.url)
    assert len(there.asked) == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("max-age=60", 60), ("public, max-age=86400", 3600), ("no-store", 0), ("no-cache", 0),
     ("max-age=0", 0), ("private", 300), ("max-age=60, no-store", 0)],
)  # fmt: skip
async def test_they_are_kept_no_longer_than_the_client_says(
    sets: KeySets, there: KeyServer, clock: Clock, said: str, seconds: int
) -> None:
    there.publishes(FIRST, Cache_Control=said)
    await kids(sets, there.url)
    there.publishes(SECOND, Cache_Control=said)

    if seconds:
        clock.now += seconds - 0.1
        assert await kids(sets, there.url) == {FIRST.kid}
    clock.now += 0.2
    assert await kids(sets, there.url) == {SECOND.kid}


async def test_a_key_that_is_new_is_looked_for_but_not_at_everybodys_wish(
    sets: KeySets, there: KeyServer, clock: Clock
) -> None:
    await kids(sets, there.url)
    there.publishes(FIRST, SECOND)

    for _ in range(5):  # as an attacker may, who has no key at all
        clock.now += 1
        assert await kids(sets, there.url, "unknown") == {FIRST.kid, RSA.kid}
    assert len(there.asked) == 1
    clock.now += 6
    assert await kids(sets, there.url, SECOND.kid) == {FIRST.kid, SECOND.kid}
    assert len(there.asked) == 2


async def test_a_key_that_is_taken_back_counts_no_more_when_it_is_not_fresh(
    sets: KeySets, there: KeyServer, clock: Clock
) -> None:
    await kids(sets, there.url)
    there.publishes(SECOND)

    clock.now += 301

    assert await kids(sets, there.url) == {SECOND.kid}


async def test_who_does_not_answer_keeps_no_key_beyond_its_time_and_is_left_alone(
    sets: KeySets, there: KeyServer, clock: Clock
) -> None:
    await kids(sets, there.url)
    there.status = 503

    clock.now += 20
    assert await kids(sets, there.url, "unknown") == {FIRST.kid, RSA.kid}
    clock.now += 300
    for _ in range(5):
        assert await kids(sets, there.url) == set()
        clock.now += 1
    assert len(there.asked) == 3
    there.publishes(FIRST)
    clock.now += 6
    assert await kids(sets, there.url) == {FIRST.kid}


async def test_many_at_once_share_what_is_read_after_they_came(there: KeyServer) -> None:
    there.publishes(FIRST, Cache_Control="no-store")
    sets = KeySets(Addresses("127.0.0.1"), patience=60)

    found = await asyncio.gather(*(kids(sets, there.url) for _ in range(20)))

    assert found == [{FIRST.kid}] * 20
    assert len(there.asked) <= 2


async def test_many_at_once_ask_once(sets: KeySets, there: KeyServer) -> None:
    found = await asyncio.gather(*(kids(sets, there.url) for _ in range(20)))

    assert found == [{FIRST.kid, RSA.kid}] * 20
    assert len(there.asked) == 1


def public(key: Any, **members: Any) -> dict[str, Any]:
    told = {**key.as_dict(private=False), **members}
    return {name: value for name, value in told.items() if value is not None}


def a_set(*keys: Any) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


HOSTILE = {
    "no JSON": b"<html>",
    "nothing": b"",
    "deep": b"[" * 60_000,
    "a list": b"[]",
    "a number": b"1",
    "no keys": a_set(),
    "keys that are a text": b'{"keys": "abc"}',
    "keys that are none": b'{"keys": [1, null]}',
    "too many": a_set(*[public(FIRST)] * 51),
    "huge": b'{"keys": [' + b" " * 70_000 + b"]}",
    "private": a_set(public(FIRST), ECKey.generate_key("P-384").as_dict(private=True)),
    "private RSA": a_set({**RSA.as_dict(private=True)}),
    "symmetric": a_set(public(FIRST), OctKey.generate_key(512, auto_kid=True).as_dict()),
    "of another kind": a_set(public(OKPKey.generate_key("Ed25519", auto_kid=True))),
    "short": a_set(public(RSA, n=f"8{'A' * 170}")),
    "short, and spelled long": a_set(public(RSA, n="AAAA" * 64 + f"8{'A' * 170}")),
    "endless": a_set(public(RSA, n=f"8{'A' * 20_000}")),
    "another curve": a_set(public(ECKey.generate_key("P-256", auto_kid=True))),
    "not on the curve": a_set({**public(FIRST), "x": "A" * 64, "y": "A" * 64}),
    "without a name": a_set(public(FIRST, kid=None)),
    "named by a number": a_set(public(FIRST, kid=7)),
    "to encrypt with": a_set(public(FIRST, use="enc")),
    "for HS384": a_set(public(FIRST, alg="HS384")),
    "for the other algorithm": a_set(public(RSA, alg="ES384")),
    "compressed": gzip.compress(a_set(public(FIRST))),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_is_no_set_of_public_keys_to_sign_with_gives_none(
    sets: KeySets, there: KeyServer, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    there.body = HOSTILE[what]
    there.headers = {"Content-Encoding": "gzip"} if what == "compressed" else {}

    assert await sets.of(at(there.url), str(FIRST.kid)) == ()

    (said,) = [record.getMessage() for record in caplog.records if "keys" in record.getMessage()]
    assert said.startswith("keys of client backend cannot be read")
    assert "127.0.0.1" not in said


async def test_what_else_is_in_a_set_is_left_out(sets: KeySets, there: KeyServer) -> None:
    there.publishes(public(OKPKey.generate_key("Ed25519", auto_kid=True)), FIRST)

    assert await kids(sets, there.url) == {FIRST.kid}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nobody_is_followed_elsewhere(sets: KeySets, there: KeyServer, status: int) -> None:
    with published() as elsewhere:
        elsewhere.publishes(FIRST)
        there.status, there.headers = status, {"Location": elsewhere.url}

        assert await kids(sets, there.url) == set()
        assert elsewhere.asked == []


async def test_who_never_ends_is_cut_off(sets: KeySets, there: KeyServer) -> None:
    there.endless = b" " * 8192

    assert await kids(sets, there.url) == set()
    assert await asyncio.to_thread(there.over.wait, 30)


@pytest.mark.parametrize("drip", [b"", b" "], ids=["silent", "drop by drop"])
async def test_who_is_slow_is_not_waited_for(clock: Clock, there: KeyServer, drip: bytes) -> None:
    sets = KeySets(Addresses("127.0.0.1"), clock=clock, patience=0.3)
    if drip:
        there.endless, there.body = drip, b""
        there.headers = {"Transfer-Encoding": "identity"}
    else:
        there.go.clear()

    async with asyncio.timeout(30):
        assert await kids(sets, there.url) == set()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/jwks.json",
        "https://127.0.0.1:{port}/jwks.json",
        "https://localhost:{port}/jwks.json",
        "https://[::1]:{port}/jwks.json",
        "https://[::ffff:127.0.0.1]:{port}/jwks.json",
        "https://2130706433:{port}/jwks.json",
        "https://0x7f.1:{port}/jwks.json",
        "https://name.example:{port}/jwks.json",
        "http://other.example:{port}/jwks.json",
        "https://user@127.0.0.1:{port}/jwks.json",
        "file:///etc/passwd",
        "https://169.254.169.254/latest/meta-data",
    ],
)
async def test_nobody_inside_is_asked_who_is_not_listed(there: KeyServer, url: str) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "name.example" else ["1.1.1.1"]

    sets = KeySets(Addresses(resolver=inside))
    port = there.url.rpartition(":")[2].partition("/")[0]

    assert await kids(sets, url.format(port=port)) == set()
    assert there.asked == []


async def test_over_tls_the_certificate_is_that_of_the_name(tmp_path: Path) -> None:
    async def near(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    serving, certificate = certified(tmp_path, "keys.example")
    trust = ssl.create_default_context(cafile=str(certificate))
    addresses = Addresses("127.0.0.0/8", resolver=near)
    with published(serving, "keys.example") as there:
        there.publishes(FIRST)
        other = there.url.replace("keys.example", "other.example")

        assert await kids(KeySets(addresses, trust=trust, patience=60), there.url) == {FIRST.kid}
        assert there.asked[0]["Host"].startswith("keys.example:")
        assert await kids(KeySets(addresses, trust=trust, patience=60), other) == set()
        assert await kids(KeySets(addresses), there.url) == set()
        assert len(there.asked) == 1

"""Whoever claims to be somebody and proves nothing gets no association, whatever is claimed."""

import time
from types import SimpleNamespace

import pytest

from dicom_bridge.dimse import identity
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import found
from tests.dicom_bridge.dimse.test_find import hold
from tests.dicom_bridge.dimse.test_identity import (
    JWT,
    KERBEROS,
    PASSCODE,
    PASSWORD,
    SAML,
    USERNAME,
    Clients,
)
from tests.dicom_bridge.dimse.test_identity import clients as clients
from tests.flows.wire import ABORT, ASSOCIATE_AC, ASSOCIATE_RJ, Line, answers, association, item

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T6, T16, T22")]

LARGE = b"A" * 60_000
BINARY = bytes(range(256))


def user(kind: int, primary: bytes, secondary: bytes = b"", length: int | None = None) -> bytes:
    """User information with a User Identity sub-item (PS3.7 Table D.3-14)."""
    stated = len(primary) if length is None else length
    said = bytes([kind, 0]) + stated.to_bytes(2, "big") + primary
    said += len(secondary).to_bytes(2, "big") + secondary
    return item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3") + item(0x58, said)


@pytest.mark.standard("PS3.7 D.3.3.7")
async def test_no_claim_without_proof_opens_an_association(clients: Clients) -> None:
    token = clients.token()
    head, payload, signature = token.split(b".")
    claims = {
        "a huge login": user(PASSCODE, LARGE, b"x"),
        "a huge passcode": user(PASSCODE, b"r.rad", LARGE),
        "a binary login": user(PASSCODE, BINARY, BINARY),
        "a login with a NUL": user(PASSCODE, b"r.rad\0", PASSWORD.encode()),
        "a login with more behind it": user(PASSCODE, b"r.rad' or '1'='1", PASSWORD.encode()),
        "a passcode that is a token": user(PASSCODE, b"r.rad", token),
        "a huge token": user(JWT, LARGE),
        "a huge token of three parts": user(JWT, LARGE[:20_000] + b"." + LARGE[:9] + b"." + b"A"),
        "a binary token": user(JWT, BINARY),
        "a token with a NUL": user(JWT, token + b"\0"),
        "no signature": user(JWT, head + b"." + payload + b"."),
        "another signature": user(JWT, head + b"." + payload + b"." + signature[::-1]),
        "no algorithm": user(JWT, b"eyJhbGciOiJub25lIn0." + payload + b"."),
        "a token of others": user(JWT, clients.token(organization="other")),
        "a token of others to a patient": user(JWT, clients.token(organization="")),
        "a token that has ended": user(JWT, clients.token(lifetime=-3600)),
        "a passcode in the first field": user(JWT, b"r.rad", PASSWORD.encode()),
    }
    lies = {
        "a length behind the end": user(JWT, b"x", length=60_000),
        "a type that is none": user(77, b"x"),
        "nothing of it": item(0x51, bytes(4)) + item(0x58, b""),
    }

    def ask() -> dict[str, int]:
        heard = {}
        for name, claim in {**claims, **lies}.items():
            with Line(clients.archive.port, association(user=claim)) as line:
                heard[name] = line.hear()[0]
        return heard

    heard = await clients.archive.call(ask)

    assert {name: heard[name] for name in claims} == dict.fromkeys(claims, ASSOCIATE_RJ)
    assert {heard[name] for name in lies} <= {0, ASSOCIATE_RJ, ABORT, ASSOCIATE_AC}
    assert await clients.archive.call(answers, clients.archive.port) == 0
    rejected = await found(clients.archive.bridge, "AuditEvent", outcome="4", _count="100")
    assert not any(PASSWORD in str(one) or token.decode() in str(one) for one in rejected)


async def test_who_claims_what_is_not_ours_acts_as_the_peer_alone(clients: Clients) -> None:
    """Kerberos and SAML prove nothing to us: nobody becomes a person by them."""
    claims = [
        user(kind, primary)
        for kind in (USERNAME, KERBEROS, SAML)
        for primary in (b"", b"r.rad", BINARY, LARGE)
    ]

    def ask() -> set[int]:
        heard = set()
        for claim in claims:
            with Line(clients.archive.port, association(user=claim)) as line:
                heard.add(line.hear()[0])
        return heard

    assert await clients.archive.call(ask) <= {ASSOCIATE_AC, ASSOCIATE_RJ}
    assert await found(clients.archive.bridge, "AuditEvent", agent="PractitionerRole/rad") == []


async def test_a_token_that_ends_ends_the_association_at_its_next_request(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hold(clients.archive.bridge, an_instance())
    asking = await clients.associate(JWT, clients.token(lifetime=300))
    assert await clients.studies(asking) == 1

    later = SimpleNamespace(time=lambda: time.time() + 301)
    monkeypatch.setattr(identity, "time", later)

    assert await clients.studies(asking) == 0
    again = await clients.associate(JWT, clients.token(lifetime=300))
    assert again.is_established
    assert await clients.studies(again) == 0

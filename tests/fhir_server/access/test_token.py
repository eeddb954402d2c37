import base64
import hmac
import json
import random
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from fhir_server.access.emergency import Emergency
from fhir_server.access.token import Keys, TokenChecker, mint
from resources.errors import Unauthenticated

HERE = "https://here.example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Keys:
    return Keys.load(folder)


@pytest.fixture
def checker(keys: Keys) -> TokenChecker:
    return TokenChecker(keys, HERE)


def a_token(keys: Keys, **changes: Any) -> str:
    values: dict[str, Any] = {
        "subject": "PractitionerRole/x",
        "client": "portal",
        "scope": "user/*.rs openid",
        "organization": "own",
        "role": "referrer",
        "patient": "p",
    }
    return mint(keys, HERE, **(values | changes))


def spelled(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def segment(value: Any) -> str:
    return spelled(json.dumps(value, separators=(",", ":")).encode())


def signed(header: dict[str, Any], body: str, key: RSAKey) -> str:
    assert key.private_key is not None
    unsigned = f"{segment(header)}.{body}"
    signature = key.private_key.sign(unsigned.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{unsigned}.{spelled(signature)}"


def claims_of(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return claims


def header_of(token: str) -> dict[str, Any]:
    first = token.split(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    return header


def test_a_token_says_who_is_asking(keys: Keys, checker: TokenChecker) -> None:
    principal = checker.check(a_token(keys))

    assert principal.subject == "PractitionerRole/x"
    assert (principal.organization, principal.role) == ("own", "referrer")
    assert (principal.patient, principal.client) == ("p", "portal")
    assert principal.scopes.allow("Task", "r", "user")
    assert 290 < principal.expires - time.time() <= 300


@pytest.mark.standard("threats T3")
def test_a_token_of_an_emergency_is_of_one_patient_for_a_reason_of_the_table(
    keys: Keys, checker: TokenChecker
) -> None:
    opened = Emergency("task", "life", 1_795_000_000_000_000)
    assert checker.check(a_token(keys, emergency=opened)).emergency == opened
    assert checker.check(a_token(keys)).emergency is None

    for wrong in (
        {"emergency": opened, "patient": None},
        {"emergency": opened._replace(reason="curiosity")},
        {"emergency": opened._replace(until="later")},  # type: ignore[arg-type]
        {"emergency": opened, "lifetime": -1},
    ):
        with pytest.raises(Unauthenticated):
            checker.check(a_token(keys, **wrong))


def test_a_second_process_reads_the_same_keys(folder: Path, keys: Keys) -> None:
    token = a_token(Keys.load(folder))

    assert TokenChecker(keys, HERE).check(token).client == "portal"


def test_the_private_key_is_readable_by_its_owner_alone(folder: Path, keys: Keys) -> None:
    assert stat.S_IMODE((folder / "keys" / "signing.json").stat().st_mode) == 0o600
    assert "d" not in keys.public()["keys"][0]


def test_a_remembered_token_still_expires(keys: Keys, checker: TokenChecker) -> None:
    token = a_token(keys, at=int(time.time()) - 295, lifetime=300)
    checker.check(token)

    time.sleep(5.1)

    with pytest.raises(Unauthenticated):
        checker.check(token)


def spoiled(keys: Keys) -> Iterator[tuple[str, str]]:
    """Give tokens that each break one rule, signed as well as an attacker could."""
    good = a_token(keys)
    header, claims = header_of(good), claims_of(good)
    public = keys.public()["keys"][0]
    stranger = RSAKey.generate_key(2048, auto_kid=True)
    body = segment(claims)

    for alg in ("none", "None", "NONE", ""):
        yield f"alg {alg!r}", f"{segment(header | {'alg': alg})}.{body}."
        yield (
            f"alg {alg!r} with signature",
            ".".join([segment(header | {"alg": alg}), *good.split(".")[1:]]),
        )
    pem = RSAKey.import_key(public).as_pem(private=False)
    for secret in (json.dumps(public).encode(), pem, pem.strip(), b""):
        unsigned = f"{segment(header | {'alg': 'HS256'})}.{body}"
        digest = hmac.digest(secret, unsigned.encode(), "sha256")
        yield "HS256 with the public key", f"{unsigned}.{spelled(digest)}"
    yield "another RSA key", jwt.encode(header, claims, stranger, algorithms=["RS256"])
    for name, value in (
        ("jwk", stranger.as_dict(private=False)),
        ("jku", "https://evil.example/keys"),
        ("x5u", "https://evil.example/chain"),
        ("x5c", ["MIIB"]),
        ("crit", ["exp"]),
        ("b64", True),
        ("cty", "JWT"),
        ("zip", "DEF"),
    ):
        yield f"header {name}", signed(header | {name: value}, body, stranger)
        yield (
            f"header {name}, our signature",
            signed(header | {name: value}, body, keys.signing.key),
        )
    assert keys.signing.key.private_key is not None
    for alg, scheme, digest_of in (
        ("RS384", padding.PKCS1v15(), hashes.SHA384()),
        ("RS512", padding.PKCS1v15(), hashes.SHA512()),
        ("PS256", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
    ):
        unsigned = f"{segment(header | {'alg': alg})}.{body}"
        ours = keys.signing.key.private_key.sign(unsigned.encode(), scheme, digest_of)
        yield f"alg {alg} with our key", f"{unsigned}.{spelled(ours)}"
    curve = ECKey.generate_key("P-256")
    yield (
        "ES256",
        jws.serialize_compact(header | {"alg": "ES256"}, json.dumps(claims), curve),
    )
    wrong_headers: list[dict[str, Any]] = [
        {"kid": "other"},
        {"kid": None},
        {"kid": ["x"]},
        {"typ": "JWT"},
        {"typ": "id_token"},
        {"typ": None},
    ]
    for changes in wrong_headers:
        yield f"header {changes}", signed(header | changes, body, keys.signing.key)
    now = int(time.time())
    wrong_claims: list[dict[str, Any]] = [
        {"iss": "https://there.example"},
        {"iss": HERE + "/"},
        {"iss": None},
        {"iss": [HERE]},
        {"aud": HERE},
        {"aud": [f"{HERE}/fhir"]},
        {"aud": f"{HERE}/fhir/"},
        {"exp": now - 1},
        {"exp": now},
        {"exp": None},
        {"exp": str(now + 300)},
        {"exp": True},
        {"exp": 1e300},
        {"nbf": now + 60},
        {"iat": now + 60},
        {"nbf": None},
        {"sub": ""},
        {"sub": None},
        {"sub": {"x": 1}},
        {"client_id": None},
        {"jti": None},
        {"scope": None},
        {"scope": ["user/*.rs"]},
        {"scope": "user/Task.dus"},
        {"role": "system"},
        {"role": "emperor"},
        {"role": None},
        {"organization": 7},
        {"patient": ["p"]},
    ]
    for changes in wrong_claims:
        yield f"claims {changes}", keys.sign(claims | changes)
    for cut in range(0, len(good), 7):
        yield f"cut at {cut}", good[:cut]
    yield "a fourth segment", good + ".e30"
    yield "five segments, as an encrypted one", good + ".e30.e30"
    yield "padded", good + "=="
    yield "with a space", good.replace(".", ". ", 1)
    yield "oversized", good + "A" * 20_000
    yield "oversized header", segment({"a": "x" * 20_000}) + good[good.index(".") :]
    yield (
        "deeply nested header",
        (base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=") + good[good.index(".") :]),
    )
    yield "not text", "\x00\xff.\xfe."
    yield "nothing", ""


@pytest.mark.standard("RFC 8725 3")
def test_no_forged_or_confused_token_is_accepted(keys: Keys, checker: TokenChecker) -> None:
    tried = list(spoiled(keys))

    accepted = [name for name, token in tried if _accepts(checker, token)]

    assert accepted == []
    assert len(tried) > 150
    assert _accepts(checker, a_token(keys))


@pytest.mark.standard("RFC 4648 3.5")
def test_no_token_with_one_character_changed_is_accepted(keys: Keys) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= +/"
    good, chance = a_token(keys), random.Random(6)
    checker = TokenChecker(keys, HERE)
    last = [good[:-1] + other for other in alphabet if other != good[-1]]

    def mutated() -> str:
        place = chance.randrange(len(good))
        other = chance.choice([each for each in alphabet if each != good[place]])
        return good[:place] + other + good[place + 1 :]

    tried = last + [mutated() for _ in range(2000)]

    assert [token for token in tried if _accepts(checker, token)] == []


def _accepts(checker: TokenChecker, token: str) -> bool:
    try:
        checker.check(token)
    except Unauthenticated:
        return False
    return True

"""Signing keys: published before they sign, accepted until the last token of theirs has ended."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from fhir_server.access import keys as signing_keys
from fhir_server.access.keys import Keys
from fhir_server.access.token import TokenChecker, mint
from resources.errors import Conflict, NotFound, Unauthenticated

pytestmark = [pytest.mark.standard("OpenID Connect Core 10.1.1"), pytest.mark.requirement("R014.1")]

HERE = "https://record.example"
MONTH = 30 * 86_400


def a_token(keys: Keys, lifetime: int = 300) -> str:
    return mint(
        keys, HERE, subject="Client/c", client="c", scope="system/*.rs", organization="lead",
        role="application", lifetime=lifetime,
    )  # fmt: skip


def ids(keys: Keys) -> list[str]:
    return [key["kid"] for key in keys.public()["keys"]]


def age(folder: Path, seconds: int) -> None:
    """Let all that the file says have happened so much earlier."""
    path = folder / "keys" / "signing.json"
    said = json.loads(path.read_text())
    for key in said["keys"]:
        for name in {"nbf", "exp"} & set(key):
            key[name] -= seconds
    path.write_text(json.dumps(said) + " " * seconds.bit_length())


def test_a_new_key_is_published_before_it_signs(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    (first,) = ids(keys)

    made = signing_keys.roll(tmp_path)

    assert ids(keys) == [first, made.id]
    assert keys.signing.id == first
    age(tmp_path, 61)
    assert keys.signing.id == made.id


def test_a_leaked_key_signs_no_more_at_once(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    signing_keys.roll(tmp_path)  # one that waits may have leaked with it
    made = signing_keys.roll(tmp_path, at_once=True)

    assert keys.signing.id == made.id
    age(tmp_path, 120)
    assert keys.signing.id == made.id


def test_tokens_before_and_after_are_both_accepted_in_every_process(tmp_path: Path) -> None:
    signer, checker = Keys.load(tmp_path), TokenChecker(Keys.load(tmp_path), HERE)
    before = a_token(signer)
    checker.check(before)

    signing_keys.roll(tmp_path, at_once=True)

    after = a_token(signer)
    assert checker.check(after).client == checker.check(before).client == "c"


def test_a_key_that_signs_no_more_keeps_its_public_half_alone(tmp_path: Path) -> None:
    Keys.load(tmp_path)
    signing_keys.roll(tmp_path, at_once=True)

    old, new = json.loads((tmp_path / "keys" / "signing.json").read_text())["keys"]

    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(old)
    assert "d" in new
    assert (tmp_path / "keys" / "signing.json").stat().st_mode & 0o777 == 0o600


def test_the_key_set_shows_nothing_private_and_nothing_of_ours(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    signing_keys.roll(tmp_path)

    for key in keys.public()["keys"]:
        assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


def test_an_old_key_leaves_when_its_last_token_has_ended(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    (first,) = ids(keys)
    made = signing_keys.roll(tmp_path, at_once=True)
    assert keys.find(first) is not None

    age(tmp_path, MONTH - 60)
    assert ids(keys) == [first, made.id]
    age(tmp_path, 61)

    assert ids(keys) == [made.id]
    assert keys.find(first) is None
    assert keys.ever(first) is not None


def test_what_a_retired_key_signed_is_refused_even_where_it_is_remembered(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    checker, token, (first,) = TokenChecker(keys, HERE), a_token(keys), ids(keys)
    signing_keys.roll(tmp_path, at_once=True)
    checker.check(token)

    signing_keys.retire(tmp_path, first)

    until = time.monotonic() + 3
    with pytest.raises(Unauthenticated):  # noqa: PT012 - within moments, not at the first try
        while time.monotonic() < until:
            checker.check(token)
            time.sleep(0.05)
    assert ids(keys) == [keys.signing.id]


def test_the_key_that_signs_or_will_cannot_be_retired(tmp_path: Path) -> None:
    (first,) = ids(Keys.load(tmp_path))
    made = signing_keys.roll(tmp_path)

    for kid in (first, made.id):
        with pytest.raises(Conflict):
            signing_keys.retire(tmp_path, kid)
    with pytest.raises(NotFound):
        signing_keys.retire(tmp_path, "another")


def test_a_file_from_before_keys_had_times_is_read(tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    (tmp_path / "keys").mkdir()
    text: dict[str, Any] = {"keys": [key.as_dict(private=True)]}
    (tmp_path / "keys" / "signing.json").write_text(json.dumps(text))

    keys = Keys.load(tmp_path)
    token = a_token(keys)
    signing_keys.roll(tmp_path, at_once=True)

    assert TokenChecker(keys, HERE).check(token).client == "c"


def test_a_clock_that_was_put_back_does_not_stop_the_signing(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)

    age(tmp_path, -7200)

    assert a_token(keys)


def test_a_key_that_goes_on_signing_is_accepted_for_longer(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    (first,) = ids(keys)
    signing_keys.roll(tmp_path)
    age(tmp_path, 50)  # the second has not begun; a third takes its place

    third = signing_keys.roll(tmp_path)

    assert keys.signing.id == first
    (kept,) = [key for key in signing_keys.every(tmp_path) if key.id == first]
    assert kept.ends is not None
    assert kept.ends >= third.begins + MONTH

from pathlib import Path
from typing import Any

import pytest

from fhir_server.access.bearer import context_of, request_id
from fhir_server.access.token import Keys, TokenChecker, mint
from resources.errors import Unauthenticated

HERE = "https://here.example"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.load(tmp_path_factory.mktemp("bearer"))


def a_request(*headers: tuple[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "client": ("192.0.2.7", 5000),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }


def a_token(keys: Keys) -> str:
    return mint(
        keys,
        HERE,
        subject="Client/x",
        client="x",
        scope="system/*.rs",
        organization="own",
        role="application",
    )


@pytest.mark.standard("RFC 6750 2.1")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_bearer_of_a_token_is_its_principal(keys: Keys, scheme: str) -> None:
    request = a_request(("Authorization", f"{scheme} {a_token(keys)}"), ("X-Request-Id", "abc-1"))

    context = context_of(request, TokenChecker(keys, HERE), "read")

    assert context.principal.subject == "Client/x"
    assert (context.interaction, context.origin, context.request_id) == (
        "read",
        "192.0.2.7",
        "abc-1",
    )


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Authorization", "Bearer"),),
        (("Authorization", "Bearer "),),
        (("Authorization", "Basic eDp5"),),
        (("Authorization", "Bearer x"), ("Authorization", "Bearer y")),
        (("Authorization", "Bearer \xff\xfe"),),
        (("X-Forwarded-User", "admin"),),
    ],
)
def test_without_one_valid_token_nobody_is_known(
    keys: Keys, headers: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(Unauthenticated):
        context_of(a_request(*headers), TokenChecker(keys, HERE), "read")


def test_two_authorization_headers_are_refused_even_when_one_is_good(keys: Keys) -> None:
    good = ("Authorization", f"Bearer {a_token(keys)}")

    with pytest.raises(Unauthenticated):
        context_of(a_request(good, ("Authorization", "Bearer x")), TokenChecker(keys, HERE), "r")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost/fhir/metadata", "x:y@z", "", "[::1", "a\tb", "../healthz"]
)
def test_the_host_header_decides_nothing(keys: Keys, host: str) -> None:
    with pytest.raises(Unauthenticated):
        context_of(a_request(("Host", host)), TokenChecker(keys, HERE), "read")


def test_a_claimed_forwarding_address_is_not_the_origin(keys: Keys) -> None:
    request = a_request(
        ("Authorization", f"Bearer {a_token(keys)}"), ("X-Forwarded-For", "10.0.0.1")
    )

    assert context_of(request, TokenChecker(keys, HERE), "read").origin == "192.0.2.7"


@pytest.mark.standard("BALP X-Request-Id")
@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "\xe9"])
def test_a_request_id_that_is_not_a_plain_word_is_replaced(sent: str) -> None:
    request = a_request(("X-Request-Id", sent))

    assert request_id(request) != sent
    assert request_id(request) == request_id(request)


def test_the_keys_folder_may_be_made_by_several_at_once(tmp_path: Path) -> None:
    first, second = Keys.load(tmp_path), Keys.load(tmp_path)

    assert first.public() == second.public()

"""How clients show who they are: secrets, and assertions by RS384 and ES384 (RFC 7523, SMART)."""

import secrets
import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.smart_apps.authorization.browser import App, Site, authorized
from tests.smart_apps.authorization.conftest import EC, PASSWORD, RSA

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def assertion(
    site: Site, client: str = "backend", key: Any = EC, header: Any = None, **claims: Any
) -> str:
    now = int(time.time())
    algorithm = "ES384" if key is EC else "RS384"
    head = {"alg": algorithm, "kid": key.kid, "typ": "JWT", **(header or {})}
    said = {
        "iss": client,
        "sub": client,
        "aud": f"{site.url}/auth/token",
        "exp": now + 120,
        "jti": secrets.token_hex(8),
        **claims,
    }
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(head, said, key, algorithms=[str(head["alg"])])


def ask(site: Site, made: str, scope: str = "system/Patient.rs", **fields: Any) -> httpx.Response:
    asked = {
        "grant_type": "client_credentials",
        "scope": scope,
        "client_assertion_type": ASSERTION,
        "client_assertion": made,
        **fields,
    }
    return site.post("/auth/token", **asked)


@pytest.mark.standard("SMART smart_backend_services_auth_request_success")
@pytest.mark.parametrize("key", [EC, RSA], ids=["ES384", "RS384"])
def test_a_backend_gets_a_token_for_itself(site: Site, key: Any) -> None:
    answer = ask(site, assertion(site, key=key))

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["scope"] == "system/Patient.rs"
    assert 0 < body["expires_in"] <= 300
    assert "refresh_token" not in body
    assert site.get("Patient/p1", body["access_token"]).status_code == 200


@pytest.mark.standard("SMART smart_backend_services_invalid_grant_type")
def test_an_unknown_grant_type_is_refused(site: Site) -> None:
    answer = ask(site, assertion(site), grant_type="password")

    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.standard("SMART smart_backend_services_invalid_client_assertion")
def test_an_unknown_assertion_type_is_refused(site: Site) -> None:
    answer = ask(site, assertion(site), client_assertion_type="urn:other")

    assert answer.status_code in (400, 401)


@pytest.mark.standard("SMART smart_backend_services_invalid_jwt", "threats T6 T7")
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "keyed"},
        {"sub": "nobody", "iss": "nobody"},
        {"aud": "http://elsewhere.example/token"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": int(time.time()) + 86_400},
        {"jti": None},
        {"jti": ["x"]},
        {"jti": "x" * 1000},
        {"nbf": int(time.time()) + 3600},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_assertion_that_says_something_else_is_refused(
    site: Site, changes: dict[str, Any]
) -> None:
    answer = ask(site, assertion(site, **changes))

    assert answer.status_code in (400, 401), answer.text
    assert answer.json()["error"] == "invalid_client"


@pytest.mark.standard("threats T6")
@pytest.mark.parametrize(
    "header",
    [
        {"jku": "http://evil.example/keys"},
        {"jwk": EC.as_dict(private=False)},
        {"x5u": "http://evil.example/cert"},
        {"kid": "another"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_a_header_that_brings_a_key_of_its_own_is_refused(site: Site, header: Any) -> None:
    made = ask(site, assertion(site, header=header))

    assert made.json()["error"] == "invalid_client"


@pytest.mark.standard("threats T6")
def test_a_signature_by_another_key_or_by_none_is_refused(site: Site) -> None:
    strange = ECKey.generate_key("P-384", {"kid": str(EC.kid)})
    good = assertion(site)
    head, body, _ = good.split(".")

    shared = OctKey.import_key(secrets.token_bytes(64), {"kid": str(RSA.kid)})
    weak = RSAKey.import_key(RSA.as_dict(private=True))
    for made in (
        assertion(site, key=strange, header={"alg": "ES384"}),
        f"{head}.{body}.",
        assertion(site, key=shared, header={"alg": "HS256"}),
        assertion(site, key=weak, header={"alg": "RS256"}),
    ):
        assert ask(site, made).json()["error"] == "invalid_client"


@pytest.mark.standard("threats T7")
def test_an_assertion_is_taken_once(site: Site) -> None:
    made = assertion(site)

    assert ask(site, made).status_code == 200
    assert ask(site, made).json()["error"] == "invalid_client"


@pytest.mark.standard("SMART Backend Services scopes")
def test_a_backend_gets_no_more_than_it_is_registered_for(site: Site) -> None:
    some = ask(site, assertion(site), "system/Patient.cruds system/Task.cruds user/Task.rs")
    none = ask(site, assertion(site), "system/Patient.cruds")

    assert some.json()["scope"] == "system/Task.cruds"
    assert none.json()["error"] == "invalid_scope"


@pytest.mark.parametrize("client", ["web", "keyed"])
def test_a_confidential_client_needs_more_than_a_code(site: Site, client: str) -> None:
    app = App(site, client)
    code = authorized(app, "user/Patient.rs", "one", PASSWORD)["code"]

    assert app.token(code).status_code in (400, 401)


@pytest.mark.standard("RFC 6749 2.3.1")
def test_a_secret_is_told_in_the_header_or_in_the_form(site: Site) -> None:
    for form in (True, False):
        app = App(site, "web")
        code = authorized(app, "user/Patient.rs", "one", PASSWORD)["code"]
        if form:
            answer = app.token(code, client_secret="s3cret")
        else:
            fields = {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": "http://127.0.0.1:18999/cb",
                "code_verifier": app.verifier,
            }
            answer = httpx.post(
                f"{site.url}/auth/token", data=fields, auth=("web", "s3cret"), timeout=30
            )
        assert answer.status_code == 200, answer.text
    wrong = site.post("/auth/token", grant_type="authorization_code", code="x",
                      client_id="web", client_secret="guess")  # fmt: skip
    assert wrong.json()["error"] == "invalid_client"


@pytest.mark.standard("SMART client-confidential-asymmetric")
def test_a_client_with_a_key_swaps_its_code(site: Site) -> None:
    app = App(site, "keyed")
    code = authorized(app, "user/Patient.rs", "one", PASSWORD)["code"]

    answer = app.token(
        code,
        client_id=None,
        client_assertion_type=ASSERTION,
        client_assertion=assertion(site, "keyed"),
    )

    assert answer.status_code == 200, answer.text


@pytest.mark.standard("SMART smart_token_introspection_stu2_2")
def test_a_client_learns_what_its_token_is_worth(site: Site) -> None:
    token = ask(site, assertion(site)).json()

    told = site.post(
        "/auth/introspect",
        token=token["access_token"],
        client_assertion_type=ASSERTION,
        client_assertion=assertion(site),
    ).json()

    assert told["active"] is True
    assert told["client_id"] == "backend"
    assert told["scope"] == token["scope"]
    assert isinstance(told["exp"], int)


@pytest.mark.standard("RFC 7662 2.2")
def test_a_token_that_is_none_is_only_not_active(site: Site) -> None:
    headers = {"Authorization": f"Bearer {ask(site, assertion(site)).json()['access_token']}"}

    told = site.post("/auth/introspect", token="nonsense", headers=headers)

    assert told.json() == {"active": False}


@pytest.mark.standard("RFC 7662 2.1")
def test_a_stranger_learns_nothing_of_a_token(site: Site) -> None:
    token = ask(site, assertion(site)).json()["access_token"]

    other = site.post("/auth/introspect", token=token, client_id="other-app")
    nobody = site.post("/auth/introspect", token=token)

    assert other.json() == {"active": False}
    assert nobody.status_code in (400, 401)

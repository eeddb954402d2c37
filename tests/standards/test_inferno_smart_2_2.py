"""Inferno's SMART App Launch STU2.2 suite, criterion by criterion, over a real server.

Each test is named after one of the smart-app-launch-test-kit and asks what that one asks, as a
client would: nothing here comes from our tables. ``smart_tls`` is for whoever puts a proxy in
front: this server speaks HTTP behind it.
"""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import KeySet

from tests.smart_apps.authorization.browser import (
    REDIRECT,
    App,
    Forms,
    Site,
    authorized,
    follow,
    submit,
)
from tests.smart_apps.authorization.conftest import EC, NHS, PASSWORD, RSA, serving

pytestmark = pytest.mark.standard("SMART App Launch STU2.2 (Inferno)")

Json = dict[str, Any]
ORIGIN = "http://127.0.0.1:18999"
STANDALONE = "launch/patient launch/imagingstudy openid fhirUser offline_access patient/*.rs"
EHR = "launch openid fhirUser offline_access user/Practitioner.r patient/*.rs"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="module")
def served(cluster: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(cluster, template, tmp_path_factory.mktemp("inferno"), "inferno") as site:
        yield site


class Launched(NamedTuple):
    """One launch, with all that was seen on its way."""

    site: Site
    app: App
    scope: str
    location: str
    answer: httpx.Response

    @property
    def body(self) -> Json:
        body: Json = self.answer.json()
        return body

    def get(self, path: str, **headers: str) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {self.body['access_token']}"}
        return httpx.get(f"{self.site.base}/{path}", headers=bearer | headers, timeout=30)


def standalone(site: Site) -> Launched:
    app, browser = App(site), site.browser()
    page = browser.get("/auth/authorize", params=app.request(STANDALONE))
    page = submit(browser, page, login="one", password=PASSWORD)
    page = submit(browser, page, nhs=NHS)
    (found,) = Forms(page.text).found[1]["buttons"]
    page = submit(browser, page, form=1, **dict([found]))
    page = submit(browser, page, pick0="study-mine")
    if "act for you" in page.text:
        page = submit(browser, page, decision="allow")
    return redeemed(app, STANDALONE, page.headers["location"])


def ehr(site: Site) -> Launched:
    opener = App(site)
    token = opener.token(authorized(opener, "user/*.rs", "one", PASSWORD)["code"]).json()
    context = {
        "client": "app",
        "patient": "p1",
        "encounter": "visit-mine",
        "fhirContext": [{"reference": "ImagingStudy/study-mine"}],
    }
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    opened = httpx.post(f"{site.url}/auth/launch", json=context, headers=bearer, timeout=30)
    asked = parse_qs(urlsplit(opened.json()["url"]).query)
    app, browser = App(site), site.signed_in["one"]
    page = follow(
        browser,
        browser.get("/auth/authorize", params=app.request(EHR, launch=asked["launch"][0])),
    )
    if "act for you" in page.text:
        page = submit(browser, page, decision="allow")
    return redeemed(app, EHR, page.headers["location"])


def redeemed(app: App, scope: str, location: str) -> Launched:
    code = parse_qs(urlsplit(location).query)["code"][0]
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "client_id": "app",
        "code_verifier": app.verifier,
    }
    answer = httpx.post(
        f"{app.site.url}/auth/token", data=fields, headers={"Origin": ORIGIN}, timeout=30
    )
    return Launched(app.site, app, scope, location, answer)


@pytest.fixture(scope="module", params=[standalone, ehr], ids=["standalone", "ehr"])
def launched(request: pytest.FixtureRequest, served: Site) -> Launched:
    made: Launched = request.param(served)
    return made


def configuration(site: Site, **headers: str) -> httpx.Response:
    return httpx.get(f"{site.base}/.well-known/smart-configuration", headers=headers, timeout=30)


# Group: smart_discovery_stu2_2


def test_well_known_endpoint(served: Site) -> None:
    answer = configuration(served, Accept="text/html")

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert isinstance(answer.json(), dict)


def test_well_known_capabilities_stu2(served: Site) -> None:
    said = configuration(served).json()

    for name in ("authorization_endpoint", "token_endpoint", "issuer", "jwks_uri"):
        assert said[name].startswith("http"), name
    for name, member in (
        ("capabilities", "launch-ehr"),
        ("grant_types_supported", "authorization_code"),
        ("code_challenge_methods_supported", "S256"),
    ):
        assert all(isinstance(each, str) for each in said[name])
        assert member in said[name]
    assert "plain" not in said["code_challenge_methods_supported"]
    assert "client_credentials" in said["grant_types_supported"]
    for capability in said["capabilities"]:
        assert "/" not in capability or urlsplit(capability).scheme == "http"


def test_smart_cors_well_known_endpoint(served: Site) -> None:
    answer = configuration(served, Origin="https://inferno.example")

    allowed = answer.headers["access-control-allow-origin"]
    assert allowed in ("*", "https://inferno.example")


def test_smart_cors_metadata_request(served: Site) -> None:
    answer = httpx.get(f"{served.base}/metadata", headers={"Origin": "https://inferno.example"})

    allowed = answer.headers["access-control-allow-origin"]
    assert allowed in ("*", "https://inferno.example")


# Groups: smart_standalone_launch_stu2_2, smart_ehr_launch_stu2_2


def test_smart_app_launch(served: Site) -> None:
    opener = App(served)
    token = opener.token(authorized(opener, "user/*.rs", "one", PASSWORD)["code"]).json()
    opened = httpx.post(
        f"{served.url}/auth/launch",
        json={"client": "app", "patient": "p1"},
        headers={"Authorization": f"Bearer {token['access_token']}"},
        timeout=30,
    )

    assert parse_qs(urlsplit(opened.json()["url"]).query)["iss"] == [served.base]


def test_smart_launch_received(served: Site) -> None:
    launch = ehr(served)

    assert launch.answer.status_code == 200
    assert (launch.body["patient"], launch.body["encounter"]) == ("p1", "visit-mine")


def test_smart_app_redirect_stu2(served: Site) -> None:
    asked = App(served).request(STANDALONE)
    endpoint = configuration(served).json()["authorization_endpoint"]

    by_get = httpx.get(endpoint, params=asked, timeout=30)
    by_post = httpx.post(endpoint, data=asked, timeout=30)

    assert (by_get.status_code, by_post.status_code) == (200, 200)
    assert "<form" in by_get.text


def test_smart_code_received(launched: Launched) -> None:
    back = parse_qs(urlsplit(launched.location).query)

    assert back["state"] == [launched.app.state]
    assert len(back["code"][0]) >= 32
    assert "error" not in back


def test_smart_token_exchange_stu2_2(launched: Launched) -> None:
    assert launched.answer.status_code == 200
    assert launched.answer.headers["content-type"].partition(";")[0] == "application/json"


def test_smart_token_response_body_stu2_2(launched: Launched) -> None:
    body = launched.body

    for name in ("access_token", "token_type", "scope"):
        assert isinstance(body[name], str), name
        assert body[name], name
    assert body["token_type"].lower() == "bearer"
    assert type(body["expires_in"]) is int
    assert set(body["scope"].split()) <= set(launched.scope.split())
    assert isinstance(body["patient"], str)
    assert launched.get(f"Patient/{body['patient']}").status_code == 200
    for each in body["fhirContext"]:
        type_, _, id = each["reference"].partition("/")
        assert type_ not in ("Patient", "Encounter")
        assert launched.get(f"{type_}/{id}").json()["resourceType"] == type_


def test_smart_token_response_headers(launched: Launched) -> None:
    assert "no-store" in launched.answer.headers["cache-control"]
    assert "no-cache" in launched.answer.headers["pragma"]


def test_smart_cors_token_exchange(launched: Launched) -> None:
    assert launched.answer.headers["access-control-allow-origin"] in ("*", ORIGIN)


# Group: smart_openid_connect_stu2_2


def id_token(launched: Launched) -> tuple[Json, Json]:
    head, claims, _ = launched.body["id_token"].split(".")
    decoded = [json.loads(base64.urlsafe_b64decode(each + "===")) for each in (head, claims)]
    return decoded[0], decoded[1]


def openid(launched: Launched) -> Json:
    issuer = id_token(launched)[1]["iss"]
    found: Json = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()
    return found


def test_smart_openid_decode_id_token(launched: Launched) -> None:
    header, claims = id_token(launched)

    assert header
    assert claims


def test_smart_openid_retrieve_configuration(launched: Launched) -> None:
    issuer = id_token(launched)[1]["iss"]
    answer = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=30)

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "application/json"


def test_smart_openid_required_configuration_fields(launched: Launched) -> None:
    said = openid(launched)

    for name in (
        "issuer", "authorization_endpoint", "token_endpoint", "jwks_uri",
        "response_types_supported", "subject_types_supported",
        "id_token_signing_alg_values_supported",
    ):  # fmt: skip
        assert said[name], name
    assert said["issuer"] == id_token(launched)[1]["iss"]
    assert "RS256" in said["id_token_signing_alg_values_supported"]


def test_smart_openid_retrieve_jwks(launched: Launched) -> None:
    answer = httpx.get(openid(launched)["jwks_uri"], timeout=30)

    assert answer.status_code == 200
    assert all(key["kty"] == "RSA" for key in answer.json()["keys"])


def test_smart_openid_token_header(launched: Launched) -> None:
    header, _ = id_token(launched)
    keys = httpx.get(openid(launched)["jwks_uri"], timeout=30).json()["keys"]

    assert header["alg"] == "RS256"
    assert [key["kid"] for key in keys].count(header["kid"]) == 1


def test_smart_openid_token_payload(launched: Launched) -> None:
    keys = KeySet.import_key_set(httpx.get(openid(launched)["jwks_uri"], timeout=30).json())
    claims = jwt.decode(launched.body["id_token"], keys, algorithms=["RS256"]).claims

    assert claims["iss"] == openid(launched)["issuer"]
    assert claims["aud"] == "app"
    assert 0 < len(claims["sub"]) <= 255
    assert type(claims["exp"]) is int
    assert claims["exp"] > time.time()
    assert claims["iat"] <= time.time() + 5


def test_smart_openid_fhir_user_claim(launched: Launched) -> None:
    user = id_token(launched)[1]["fhirUser"]

    assert user.startswith(f"{launched.site.base}/")
    type_, id = user.removeprefix(f"{launched.site.base}/").split("/")
    assert type_ in ("Patient", "Practitioner", "RelatedPerson", "Person")
    assert id
    answer = fhir_user(launched)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["resourceType"], answer.json()["id"]) == (type_, id)


def test_smart_cors_openid_fhir_user_claim(launched: Launched) -> None:
    assert fhir_user(launched).headers["access-control-allow-origin"] in ("*", ORIGIN)


def fhir_user(launched: Launched) -> httpx.Response:
    user = id_token(launched)[1]["fhirUser"].removeprefix(f"{launched.site.base}/")
    return launched.get(user, Origin=ORIGIN)


# Group: smart_token_refresh_stu2, without and with scope


@pytest.fixture(scope="module", params=[False, True], ids=["without scope", "with scope"])
def refreshed(request: pytest.FixtureRequest, served: Site) -> tuple[Launched, httpx.Response]:
    first = standalone(served)
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": first.body["refresh_token"],
        "client_id": "app",
    }
    if request.param:
        fields["scope"] = first.body["scope"]
    return first, httpx.post(f"{served.url}/auth/token", data=fields, timeout=30)


def test_smart_token_refresh_stu2(refreshed: tuple[Launched, httpx.Response]) -> None:
    first, answer = refreshed

    assert answer.status_code == 200
    renewed = first._replace(answer=answer)
    assert renewed.get("Patient/p1").status_code == 200
    assert answer.json()["access_token"] != first.body["access_token"]


def test_smart_token_refresh_body(refreshed: tuple[Launched, httpx.Response]) -> None:
    first, answer = refreshed
    body = answer.json()

    assert body["access_token"]
    assert body["token_type"].lower() == "bearer"
    assert type(body["expires_in"]) is int
    assert set(body["scope"].split()) <= set(first.body["scope"].split())


def test_smart_token_refresh_headers(refreshed: tuple[Launched, httpx.Response]) -> None:
    _, answer = refreshed

    assert "no-store" in answer.headers["cache-control"]
    assert "no-cache" in answer.headers["pragma"]


# Group: backend_services_authorization


def backend(site: Site, key: Any = EC, **changes: str) -> httpx.Response:
    endpoint = configuration(site).json()["token_endpoint"]
    at = int(time.time())
    claims = {
        "iss": "backend", "sub": "backend", "aud": endpoint, "exp": at + 300, "iat": at,
        "jti": secrets.token_hex(16),
    }  # fmt: skip
    for name in ("iss", "sub", "aud"):
        claims[name] = changes.pop(f"claim_{name}", claims[name])
    algorithm = "ES384" if key is EC else "RS384"
    header = {"alg": algorithm, "kid": key.kid, "typ": "JWT"}
    made = jws.serialize_compact(header, json.dumps(claims), key, algorithms=[algorithm])
    fields = {
        "grant_type": "client_credentials",
        "scope": "system/Patient.rs",
        "client_assertion_type": ASSERTION,
        "client_assertion": made,
        **changes,
    }
    return httpx.post(endpoint, data=fields, timeout=30)


def test_smart_backend_services_invalid_grant_type(served: Site) -> None:
    answer = backend(served, grant_type="not_a_grant_type")

    assert answer.status_code == 400
    assert answer.json()["error"] == "unsupported_grant_type"


def test_smart_backend_services_invalid_client_assertion(served: Site) -> None:
    assert backend(served, client_assertion_type="not_an_assertion_type").status_code in (400, 401)


@pytest.mark.parametrize("claim", ["claim_iss", "claim_sub", "claim_aud"])
def test_smart_backend_services_invalid_jwt(served: Site, claim: str) -> None:
    assert backend(served, **{claim: "not_a_client"}).status_code in (400, 401)


@pytest.mark.parametrize("key", [EC, RSA], ids=["ES384", "RS384"])
def test_smart_backend_services_auth_request_success(served: Site, key: Any) -> None:
    assert backend(served, key).status_code in (200, 201)


def test_smart_backend_services_auth_response_body(served: Site) -> None:
    body = backend(served).json()

    assert body["access_token"]
    assert body["token_type"].lower() == "bearer"
    assert type(body["expires_in"]) is int
    assert 0 < body["expires_in"] <= 300
    assert body["scope"] == "system/Patient.rs"


# Group: smart_token_introspection_stu2_2


def introspected(launched: Launched, token: str) -> Json:
    endpoint = configuration(launched.site).json()["introspection_endpoint"]
    bearer = {"Authorization": f"Bearer {launched.body['access_token']}"}
    answer = httpx.post(endpoint, data={"token": token}, headers=bearer, timeout=30)
    assert answer.status_code == 200
    told: Json = answer.json()
    return told


def test_smart_token_introspection_request_of_an_active_token(launched: Launched) -> None:
    assert introspected(launched, launched.body["access_token"])["active"] is True


def test_smart_token_introspection_request_of_an_invalid_token(launched: Launched) -> None:
    assert introspected(launched, "invalid_token_value") == {"active": False}


def test_smart_token_introspection_response_of_an_active_token(launched: Launched) -> None:
    body, told = launched.body, introspected(launched, launched.body["access_token"])
    claims = id_token(launched)[1]

    assert told["client_id"] == "app"
    assert set(told["scope"].split()) == set(body["scope"].split())
    assert type(told["exp"]) is int
    assert told["exp"] > time.time()
    for name in ("patient", "encounter", "fhirContext"):
        assert told.get(name) == body.get(name), name
    for name in ("iss", "sub", "fhirUser"):
        assert told[name] == claims[name], name

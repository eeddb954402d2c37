"""Discovery: what SMART and OpenID Connect ask for, and nothing that is not so."""

import httpx
import pytest

from tests.smart_apps.authorization.browser import Site


@pytest.mark.standard("SMART smart_discovery_stu2_2 well_known_capabilities_stu2")
def test_the_smart_configuration_has_what_it_must(site: Site) -> None:
    answer = httpx.get(
        f"{site.base}/.well-known/smart-configuration", headers={"Accept": "application/fhir+xml"}
    )

    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert {"authorization_code", "client_credentials", "refresh_token"} <= set(
        told["grant_types_supported"]
    )
    assert told["issuer"] == site.url
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "introspection_endpoint"):
        assert told[name].startswith(f"{site.url}/auth/")
    assert {
        "launch-ehr", "launch-standalone", "client-public", "client-confidential-symmetric",
        "client-confidential-asymmetric", "sso-openid-connect", "context-ehr-patient",
        "context-standalone-patient", "permission-offline", "permission-patient",
        "permission-user", "permission-v1", "permission-v2", "authorize-post",
    } <= set(told["capabilities"])  # fmt: skip


@pytest.mark.standard("SMART smart_cors_well_known_endpoint")
def test_the_smart_configuration_is_for_pages_of_any_origin(site: Site) -> None:
    answer = httpx.get(
        f"{site.base}/.well-known/smart-configuration", headers={"Origin": "https://app.example"}
    )

    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")


@pytest.mark.standard("SMART smart_openid_required_configuration_fields")
def test_the_openid_configuration_has_what_it_must(site: Site) -> None:
    told = httpx.get(f"{site.url}/.well-known/openid-configuration").json()

    assert {
        "issuer", "authorization_endpoint", "token_endpoint", "jwks_uri",
        "response_types_supported", "subject_types_supported",
        "id_token_signing_alg_values_supported",
    } <= told.keys()  # fmt: skip
    assert "RS256" in told["id_token_signing_alg_values_supported"]
    keys = httpx.get(told["jwks_uri"]).json()["keys"]
    assert keys
    assert not any({"d", "p", "q"} & set(key) for key in keys)


@pytest.mark.standard("OpenID Connect Core 3.1.2.1")
def test_the_prompts_that_are_heeded_are_told(site: Site) -> None:
    told = httpx.get(f"{site.url}/.well-known/openid-configuration").json()

    assert set(told["prompt_values_supported"]) == {"none", "login", "consent", "select_account"}


@pytest.mark.standard("SMART App Launch 1.0, Using CapabilityStatement")
def test_an_older_client_finds_the_same_places_in_the_capability_statement(site: Site) -> None:
    told = httpx.get(f"{site.base}/.well-known/smart-configuration").json()
    statement = httpx.get(f"{site.base}/metadata").json()

    security = statement["rest"][0]["security"]
    (uris,) = security["extension"]
    assert security["cors"] is True
    assert uris["url"].endswith("/StructureDefinition/oauth-uris")
    assert {each["url"]: each["valueUri"] for each in uris["extension"]} == {
        "authorize": told["authorization_endpoint"],
        "token": told["token_endpoint"],
        "introspect": told["introspection_endpoint"],
        "revoke": told["revocation_endpoint"],
    }

"""The signing key changes under a running server, and nobody has to sign in again."""

import httpx
import pytest

from fhir_server.access import keys
from tests.smart_apps.authorization.browser import Site
from tests.smart_apps.authorization.test_clients import ASSERTION, ask, assertion


def published(site: Site) -> list[str]:
    answer = httpx.get(f"{site.url}/auth/jwks", timeout=30)
    assert answer.headers["cache-control"] == "public, max-age=60"
    return [key["kid"] for key in answer.json()["keys"]]


@pytest.mark.standard("OpenID Connect Core 10.1.1", "threats T6")
def test_the_signing_key_is_rolled_and_the_old_one_retired_while_the_server_runs(
    site: Site,
) -> None:
    folder = site.settings.data_dir
    before = ask(site, assertion(site)).json()["access_token"]
    (old,) = published(site)

    new = keys.roll(folder, at_once=True).id

    after = ask(site, assertion(site)).json()["access_token"]
    assert published(site) == [old, new]
    assert httpx.get(f"{site.url}/auth/jwks").json()["keys"][1].keys().isdisjoint("dpq")
    for token in (before, after):
        assert site.get("Patient/p1", token).status_code == 200

    keys.retire(folder, old)

    told = site.post(
        "/auth/introspect",
        token=before,
        client_assertion_type=ASSERTION,
        client_assertion=assertion(site),
    )
    assert told.json() == {"active": False}
    assert site.soon_refused("Patient/p1", before)
    assert site.get("Patient/p1", after).status_code == 200
    assert published(site) == [new]

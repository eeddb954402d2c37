"""What an access token opens, and what no token opens, asked of a real server (threats T6)."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.build import a_patient
from tests.server import Server
from tests.standards.asking import put

pytestmark = [pytest.mark.requirement("R014.1"), pytest.mark.standard("threats T6")]

Json = dict[str, Any]


def spelled(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def read(segment: str) -> Json:
    found: Json = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return found


def written(value: object) -> str:
    return spelled(json.dumps(value).encode())


def forged(server: Server) -> Iterator[tuple[str, str]]:
    """Tokens that nobody was given, as well made as can be without our key."""
    good = server.token()
    header, claims, signature = good.split(".")
    wider = {**read(claims), "organization": "elsewhere", "role": "system", "scope": "system/*.*"}
    public = server.keys.public()["keys"][0]
    yield "claims of another", f"{header}.{written(wider)}.{signature}"
    for algorithm in ("none", "None", "nOnE", ""):
        bare = written({**read(header), "alg": algorithm})
        yield f"alg {algorithm!r}", f"{bare}.{claims}."
        yield f"alg {algorithm!r}, kept signature", f"{bare}.{claims}.{signature}"
    for secret in (json.dumps(public).encode(), public["n"].encode(), b""):
        unsigned = f"{written({**read(header), 'alg': 'HS256'})}.{claims}"
        yield "HS256", f"{unsigned}.{spelled(hmac.digest(secret, unsigned.encode(), 'sha256'))}"
    for more in (
        {"kid": "../../dev/null"},
        {"kid": "' or 1=1 --"},
        {"kid": ""},
        {"kid": 0},
        {"crit": ["x"], "x": 1},
        {"jku": f"{server.address}/auth/jwks"},
        {"x5u": f"{server.address}/auth/jwks"},
        {"jwk": public},
    ):
        yield f"header {more}", f"{written({**read(header), **more})}.{claims}.{signature}"
    twice = '{"sub":"Client/root",' + json.dumps(read(claims))[1:]
    yield "a claim twice", f"{header}.{spelled(twice.encode())}.{signature}"
    yield "a huge one", f"{header}.{claims}{'A' * 12_000}.{signature}"
    yield "two in one", f"{good}, Bearer {good}"
    yield "an id token", server.keys.sign(read(claims), type="JWT")


def ours_and_wrong(server: Server) -> Iterator[tuple[str, str]]:
    """Tokens with our signature that do not count."""
    claims, now = read(server.token().split(".")[1]), int(time.time())
    for change in (
        {"exp": now - 1},
        {"nbf": now + 600},
        {"iat": now + 600},
        {"iss": "https://elsewhere.example"},
        {"aud": "https://elsewhere.example/fhir"},
        {"aud": [f"{server.base}"]},
        {"role": "system"},
        {"role": "root"},
        {"scope": "system/*.cruds system/../*.cruds"},
        {"scope": "system/*.crudsx"},
        {"scope": "system/*.cruds\u0000"},
        {"scope": "SYSTEM/*.cruds"},
        {"scope": "root/*.cruds"},
        {"scope": "system/Patient.rs?name:contains=a"},
        {"organization": ["lead", "other"]},
    ):
        yield f"claims {change}", server.keys.sign({**claims, **change})


def asked(server: Server, token: str) -> httpx.Response:
    return server.stranger().get("Patient", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.standard("RFC 6750 3")
def test_no_forged_or_spoiled_token_opens_anything(shared_server: Server) -> None:
    tried = [*forged(shared_server), *ours_and_wrong(shared_server)]

    for name, token in tried:
        answer = asked(shared_server, token)
        assert answer.status_code == 401, (name, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer"), name
        assert token[:40] not in answer.text
    assert len(tried) > 30
    assert asked(shared_server, shared_server.token()).status_code == 200


@pytest.mark.standard("RFC 6750 2")
def test_a_token_travels_in_one_authorization_header_alone(shared_server: Server) -> None:
    token, stranger = shared_server.token(), shared_server.stranger()
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]

    for answer in (
        stranger.get("Patient", params={"access_token": token}),
        stranger.post("Patient/_search", data={"access_token": token}),
        stranger.get("Patient", headers=twice),
        stranger.get("Patient", headers={"Authorization": f"Basic {token}"}),
        stranger.get("Patient", headers={"Cookie": f"access_token={token}"}),
    ):
        assert answer.status_code == 401
        assert token[:40] not in answer.text


@pytest.mark.standard("SMART App Launch 2.2 scopes")
@pytest.mark.parametrize(
    ("scope", "method", "address", "status"),
    [
        ("system/Patient.r", "GET", "Patient", 403),
        ("system/Patient.s", "GET", "Patient/tokened", 403),
        ("system/Patient.rs", "PUT", "Patient/tokened", 403),
        ("system/Patient.rs", "GET", "Task", 403),
        ("system/Task.rs", "GET", "Patient/tokened/_history", 403),
        ("system/Patient.rs", "DELETE", "Patient/tokened", 403),
        ("openid fhirUser launch", "GET", "Patient/tokened", 403),
        ("system/Patient.rs?_id=another", "GET", "Patient/tokened", 403),
        ("patient/Patient.rs", "GET", "Patient/tokened", 403),
        ("system/Patient.rs", "GET", "Patient/tokened", 200),
    ],
)
def test_a_scope_opens_what_it_names_and_nothing_beside(
    shared_server: Server, api: httpx.Client, scope: str, method: str, address: str, status: int
) -> None:
    patient = put(
        api, a_patient("tokened", managingOrganization={"reference": "Organization/lead"})
    )
    client = shared_server.client(scope=scope)

    answer = client.request(method, address, content=json.dumps(patient))

    assert answer.status_code == status, answer.text
    if status == 403 and "_id=another" not in scope:
        absent = client.request(
            method,
            address.replace("tokened", "nobody"),
            content=json.dumps({**patient, "id": "nobody"}),
        )
        assert absent.text.replace("nobody", "tokened") == answer.text


@pytest.mark.standard("SMART App Launch 2.2 patient-specific scopes")
def test_a_token_for_one_patient_tells_nothing_of_another(
    shared_server: Server, api: httpx.Client
) -> None:
    lead = {"reference": "Organization/lead"}
    for id in ("mine", "not-mine"):
        put(api, a_patient(id, managingOrganization=lead))
    client = shared_server.client(scope="patient/*.rs", patient="mine")

    assert client.get("Patient/mine").status_code == 200
    found = client.get("Patient?_id=mine,not-mine&_total=accurate").json()
    assert (found["total"], [one["resource"]["id"] for one in found["entry"]]) == (1, ["mine"])
    hidden, absent = client.get("Patient/not-mine"), client.get("Patient/nobody")
    assert (hidden.status_code, absent.status_code) == (404, 404)
    assert hidden.text.replace("not-mine", "nobody") == absent.text

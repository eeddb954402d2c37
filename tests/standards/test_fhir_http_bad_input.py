"""Whatever is sent: an OperationOutcome or an answer, never a failure of the server."""

import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build import a_patient, a_request
from tests.server import Server
from tests.standards.asking import refused

pytestmark = pytest.mark.standard("FHIR http status codes")

quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(
        ["Patient/1", "#x", "urn:uuid:1", "2026-01-01", "<div/>", "\0", "http://a|b"]
    ),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "url", "extension", "reference", "coding", "value", "_id", "resourceType"]
            )
            | st.text(max_size=4),
            children,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def answered(answer: httpx.Response) -> None:
    assert answer.status_code < 500 or answer.status_code == 501, answer.text
    if answer.status_code >= 400:
        refused(answer, answer.status_code)


def written(value: Any) -> bytes:
    """JSON with whatever it cannot hold written as Python does: NaN, lone surrogates escaped."""
    return json.dumps(value).encode()


@quick
@given(content=st.binary(max_size=60))
def test_any_octets_as_a_body(api: httpx.Client, content: bytes) -> None:
    answered(api.post("/Patient", content=content))


@quick
@given(
    member=st.sampled_from(
        [
            "name",
            "gender",
            "birthDate",
            "text",
            "contained",
            "meta",
            "extension",
            "_gender",
            "id",
            "link",
            "identifier",
            "generalPractitioner",
            "implicitRules",
        ]
    ),
    value=VALUES,
)
def test_any_value_of_any_member(api: httpx.Client, member: str, value: object) -> None:
    answered(api.post("/Patient", content=written({**a_patient(None), member: value})))


@quick
@given(
    member=st.sampled_from(
        ["subject", "basedOn", "reasonReference", "code", "occurrencePeriod", "requisition"]
    ),
    value=VALUES,
)
def test_any_value_of_any_reference(api: httpx.Client, member: str, value: object) -> None:
    answered(api.post("/ServiceRequest", content=written({**a_request(None), member: value})))


@quick
@given(
    entry=st.fixed_dictionaries(
        {},
        optional={
            "fullUrl": VALUES,
            "resource": VALUES | st.just(a_patient(None)),
            "request": VALUES
            | st.fixed_dictionaries(
                {
                    "method": st.sampled_from(["GET", "POST", "PUT", "HEAD", "PATCH", "x"]),
                    "url": st.sampled_from(
                        ["Patient", "Patient/1", "", "?", "/", "Patient?_id=%00", "$x"]
                    )
                    | st.text(max_size=10),
                }
            ),
        },
    ),
    kind=st.sampled_from(["batch", "transaction"]),
)
def test_any_entry_of_a_bundle(api: httpx.Client, entry: object, kind: str) -> None:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}

    answer = api.post("", content=written(bundle))

    answered(answer)
    for each in answer.json().get("entry", []):
        assert each["response"]["status"][:3] not in {"500", "503"}, answer.text


NAMES = st.sampled_from(
    [
        "_id",
        "code",
        "patient",
        "subject",
        "authored",
        "identifier",
        "_lastUpdated",
        "_sort",
        "_count",
        "_include",
        "_revinclude",
        "_total",
        "_cursor",
        "_summary",
        "status",
        "_format",
        "patient.name",
        "subject:Patient.birthdate",
        "code:not",
        "code:missing",
        "_tag",
        "based-on",
    ]
)


@quick
@given(pairs=st.lists(st.tuples(NAMES | st.text(max_size=6), st.text(max_size=12)), max_size=4))
def test_any_query(api: httpx.Client, pairs: list[tuple[str, str]]) -> None:
    query = "&".join(
        f"{quote(name.encode('utf-8', 'surrogatepass'))}="
        f"{quote(value.encode('utf-8', 'surrogatepass'))}"
        for name, value in pairs
    )

    answered(api.get(f"/ServiceRequest?{query}"))


@quick
@given(
    name=NAMES,
    value=st.lists(
        st.sampled_from(
            [
                "|",
                ",",
                "\\",
                "$",
                ":",
                "ge",
                "2026",
                "-01",
                "T10:00",
                "Z",
                "Patient/",
                "1",
                "%",
                "_",
                "'",
                '"',
                "\n",
                "é",
                "http://",
            ]
        ),
        max_size=6,
    ),
)
def test_any_value_made_of_what_means_something(
    api: httpx.Client, name: str, value: list[str]
) -> None:
    answered(api.get("/ServiceRequest", params={name: "".join(value)}))


@pytest.mark.parametrize(
    "method", ["PROPFIND", "TRACE", "PATCH", "DELETE", "OPTIONS", "PUT", "POST"]
)
@pytest.mark.parametrize(
    "path",
    [
        "/Patient/1",
        "/Patient",
        "/Patient/1/_history",
        "/metadata",
        "",
        "/Patient/1/_history/1",
        "/_search",
    ],
)
def test_any_method_on_any_address(api: httpx.Client, method: str, path: str) -> None:
    answer = api.request(method, path)

    answered(answer)
    if answer.status_code == 405:
        assert "allow" in answer.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/Patient/1/2/3/4/5", 404),
        ("/Patient/1/_history/1/2", 404),
        ("/Patient/1/wings", 404),
        ("/Patient//_history", 404),
        ("//Patient/1", 404),
        ("/metadata/1", 404),
        ("/_bogus", 404),
        ("/Patient/_bogus", 404),
        ("/Task/1/Observation", 404),
        ("/Patient/$everything", 404),
        ("/$export", 400),
        ("/_history/_history", 404),
        ("/Patient/_history/1", 404),
        ("?_type=Unicorn", 400),
        ("/%00", 404),
        ("/Patient/%00/_history/%00", 404),
        ("/" + "a" * 4000, 404),
        ("/Patient/" + "/".join("a" * 500), 404),
    ],
)
def test_an_address_that_is_none(api: httpx.Client, path: str, status: int) -> None:
    refused(api.get(path), status)


RAW = [
    b"BREW /fhir/Patient HTTP/1.1\r\nHost: x\r\n\r\n",
    b"get /fhir/Patient HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/Patient/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/Patient?code=\xff\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fhir/metadata HTTP/9.9\r\n\r\n",
    b"\x00\x01\x02\x03\r\n\r\n",
    b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /fhir/metadata HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"GET http://evil.example/fhir/metadata HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("sent", RAW)
def test_octets_that_are_hardly_http_leave_the_server_standing(
    shared_server: Server, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))

    assert b" 500 " not in received[:20]
    assert b"Traceback" not in received
    assert shared_server.stranger().get("/metadata").status_code == 200

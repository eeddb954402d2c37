import gzip
from typing import Any, Final

import psycopg
import pytest

from fhir_server.rest.door import UNKNOWN
from fhir_server.rest.exchange import Request
from fhir_server.rest.outcomes import MethodNotAllowed
from fhir_server.rest.router import route
from resources.errors import NotFound
from tests.build import a_patient, a_request
from tests.server import Server
from tests.standards.asking import refused


@pytest.mark.standard("FHIR http interactions")
@pytest.mark.parametrize(
    ("method", "address", "interaction", "type", "id", "version"),
    [
        ("GET", "metadata", "capabilities", "", "", ""),
        ("GET", "Task/1", "read", "Task", "1", ""),
        ("HEAD", "Task/1", "read", "Task", "1", ""),
        ("GET", "Task/1/", "read", "Task", "1", ""),
        ("GET", "Task/1/_history/2", "vread", "Task", "1", "2"),
        ("GET", "Task/1/_history", "history-instance", "Task", "1", ""),
        ("POST", "Task", "create", "Task", "", ""),
        ("PUT", "Task/1", "update", "Task", "1", ""),
        ("GET", "Task", "search-type", "Task", "", ""),
        ("POST", "Task/_search", "search-type", "Task", "", ""),
        ("PATCH", "Task/1", "patch", "Task", "1", ""),
        ("DELETE", "Task/1", "delete", "Task", "1", ""),
        ("PUT", "Task", "update", "Task", "", ""),
        ("PATCH", "Task", "patch", "Task", "", ""),
        ("DELETE", "Task", "delete", "Task", "", ""),
        ("GET", "Task/_history", "history-type", "Task", "", ""),
        ("HEAD", "_history", "history-system", "", "", ""),
        ("POST", "", "batch", "", "", ""),
        ("POST", "/", "batch", "", "", ""),
    ],
)
def test_method_and_address_say_what_is_asked(
    method: str, address: str, interaction: str, type: str, id: str, version: str
) -> None:
    request = Request(method, UNKNOWN)

    row = route(request, address)

    assert (row.name, request.type, request.id, request.version) == (interaction, type, id, version)


@pytest.mark.parametrize(
    ("method", "address", "refusal"),
    [
        ("DELETE", "Provenance/1", MethodNotAllowed),
        ("PATCH", "AuditEvent/1", MethodNotAllowed),
        ("PUT", "Provenance", MethodNotAllowed),
        ("DELETE", "", MethodNotAllowed),
        ("PUT", "Patient/1/Task", MethodNotAllowed),
        ("GET", "Task/1/Patient", NotFound),
        ("POST", "Task/$metaphor", NotFound),
        ("POST", "Task/1", MethodNotAllowed),
        ("DELETE", "Task/1/_history/1", MethodNotAllowed),
        ("GET", "Task/_search", MethodNotAllowed),
        ("GET", "Ghost", NotFound),
        ("GET", "Task/1/2", NotFound),
        ("GET", "Task/1/_history/1/1", NotFound),
        ("GET", "_bogus", NotFound),
    ],
)
def test_everything_else_is_refused(method: str, address: str, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        route(Request(method, UNKNOWN), address)


BAD: Final[dict[str, Any]] = {
    "JSON":      {"content": b"{"},
    "gzip":      {"content": b"{", "headers": {"Content-Encoding": "gzip"}},
    "resource":  {"json": {"resourceType": "Patient", "wings": 2}},
    "reference": {"json": a_request(None)},
    "If-Match":  {"json": a_patient("p"), "headers": {"If-Match": "x"}},
    "version":   {"json": a_patient("p"), "headers": {"If-Match": 'W/"2"'}},
    "patch":     {"json": [], "headers": {"Content-Type": "application/json-patch+json"}},
    "Bundle":    {"json": {"resourceType": "Bundle", "type": "x"}},
    "":          {},
}  # fmt: skip

REFUSED: Final = (
    ("GET",    "/Ghost/1",              "",          404, "operation",        None),
    ("GET",    "/Patient/no",           "",          404, "read",             "Patient"),
    ("GET",    "/Patient/no/_history/x", "",         404, "vread",            "Patient"),
    ("GET",    "/Patient/no/_history",  "",          404, "history-instance", "Patient"),
    ("GET",    "/Patient?_count=x",     "",          400, "search-type",      "Patient"),
    ("POST",   "/Patient",              "JSON",      400, "create",           "Patient"),
    ("POST",   "/Patient",              "gzip",      400, "create",           "Patient"),
    ("POST",   "/Patient",              "resource",  400, "create",           "Patient"),
    ("POST",   "/ServiceRequest",       "reference", 422, "create",           "ServiceRequest"),
    ("PUT",    "/Patient/p",            "If-Match",  400, "update",           "Patient"),
    ("PUT",    "/Patient/p",            "version",   412, "update",           "Patient"),
    ("POST",   "",                      "Bundle",    400, "batch",            None),
    ("PATCH",  "/Patient/p",            "JSON",      400, "patch",            "Patient"),
    ("PATCH",  "/Patient/p",            "patch",     404, "patch",            "Patient"),
    ("DELETE", "/Patient/p",            "If-Match",  400, "delete",           "Patient"),
    ("DELETE", "/Provenance/p",         "",          405, "operation",        "Provenance"),
)  # fmt: skip


@pytest.mark.requirement("R014.1")
def test_every_refusal_leaves_one_row_in_the_audit(server: Server, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for method, path, bad, status, interaction, type in REFUSED:
            connection.execute("truncate audit")

            answer = server.client().request(method, path, **BAD[bad])

            refused(answer, status)
            rows = connection.execute(
                "select interaction, outcome, subject, type, request from audit"
            ).fetchall()
            request = answer.headers["x-request-id"]
            assert rows == [(interaction, 4, "Client/test", type, request)], (method, path, bad)


@pytest.mark.requirement("R014.1")
def test_a_stranger_leaves_a_row_in_the_audit(server: Server, database_url: str) -> None:
    for client in (server.stranger(), server.client(lifetime=-60)):
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("truncate audit")

            refused(client.get("/Patient/p1"), 401)

            (row,) = connection.execute(
                "select interaction, outcome, subject, type, id, detail from audit"
            ).fetchall()
        assert row == ("read", 4, "", "Patient", "p1", "Unauthenticated")


def test_without_its_database_the_server_asks_for_patience(
    server: Server, database_url: str, cluster: str
) -> None:
    name = database_url.partition("?")[0].rpartition("/")[2]
    client = server.client()
    client.get("/Patient/p1")
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"alter database {name} allow_connections false")
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
        )

        answer = client.get("/Patient/p1")

        connection.execute(f"alter database {name} allow_connections true")
    refused(answer, 503, "throttled")
    assert answer.headers["retry-after"].isdecimal()


def test_a_body_is_read_only_where_one_is_expected(server: Server) -> None:
    answer = server.client().request(
        "GET", "/Patient/p1", content=gzip.compress(b"x"), headers={"Content-Encoding": "gzip"}
    )

    refused(answer, 404)

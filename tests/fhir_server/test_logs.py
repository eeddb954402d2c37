import json
import logging
import sys
from typing import Any

import pytest

from fhir_server import logs
from resources.errors import Conflict

CANARY = "Wilhelmina Canary 9434765919"


def line_of(name: str, message: str, *arguments: object, **extra: Any) -> dict[str, Any]:
    error = extra.pop("error", None)
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.ERROR, "x.py", 7, message, arguments, info, "work")
    record.__dict__.update(extra)
    line: dict[str, Any] = json.loads(logs.Line("http").format(record))
    return line


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_line_says_what_where_and_when() -> None:
    line = line_of("fhir_server.serve", "%s died", "http-1", exit=-9)

    assert line["message"] == "http-1 died"
    assert (line["level"], line["role"], line["exit"]) == ("ERROR", "http", -9)
    assert line["time"].endswith("Z")


@pytest.mark.standard("ASVS V16.2.5")
@pytest.mark.parametrize(
    "logger", ["psycopg.pool", "procrastinate.worker", "pynetdicom.assoc", "x"]
)
def test_other_peoples_words_are_not_repeated(logger: str) -> None:
    assert CANARY not in json.dumps(line_of(logger, f"row ({CANARY})"))
    assert CANARY not in json.dumps(line_of(logger, "row (%s)", CANARY))


@pytest.mark.standard("ASVS V16.2.5")
def test_an_exception_is_told_by_type_and_place_not_by_its_text() -> None:
    inner = raised(ValueError(f"duplicate key (name)=({CANARY})"))
    error = raised(RuntimeError(CANARY))
    error.__cause__ = inner

    line = line_of("fhir_server.rest", "request failed", error=error)

    assert CANARY not in json.dumps(line)
    assert (line["error"], line["cause"]) == ("builtins.RuntimeError", "builtins.ValueError")
    assert line["places"][0].endswith(" raised")


def test_a_refusal_may_say_its_reason() -> None:
    line = line_of("fhir_server.rest", "refused", error=raised(Conflict("the port is taken")))

    assert line["reason"] == "the port is taken"


@pytest.mark.standard("ASVS V16.2.5")
def test_a_field_that_is_not_listed_is_left_out() -> None:
    line = line_of("fhir_server.rest", "request", patient_name=CANARY, query=CANARY, status=200)

    assert CANARY not in json.dumps(line)
    assert line["status"] == 200


def test_configured_logging_writes_lines_and_catches_warnings(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.configure("worker", "INFO")
        logging.getLogger("fhir_server.seen").info("a duty was done", extra={"count": 3})
        sys.stderr.flush()
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(capture=False)

    line = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert (line["role"], line["count"]) == ("worker", 3)

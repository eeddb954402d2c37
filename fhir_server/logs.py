"""Logs: one JSON object a line on standard error, and nothing about a patient in any of them.

What may stand in a line is listed, not filtered: `FIELDS` by name, the words of our own modules,
and of other people's modules only what `TRUSTED` lists. An exception is told by its type and the
places it passed, never by its text, which may quote the data it stumbled over; a `Refusal` alone
may speak, because its reason is written to be heard by strangers.

OWASP ASVS V16.2.5 (log by protection level); OpenTelemetry's field names are not used.
"""

import asyncio
import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from resources.errors import Refusal

FIELDS: Final = (
    "request", "interaction", "method", "address", "status", "ms", "client", "organization",
    "peer", "origin", "role", "pid", "exit", "instances", "study", "count", "job", "seconds", "url",
)  # fmt: skip
"""What ``extra=`` may add to a line: ids, codes, counts and times."""

OURS: Final = ("fhir_server", "dicom_bridge", "smart_apps", "resources", "demo")
"""Packages whose messages are written with this page in mind."""

TRUSTED: Final = ("uvicorn.error", "alembic.runtime.migration")
"""Other people's loggers whose messages tell of the process, never of a request's content."""

FLUSH_SECONDS: Final = 0.25
DESCRIPTOR: Final = 2
"""Standard error."""


class Line(logging.Formatter):
    """A log record as one line of JSON."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Say what happened, when, where in the code, and the listed fields."""
        line: dict[str, Any] = {
            "time": instant(record.created),
            "level": record.levelname,
            "role": self._role,
            "logger": record.name,
            "message": _message(record),
        }
        for name in FIELDS:
            if name in record.__dict__:
                line[name] = record.__dict__[name]
        if record.exc_info and record.exc_info[1] is not None:
            line |= _told(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


class Access:
    """The access log: one line a request, written several at a time.

    What is not yet written when the process is killed is lost; the audit is what must not be.
    """

    def __init__(self, role: str) -> None:
        self._role = role
        self._lines: list[bytes] = []
        self.enabled = logging.getLogger("fhir_server.access_log").isEnabledFor(logging.INFO)

    def note(self, line: Mapping[str, Any]) -> None:
        """Write a line soon; its members must be of `FIELDS`."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        stamp = {"time": instant(time.time()), "level": "INFO", "role": self._role}
        self._lines.append(orjson.dumps({**stamp, "logger": "access", **line}))

    def flush(self) -> None:
        """Write what is waiting."""
        if self._lines:
            lines, self._lines = self._lines, []
            write(b"\n".join(lines) + b"\n")


def write(octets: bytes) -> None:
    """Write to standard error, all of it; where nobody reads any more, nothing is lost by that."""
    while octets:
        try:
            octets = octets[os.write(DESCRIPTOR, octets) :]
        except OSError:
            return


def configure(role: str, level: str) -> None:
    """Send everything that is logged in this process through `Line`.

    Warnings of the interpreter are logged too.
    """
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(Line(role))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)


def instant(seconds: float) -> str:
    """Spell a time.

    Examples
    --------
    >>> instant(1795508061.25)
    '2026-11-24T08:14:21.250Z'
    """
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03}Z"


@lru_cache(maxsize=2)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def _message(record: logging.LogRecord) -> str:
    """Give the words of a record, if its logger may speak."""
    if record.name.partition(".")[0] in OURS or record.name in TRUSTED:
        return record.getMessage()
    return f"{record.module}.{record.funcName}:{record.lineno}"


def _told(error: BaseException) -> dict[str, Any]:
    """Tell an exception by its type and the places it passed."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    told: dict[str, Any] = {
        "error": f"{type(error).__module__}.{type(error).__qualname__}",
        "places": [
            f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames
        ],
    }
    if isinstance(error, Refusal):
        told["reason"] = error.reason
    cause = error.__cause__ or error.__context__
    if cause is not None:
        told["cause"] = f"{type(cause).__module__}.{type(cause).__qualname__}"
    return told

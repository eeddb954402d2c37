"""Bundles as bytes: joined from the stored texts, which are never parsed or written anew.

FHIR Bundle: searchset (FHIR http, "search"), history, batch-response and transaction-response. An
array without items is left out, as FHIR JSON has no empty arrays.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

import orjson

from fhir_server.rest.exchange import Answer
from fhir_server.rest.outcomes import REASONS
from fhir_server.search.stored import Stored
from fhir_server.store import ids

METHODS: Final = {"C": b"PUT", "U": b"PUT", "D": b"DELETE"}
"""What made a version, as Bundle.entry.request.method of a history; but a create is a POST."""

STATUSES: Final = {"C": b"201 Created", "U": b"200 OK", "D": b"204 No Content"}
"""How it was answered, as Bundle.entry.response.status of a history."""


def bundle(
    kind: bytes,
    entries: Sequence[bytes],
    *,
    total: int | None = None,
    links: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Join entries to a Bundle; `links` are relation and address.

    Examples
    --------
    >>> bundle(b"searchset", [], total=0, links=[("self", "https://a/Flag")]).decode()
    '{"resourceType":"Bundle","type":"searchset","total":0,"link":[{"relation":"self","url":"https://a/Flag"}]}'
    """
    parts = [b'{"resourceType":"Bundle","type":"', kind, b'"']
    if total is not None:
        parts.append(b',"total":%d' % total)
    if links:
        shown = [{"relation": relation, "url": url} for relation, url in links]
        parts += (b',"link":', orjson.dumps(shown))
    if entries:
        parts += (b',"entry":[', b",".join(entries), b"]")
    parts.append(b"}")
    return b"".join(parts)


def hits(base: bytes, rows: Iterable[Stored], mode: bytes) -> list[bytes]:
    """Write search hits: fullUrl, resource, search.mode.

    Types and ids hold no character that JSON would escape.
    """
    end = b',"search":{"mode":"' + mode + b'"}}'
    return [
        b'{"fullUrl":"%b/%b/%b","resource":%b%b'
        % (base, row.type.encode(), row.id.encode(), row.text, end)
        for row in rows
    ]


def remark(outcome: bytes) -> bytes:
    """Write an entry that tells about the search itself (search.mode outcome)."""
    return b'{"resource":' + outcome + b',"search":{"mode":"outcome"}}'


def past(base: bytes, row: Stored) -> bytes:
    """Write one version of a history: what it was, what made it, how that was answered.

    What a create made has an id of ours; under an id of a client's choice, and after a deletion, it
    was an update that made it.
    """
    address = f"{row.type}/{row.id}".encode()
    posted = row.interaction == "C" and row.version == 1 and ids.is_ours(row.id)
    asked = row.type.encode() if posted else address
    content = b'"resource":' + row.text + b"," if not row.deleted else b""
    return (
        b'{"fullUrl":"%b/%b",%b"request":{"method":"%b","url":"%b"},'
        b'"response":{"status":"%b","etag":"W/\\"%d\\"","lastModified":"%b"}}'
    ) % (
        base,
        address,
        content,
        b"POST" if posted else METHODS[row.interaction],
        asked,
        STATUSES[row.interaction],
        row.version,
        _wire(row.instant),
    )


def response(answer: Answer) -> bytes:
    """Write the answer to one entry of a batch or transaction.

    A body of a success is the resource, that of a failure the outcome (FHIR Bundle,
    "response.outcome").
    """
    said: dict[str, str] = {"status": f"{answer.status} {REASONS.get(answer.status, '')}".strip()}
    if location := answer.header(b"location"):
        said["location"] = location
    if etag := answer.header(b"etag"):
        said["etag"] = etag
    if answer.instant is not None:
        said["lastModified"] = _wire(answer.instant).decode()
    shown = orjson.dumps(said)
    if not answer.body:
        return b'{"response":' + shown + b"}"
    if answer.status < 300 and not answer.body.startswith(b'{"resourceType":"OperationOutcome"'):
        return b'{"resource":' + answer.body + b',"response":' + shown + b"}"
    return b'{"response":' + shown[:-1] + b',"outcome":' + answer.body + b"}}"


def address(base: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Write an address with its query; what FHIR separates values with stays readable.

    Examples
    --------
    >>> address("https://a/Task", [("code", "s|a,b"), ("_sort", "-due")])
    'https://a/Task?code=s%7Ca,b&_sort=-due'
    """
    query = "&".join(f"{quote(name, safe=':')}={quote(value, safe=SAFE)}" for name, value in pairs)
    return f"{base}?{query}" if query else base


SAFE: Final = ":,/$-"


def _wire(instant: int) -> bytes:
    seconds, rest = divmod(instant, 1_000_000)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{rest // 1000:03d}Z", time.gmtime(seconds)).encode()

"""How a refusal sounds over FHIR REST: a status, and an OperationOutcome.

FHIR http, "create": "400 Bad Request - resource could not be parsed or failed basic FHIR
validation rules"; "422 Unprocessable Entity - the proposed resource violated applicable FHIR
profiles or server business rules". What the R4 definitions say (elements, cardinality, types,
required bindings) is therefore 400, what this house says on top is 422.

A reason never holds patient data, and what is not a Refusal is never told (OWASP ASVS V16.5.1).
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import orjson

from fhir_server.rest.exchange import Answer, Header
from fhir_server.rest.negotiate import NotAcceptable, UnsupportedMedia
from resources.errors import (
    Ambiguous,
    Conflict,
    Exhausted,
    Forbidden,
    Gone,
    Immutable,
    Invalid,
    Issue,
    NotFound,
    Refusal,
    Stale,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unconditional,
    Unprocessable,
    Unreadable,
    Unsupported,
)


class MethodNotAllowed(Unsupported):
    """The address exists, but not for this method; `allowed` are those it has."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__("This address does not take that method.")
        self.allowed = tuple(allowed)


class NotOffered(Unsupported):
    """FHIR defines it, this server does not offer it."""


class QueryTooLong(TooLarge):
    """The query part of the address is longer than we read."""


class Sound(NamedTuple):
    """HTTP status, and the IssueType of an issue that names none itself."""

    status: int
    code: str


SOUNDS: Final[dict[type[BaseException], Sound]] = {
    Unreadable:       Sound(400, "structure"),
    Unprocessable:    Sound(422, "business-rule"),
    Invalid:          Sound(400, "invalid"),
    NotAcceptable:    Sound(406, "not-supported"),
    UnsupportedMedia: Sound(415, "not-supported"),
    MethodNotAllowed: Sound(405, "not-supported"),
    NotOffered:       Sound(501, "not-supported"),
    Immutable:        Sound(405, "not-supported"),
    Unsupported:      Sound(400, "not-supported"),
    Unauthenticated:  Sound(401, "login"),
    Forbidden:        Sound(403, "forbidden"),
    Gone:             Sound(410, "deleted"),
    NotFound:         Sound(404, "not-found"),
    Stale:            Sound(412, "conflict"),
    Unconditional:    Sound(428, "conflict"),
    Ambiguous:        Sound(412, "multiple-matches"),
    Conflict:         Sound(409, "conflict"),
    QueryTooLong:     Sound(414, "too-long"),
    TooLarge:         Sound(413, "too-long"),
    Throttled:        Sound(429, "throttled"),
    Exhausted:        Sound(503, "throttled"),
    Refusal:          Sound(400, "processing"),
    BaseException:    Sound(500, "exception"),
}  # fmt: skip
"""FHIR http, the status codes of each interaction; RFC 9110 Section 15; RFC 6585 Sections 3 and 4
(428, 429).

Looked up along the method resolution order, so that a subclass sounds like its parent until it
needs a row of its own.
"""

RETRY_AFTER_SECONDS: Final = 2

REASONS: Final[dict[int, str]] = {
    200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified",
    400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    409: "Conflict", 410: "Gone", 412: "Precondition Failed", 413: "Content Too Large",
    414: "URI Too Long", 415: "Unsupported Media Type", 422: "Unprocessable Content",
    428: "Precondition Required", 429: "Too Many Requests", 500: "Internal Server Error",
    501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip
"""RFC 9110 Section 15: what stands behind the number in Bundle.entry.response.status."""


def sound(problem: BaseException) -> Sound:
    """Look a problem up, or the nearest ancestor that the table names.

    Examples
    --------
    >>> sound(Gone())
    Sound(status=410, code='deleted')
    >>> sound(KeyError())
    Sound(status=500, code='exception')
    """
    return next(SOUNDS[kind] for kind in type(problem).__mro__ if kind in SOUNDS)


def answer(problem: BaseException) -> Answer:
    """Answer a problem: all its issues if it is a Refusal, one sentence without detail if not."""
    status, code = sound(problem)
    issues = (
        problem.issues
        if isinstance(problem, Refusal)
        else [Issue(code, "The server failed to answer; the failure is logged.")]
    )
    return Answer(status, outcome(issues, code), _headers(problem, status))


def outcome(issues: Sequence[Issue], code: str = "informational", severity: str = "error") -> bytes:
    """Write issues as an OperationOutcome; `code` stands in for an issue that has none.

    Examples
    --------
    >>> outcome([Issue("", "No such resource.")], "not-found").decode()[:72]
    '{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"'
    """
    return several([(severity, issue) for issue in issues], code)


def several(said: Iterable[tuple[str, Issue]], code: str = "informational") -> bytes:
    """Write issues of several severities as an OperationOutcome."""
    issues = [_issue(issue, code, severity) for severity, issue in said]
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": issues})


def _issue(issue: Issue, code: str, severity: str) -> dict[str, object]:
    json: dict[str, object] = {"severity": severity, "code": issue.code or code}
    json["details"] = {"text": printable(issue.text) or REFUSED}
    if issue.at:
        json["expression"] = [printable(issue.at)]
    return json


READING: Final = ("GET", "HEAD")
"""What may be done with what is never changed."""

REFUSED: Final = "The request is refused."


def printable(text: str) -> str:
    """Replace what no JSON text or FHIR string may hold: control characters, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _headers(problem: BaseException, status: int) -> tuple[Header, ...]:
    if status == 405:
        allowed = problem.allowed if isinstance(problem, MethodNotAllowed) else READING
        return ((b"allow", ", ".join(allowed).encode()),)
    if status == 401:
        # RFC 6750 Section 3: no error code when no token came, "invalid_token" for a bad one.
        return ((b"www-authenticate", b'Bearer realm="fhir"'),)
    if isinstance(problem, Throttled):
        return ((b"retry-after", b"%d" % problem.seconds),)
    if status == 503:
        return ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
    return ()

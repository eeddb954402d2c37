"""How a refused DICOMweb request sounds: a status, and a problem document.

An instance that cannot be stored is not a refused request: it is an item of Failed SOP Sequence
(PS3.18 Annex I), see `stow`.

References
----------
* PS3.18 Section 8.5 (status codes) and 8.6.3 (payload of an error)
* RFC 9457 (application/problem+json); RFC 6750 Section 3 (WWW-Authenticate)
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import orjson
from starlette.responses import Response

from resources.errors import (
    Ambiguous,
    Conflict,
    Exhausted,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Refusal,
    Stale,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unsupported,
)

PROBLEM_JSON: Final = "application/problem+json"


class NotAcceptable(Unsupported):
    """The user agent takes no media type or transfer syntax that we have."""


class MethodNotAllowed(Unsupported):
    """The address is there, but not for this method.

    Parameters
    ----------
    allowed
        The methods that it is there for.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__("This method is not for this address")
        self.allowed = allowed


class UnsupportedMedia(Unsupported):
    """The payload is of a media type that we do not take."""


STATUS: Final[dict[type[Refusal], int]] = {
    NotAcceptable: 406,
    MethodNotAllowed: 405,
    UnsupportedMedia: 415,
    Unsupported: 406,
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Gone: 410,
    Conflict: 409,
    Ambiguous: 409,
    Stale: 412,
    Exhausted: 503,
    TooLarge: 413,
    Throttled: 429,
    Refusal: 500,
}
"""PS3.18 Table 8.5-1 for each refusal, or its nearest ancestor."""

RETRY_AFTER_SECONDS: Final = 5

_log = logging.getLogger(__name__)


def status_of(refusal: Refusal) -> int:
    """Look a refusal up along its ancestry.

    Examples
    --------
    >>> status_of(NotFound()), status_of(TooLarge()), status_of(Unsupported())
    (404, 413, 406)
    """
    return next(STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS)


def answer(error: Exception, request_id: str = "") -> Response:
    """Answer what went wrong; a bug is logged and told without detail."""
    if not isinstance(error, Refusal):
        _log.error("request %s failed", request_id, exc_info=error)
        return _problem(500, "The server failed to answer this request.", "")
    response = _problem(status_of(error), error.reason, error.at)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="dicom-web"'
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, Exhausted) and not isinstance(error, TooLarge):
        seconds = error.seconds if isinstance(error, Throttled) else RETRY_AFTER_SECONDS
        response.headers["Retry-After"] = str(seconds)
    return response


def _problem(status: int, detail: str, at: str) -> Response:
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **({"at": at} if at else {}),
    }
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(content), status, headers, media_type=PROBLEM_JSON)

"""What is answered to a browser: pages, what went wrong, and the headers that it heeds.

OWASP ASVS 5.0 V3.4.
"""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from resources.errors import Conflict, Exhausted, Forbidden, Gone, Invalid, NotFound, Refusal
from smart_apps.admin import markup
from smart_apps.admin.desk import Page
from smart_apps.admin.markup import Markup

HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

STATUS: Final[Mapping[type[Refusal], int]] = {
    Forbidden: 403, NotFound: 404, Gone: 404, Invalid: 400, Conflict: 409, Exhausted: 503,
    Refusal: 400,
}  # fmt: skip
"""Refusal -> status of the page that tells it."""

TITLES: Final = {403: "Not allowed", 404: "Not found", 503: "Not now"}


def refused(refusal: Refusal) -> Page:
    """Tell why something is not done."""
    status = next(STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS)
    title = TITLES.get(status, "This does not work")
    return Page(title, markup.NOTHING, refusal.reason, status)


def answer(shown: Page, menu: Markup = markup.NOTHING) -> Response:
    """Give a page its headers."""
    body = markup.page(shown.title, shown.body, menu=menu, problem=shown.problem)
    return Response(body, shown.status, HEADERS, media_type="text/html; charset=utf-8")

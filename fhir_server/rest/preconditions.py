"""Conditions on versions: If-Match, If-None-Match, If-Modified-Since.

FHIR http, "Managing Resource Contention": the version id is the ETag, weak (``W/"3"``); "If the
version id given in the If-Match header does not match, the server returns a 412". FHIR http,
"conditional read": 304 for what the asker already has.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from resources.errors import Conflict, Invalid, Stale, Unsupported

_ETAG: Final = re.compile(r'(?:W/)?"([0-9]{1,9})"')

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MICROSECONDS: Final = 1_000_000
"""Instants count microseconds since 1970 UTC."""


def if_match(value: str | None, at: str = "If-Match") -> int | None:
    """Read an If-Match header: the one version the change is meant for, or None.

    Examples
    --------
    >>> if_match('W/"3"')
    3

    Raises
    ------
    Invalid
        Anything but one version: an update changes one version, so a list or ``*`` says nothing.
    """
    if value is None:
        return None
    match = _ETAG.fullmatch(value.strip())
    if match is None:
        raise Invalid('If-Match takes one version, such as W/"3".', at, code="value")
    return int(match[1])


def only_new(value: str | None, at: str = "If-None-Match") -> type[Conflict] | None:
    """Read the If-None-Match header of an update: ``*`` is for what is not there yet.

    RFC 9110 Section 13.1.2: "If-None-Match can also be used with a value of "*" to prevent an
    unsafe request method ... from inadvertently modifying an existing representation".

    Raises
    ------
    Unsupported
        A list of versions that shall not be the present one.
    """
    if value is None:
        return None
    if value.strip() != "*":
        raise Unsupported("If-None-Match of an update takes * alone.", at)
    return Stale


def is_held(headers: Mapping[str, str], version: int, instant: int) -> bool:
    """Whether the asker says that it holds this version already (304).

    If-None-Match decides alone where both are sent (RFC 9110 Section 13.1.3). What cannot be
    read is no condition.

    Examples
    --------
    >>> is_held({"if-none-match": 'W/"2", W/"3"'}, 3, 0)
    True
    """
    none_match = headers.get("if-none-match")
    if none_match is not None:
        return none_match.strip() == "*" or str(version) in _ETAG.findall(none_match)
    since = headers.get("if-modified-since")
    if since is None:
        return False
    try:
        moment = _moment(since)
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH).total_seconds()
    except (ValueError, OverflowError):
        return False
    return instant // MICROSECONDS <= seconds


def _moment(text: str) -> datetime:
    """Read an HTTP date; in a Bundle it is an instant (FHIR Bundle, "request.ifModifiedSince")."""
    return datetime.fromisoformat(text) if text[:1].isdecimal() else parsedate_to_datetime(text)


@lru_cache(maxsize=4096)
def etag(version: int) -> bytes:
    """Write a version as ETag.

    Examples
    --------
    >>> etag(3)
    b'W/"3"'
    """
    return b'W/"%d"' % version


def http_date(instant: int) -> bytes:
    """Write an instant as an HTTP date, whole seconds (RFC 9110 Section 5.6.7).

    Examples
    --------
    >>> http_date(1_000_000_000_123_000)
    b'Sun, 09 Sep 2001 01:46:40 GMT'
    """
    return _http_date(instant // MICROSECONDS)


@lru_cache(maxsize=65536)
def _http_date(seconds: int) -> bytes:
    moment = _EPOCH + timedelta(seconds=seconds)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment:%d} {month} {moment:%Y %H:%M:%S} GMT".encode()


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip

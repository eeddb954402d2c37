"""Subscription: what one asks for, and what this server refuses, or alters, with the reason.

What is accepted is done. What could never be is refused when the Subscription is written: a topic
that there is not, a channel or a payload that is not sent, a header that would be another request.

References
----------
* FHIR R4 subscription; HL7 Subscriptions R5 Backport 1.1.0, "Accepting Subscription Requests"
* RFC 9110 Section 5 (fields), Section 8.3 (media types); RFC 6068 (mailto)
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from resources import topics
from resources.errors import Issue, Unprocessable

BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
PROFILE: Final = f"{BACKPORT}/backport-subscription"
FILTER: Final = f"{BACKPORT}/backport-filter-criteria"
CONTENT: Final = f"{BACKPORT}/backport-payload-content"
HEARTBEAT: Final = f"{BACKPORT}/backport-heartbeat-period"
TIMEOUT: Final = f"{BACKPORT}/backport-timeout"
MAX_COUNT: Final = f"{BACKPORT}/backport-max-count"
CHANNEL: Final = f"{BACKPORT}/backport-channel-type"

KNOWN: Final = frozenset({FILTER, CONTENT, HEARTBEAT, TIMEOUT, MAX_COUNT, CHANNEL})
CROSS_VERSION: Final = re.compile(r"http://hl7\.org/fhir/\d+\.\d+/.+")
IDENTIFIER: Final = "/StructureDefinition/extension-Subscription.identifier"
"""The one element of another version that the profile itself takes over."""

LONGEST_TIMEOUT: Final = 60
"""Seconds; a longer one is altered to it."""
MOST_AT_ONCE: Final = 100
"""Events of one notification; a larger number is altered to it."""
LONGEST_HEARTBEAT: Final = 7 * 86400

CONTENTS: Final = ("empty", "id-only", "full-resource")

JSON_TYPES: Final = frozenset({"application/fhir+json", "application/json"})
PAYLOADS: Final[Mapping[str, frozenset[str]]] = {
    "rest-hook": JSON_TYPES,
    "websocket": JSON_TYPES,
    "email": frozenset({"text/plain"}),
}
"""Channel -> the media types that it sends."""

ATTACHED: Final = "attach"
"""Parameter of the media type of an e-mail: what the notification is attached as."""

MOST_HEADERS: Final = 20
LONGEST_HEADER: Final = 4096
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t !-~]*)")
OURS: Final = frozenset({
    "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
    "upgrade",
})  # fmt: skip
"""Fields that say how a request is sent, which is the server's affair."""

_MAIL: Final = re.compile(
    r"mailto:[A-Za-z0-9.!#$&'*+/=^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
)
_CRITERIA: Final = re.compile(r"([A-Z][A-Za-z]{1,63})(?:\?(.*))?", re.DOTALL)

Json = Mapping[str, Any]


class Asked(NamedTuple):
    """What a Subscription asks for.

    Parameters
    ----------
    topic
        Canonical URL, without a version; empty for plain criteria.
    criteria
        The filters of a topic, or the one criteria.
    payload
        Media type; empty where nothing is to be sent.
    heartbeat, timeout
        Seconds.
    ending
        ``Subscription.end``, or empty.
    """

    topic: str
    criteria: tuple[str, ...]
    channel: str
    endpoint: str
    headers: tuple[str, ...]
    payload: str
    content: str
    heartbeat: int | None
    timeout: int
    max_count: int
    ending: str

    @property
    def delivery(self) -> tuple[Any, ...]:
        """What, if it is changed, has to prove itself anew: where and how it is sent."""
        return self.channel, self.endpoint, self.headers, self.payload, self.content


def asked(subscription: Json) -> Asked:
    """Read what a Subscription that was accepted asks for."""
    criteria, channel = str(subscription.get("criteria", "")), subscription.get("channel", {})
    topic = _topic(criteria) if _is_canonical(criteria) else ""
    payload = channel.get("payload", "")
    default = "full-resource" if payload and channel.get("type") != "email" else "empty"
    return Asked(
        topic,
        tuple(filters(subscription)) if topic else (criteria,),
        channel.get("type", ""),
        channel.get("endpoint", ""),
        tuple(channel.get("header", ())),
        payload,
        _value(channel.get("_payload"), CONTENT) or default,
        _value(channel, HEARTBEAT) or None,
        _value(channel, TIMEOUT) or LONGEST_TIMEOUT,
        _value(channel, MAX_COUNT) or MOST_AT_ONCE,
        subscription.get("end", ""),
    )


def filters(subscription: Json) -> list[str]:
    """The filters of a subscription to a topic, as they are written."""
    extensions = subscription.get("_criteria", {}).get("extension", ())
    return [str(each.get("valueString", "")) for each in extensions if each.get("url") == FILTER]


def accepted(before: Json | None, after: Json, now: str) -> dict[str, Any]:
    """Check a Subscription that somebody writes; give the members that are altered.

    Parameters
    ----------
    before
        The state that it replaces, if there is one.
    now
        The present instant, as FHIR writes it.

    Raises
    ------
    Unprocessable
        With an issue for everything that is wrong.
    """
    if issues := [*_issues(after, now)]:
        raise Unprocessable(issues=issues)
    altered: dict[str, Any] = {}
    if (channel := _within_limits(after["channel"])) != after["channel"]:
        altered["channel"] = channel
    status = next_status(before, after)
    if status != after.get("status"):
        altered["status"] = status
    error = before.get("error") if before is not None and status == "error" else None
    if after.get("error") != error:
        altered["error"] = error
    return altered


def next_status(before: Json | None, after: Json) -> str:
    """Say what becomes of the status that a client writes.

    A client asks for a subscription, anew after an error, or stops it; whether it is active or in
    error is the server's to say.

    Examples
    --------
    >>> next_status(None, {"status": "active"})
    'requested'
    >>> next_status({"status": "error"}, {"status": "active"})
    'error'
    >>> next_status({"status": "error"}, {"status": "requested"})
    'requested'
    """
    wanted = str(after.get("status", ""))
    if wanted in ("off", "requested"):
        return wanted
    if before is None or before.get("status") not in ("active", "error", "requested"):
        return "requested"
    if asked(before).delivery != asked(after).delivery:
        return "requested"
    return str(before["status"])


def _issues(subscription: Json, now: str) -> Iterator[Issue]:
    yield from _about_extensions(subscription, "Subscription")
    yield from _about_what(subscription)
    yield from _about_channel(subscription)
    if _is_past(subscription.get("end"), now):
        yield Issue("business-rule", "It has ended: nothing would ever be sent.", _at("end"))


def _about_what(subscription: Json) -> Iterator[Issue]:
    criteria = str(subscription.get("criteria", ""))
    if _is_canonical(criteria):
        if _topic(criteria) not in topics.topics():
            yield Issue("not-found", "There is no such topic here.", _at("criteria"))
    elif not _CRITERIA.fullmatch(criteria):
        said = "Criteria are the URL of a topic, or a search: Type?parameter=value."
        yield Issue("value", said, _at("criteria"))
    elif filters(subscription):
        yield Issue("value", "Only a topic is filtered.", f"{_at('criteria')}.extension")


def _about_channel(subscription: Json) -> Iterator[Issue]:
    channel = subscription.get("channel", {})
    type, at = str(channel.get("type", "")), _at("channel")
    custom = _value(channel.get("_type"), CHANNEL)
    if isinstance(custom, Mapping):
        custom = custom.get("code")
    if type not in PAYLOADS or custom not in (None, type):
        yield Issue("not-supported", f"There is no channel {custom or type} here.", f"{at}.type")
        return
    yield from _about_endpoint(channel, type)
    yield from _about_headers(channel, type)
    yield from _about_payload(subscription, channel, type)
    heartbeat = _value(channel, HEARTBEAT)
    if isinstance(heartbeat, int) and heartbeat > LONGEST_HEARTBEAT:
        yield Issue("value", "The heartbeat is too slow to tell anything.", f"{at}.extension")


def _about_endpoint(channel: Json, type: str) -> Iterator[Issue]:
    endpoint, at = str(channel.get("endpoint", "")), f"{_at('channel')}.endpoint"
    if type == "websocket":
        if endpoint:
            yield Issue("value", "A websocket is opened by the client: it has no endpoint.", at)
    elif not endpoint:
        yield Issue("required", f"A {type} needs an endpoint.", at)
    elif type == "email" and not _MAIL.fullmatch(endpoint):
        yield Issue("value", "The endpoint of an email is mailto: and one address.", at)


def _about_headers(channel: Json, type: str) -> Iterator[Issue]:
    headers = channel.get("header", ())
    if headers and type != "rest-hook":
        yield Issue("value", f"No headers are sent by {type}.", f"{_at('channel')}.header")
        return
    if len(headers) > MOST_HEADERS:
        yield Issue("too-long", f"More than {MOST_HEADERS} headers.", f"{_at('channel')}.header")
    for n, header in enumerate(headers):
        at = f"{_at('channel')}.header[{n}]"
        found = _HEADER.fullmatch(header) if len(header) <= LONGEST_HEADER else None
        if found is None:
            yield Issue("value", "A header is one line, Name: value, in plain ASCII.", at)
        elif found[1].lower() in OURS:
            yield Issue("value", f"The header {found[1]} is the server's to set.", at)


def _about_payload(subscription: Json, channel: Json, type: str) -> Iterator[Issue]:
    at = f"{_at('channel')}.payload"
    payload, content = channel.get("payload", ""), _value(channel.get("_payload"), CONTENT)
    is_of_topic = _is_canonical(str(subscription.get("criteria", "")))
    if not payload:
        if is_of_topic:
            yield Issue("required", "A subscription to a topic names its payload.", at)
        return
    media, parameters = media_type(payload)
    attached = parameters.pop(ATTACHED, "") if type == "email" else ""
    version = parameters.pop("fhirversion", "4.0")
    parameters.pop("charset", None)
    if media not in PAYLOADS[type] or (attached and attached not in JSON_TYPES):
        yield Issue("not-supported", f"{payload} is not sent by {type}.", at)
    if parameters or version not in ("4.0", "4.0.1"):
        yield Issue("not-supported", "Notifications are of FHIR 4.0, in UTF-8.", at)
    if content is None:
        if is_of_topic:
            said = f"A subscription to a topic says how much it wants: {', '.join(CONTENTS)}."
            yield Issue("required", said, f"{at}.extension")
    elif content not in CONTENTS:
        yield Issue("not-supported", f"There is no content {content}.", f"{at}.extension")
    elif type == "email" and content == "full-resource":
        yield Issue("not-supported", "No record is sent by email.", f"{at}.extension")


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """Take a media type apart, in small letters.

    Examples
    --------
    >>> media_type("application/fhir+json; fhirVersion=4.0")
    ('application/fhir+json', {'fhirversion': '4.0'})
    """
    media, *rest = (part.strip() for part in text.lower().split(";"))
    pairs = (part.partition("=") for part in rest if part)
    return media, {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _within_limits(channel: Json) -> dict[str, Any]:
    """Bring what is more than this server does to the most that it does."""
    most = {TIMEOUT: ("valueUnsignedInt", LONGEST_TIMEOUT),
            MAX_COUNT: ("valuePositiveInt", MOST_AT_ONCE)}  # fmt: skip
    extensions = []
    for each in channel.get("extension", ()):
        name, limit = most.get(each.get("url"), ("", 0))
        is_more = bool(name) and each.get(name, 0) > limit
        extensions.append({**each, name: limit} if is_more else each)
    return {**channel, "extension": extensions} if extensions else dict(channel)


def _about_extensions(element: Any, at: str) -> Iterator[Issue]:
    if isinstance(element, list):
        for n, each in enumerate(element):
            yield from _about_extensions(each, f"{at}[{n}]")
    elif isinstance(element, Mapping):
        url = element.get("url")
        if isinstance(url, str) and _is_not_done(url):
            yield Issue("not-supported", f"This extension is not done here: {url}.", at)
        for name, each in element.items():
            yield from _about_extensions(each, f"{at}.{name.removeprefix('_')}")


def _is_not_done(url: str) -> bool:
    """Whether an extension is of another version of FHIR, or of the guide and unknown."""
    if CROSS_VERSION.fullmatch(url):
        return not url.endswith(IDENTIFIER)
    return url.startswith(f"{BACKPORT}/") and url not in KNOWN


def _value(element: Json | None, url: str) -> Any:
    for extension in (element or {}).get("extension", ()):
        if extension.get("url") == url:
            return next((v for k, v in extension.items() if k.startswith("value")), None)
    return None


def _is_past(end: Any, now: str) -> bool:
    try:
        return isinstance(end, str) and datetime.fromisoformat(end) <= datetime.fromisoformat(now)
    except ValueError:  # a leap second
        return False


def _is_canonical(criteria: str) -> bool:
    return criteria.startswith(("http://", "https://"))


def _topic(criteria: str) -> str:
    """The URL of a canonical; a version that is not ours names another topic."""
    url, bar, version = criteria.partition("|")
    ours = next((each.get("version") for each in topics.definitions() if each["url"] == url), None)
    return criteria if bar and version != ours else url


def _at(name: str) -> str:
    return f"Subscription.{name}"

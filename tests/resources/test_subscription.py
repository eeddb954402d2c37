"""Subscription: what is accepted, altered and refused, each with its reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import subscription, validate
from resources.errors import Unprocessable

Json = dict[str, Any]

NOW = "2026-11-24T12:00:00.000Z"
TOPIC = "https://isocentre.example/fhir/SubscriptionTopic/report-final"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"

pytestmark = pytest.mark.standard("Subscriptions R5 Backport 1.1.0 accepting subscriptions")


def content(level: str | None) -> Json:
    url = f"{BACKPORT}/backport-payload-content"
    return {"_payload": {"extension": [{"url": url, "valueCode": level}]}} if level else {}


def hook(level: str | None = "id-only", **channel: Any) -> Json:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "To be told",
        "criteria": TOPIC,
        "channel": {
            "type": "rest-hook",
            "endpoint": "https://hooks.example/fhir",
            "payload": "application/fhir+json",
            **content(level),
            **channel,
        },
    }


def mail(level: str | None = "empty", payload: str = "text/plain", **channel: Any) -> Json:
    address = {"type": "email", "endpoint": "mailto:a.b@mail.example", "payload": payload}
    return hook() | {"channel": {**address, **content(level), **channel}}


def socket(**channel: Any) -> Json:
    said = {"type": "websocket", "payload": "application/json", **content("id-only")}
    return hook() | {"channel": {**said, **channel}}


def plain(**channel: Any) -> Json:
    return hook(None, **channel) | {"criteria": "Task?status=ready"}


def extended(resource: Json, url: str, **value: Any) -> Json:
    extension = [{"url": url, **value}]
    return resource | {"channel": {**resource["channel"], "extension": extension}}


ACCEPTED: dict[str, Json] = {
    "a rest-hook": hook(),
    "a rest-hook without content": hook("empty"),
    "a rest-hook with everything": hook("full-resource"),
    "of JSON": hook(payload="application/json"),
    "of FHIR 4.0": hook(payload="application/fhir+json;fhirVersion=4.0"),
    "in UTF-8": hook(payload="application/fhir+json; charset=utf-8"),
    "with headers": hook(header=["Authorization: Bearer a.b-c", "X-Site:", "X-Key:v"]),
    "a topic with its version": hook() | {"criteria": f"{TOPIC}|1.0.0"},
    "a websocket": socket(),
    "an email": mail(),
    "an email with ids attached": mail("id-only", "text/plain;attach=application/fhir+json"),
    "plain criteria": plain(),
    "plain criteria without a payload": plain(payload=""),
    "plain criteria of a whole type": plain() | {"criteria": "Task"},
    "an end to come": hook() | {"end": "2027-01-01T00:00:00Z"},
    "a heartbeat": extended(hook(), f"{BACKPORT}/backport-heartbeat-period", valueUnsignedInt=60),
    "the identifier of R5": hook()
    | {
        "extension": [
            {
                "url": "http://hl7.org/fhir/5.0/StructureDefinition/"
                "extension-Subscription.identifier",
                "valueIdentifier": {"value": "1"},
            }
        ]
    },
}

CHANNEL = "Subscription.channel"
REFUSED: dict[str, tuple[Json, str, str]] = {
    # what is written: the Subscription, where it is wrong, and the issue's code
    "an unknown topic": (
        hook() | {"criteria": "https://isocentre.example/fhir/SubscriptionTopic/none"},
        "Subscription.criteria", "not-found"),
    "another version of a topic": (
        hook() | {"criteria": f"{TOPIC}|9"}, "Subscription.criteria", "not-found"),
    "criteria that are no search": (
        hook(None) | {"criteria": "every report"}, "Subscription.criteria", "value"),
    "filters without a topic": (
        plain() | {"_criteria": {"extension": [{
            "url": f"{BACKPORT}/backport-filter-criteria", "valueString": "status=ready"}]}},
        "Subscription.criteria.extension", "value"),
    "a channel that is not here": (hook(type="sms"), f"{CHANNEL}.type", "not-supported"),
    "messages": (hook(type="message"), f"{CHANNEL}.type", "not-supported"),
    "a custom channel": (
        hook(_type={"extension": [{
            "url": f"{BACKPORT}/backport-channel-type", "valueCoding": {"code": "zulip"}}]}),
        f"{CHANNEL}.type", "not-supported"),
    "no endpoint": (hook(endpoint=""), f"{CHANNEL}.endpoint", "required"),
    "a websocket with an endpoint": (
        socket(endpoint="wss://a.example"), f"{CHANNEL}.endpoint", "value"),
    "an email to a web page": (
        mail(endpoint="https://mail.example"), f"{CHANNEL}.endpoint", "value"),
    "an email to two": (
        mail(endpoint="mailto:a@mail.example,b@mail.example"), f"{CHANNEL}.endpoint", "value"),
    "an email with a subject": (
        mail(endpoint="mailto:a@mail.example?subject=x"), f"{CHANNEL}.endpoint", "value"),
    "an email with a line break": (
        mail(endpoint="mailto:a@mail.example\r\nBcc: b@mail.example"),
        f"{CHANNEL}.endpoint", "value"),
    "XML": (hook(payload="application/fhir+xml"), f"{CHANNEL}.payload", "not-supported"),
    "another release": (
        hook(payload="application/fhir+json;fhirVersion=4.3"), f"{CHANNEL}.payload",
        "not-supported"),
    "no payload for a topic": (hook(payload=""), f"{CHANNEL}.payload", "required"),
    "no content for a topic": (hook(None), f"{CHANNEL}.payload.extension", "required"),
    "an unknown content": (hook("half"), f"{CHANNEL}.payload.extension", "not-supported"),
    "a record by email": (
        mail("full-resource", "text/plain;attach=application/fhir+json"),
        f"{CHANNEL}.payload.extension", "not-supported"),
    "FHIR as the body of an email": (
        mail(payload="application/fhir+json"), f"{CHANNEL}.payload", "not-supported"),
    "a page attached": (
        mail("id-only", "text/plain;attach=text/html"), f"{CHANNEL}.payload", "not-supported"),
    "text by rest-hook": (hook(payload="text/plain"), f"{CHANNEL}.payload", "not-supported"),
    "a header of two lines": (
        hook(header=["X-A: b\r\nHost: other"]), f"{CHANNEL}.header[0]", "value"),
    "a header of two lines, the old way": (
        hook(header=["X-A: b\n c"]), f"{CHANNEL}.header[0]", "value"),
    "a header with NUL": (hook(header=["X-A: b\0"]), f"{CHANNEL}.header[0]", "value"),
    "a header without a name": (
        hook(header=["X-B: c", ": b"]), f"{CHANNEL}.header[1]", "value"),
    "a header with a space in its name": (
        hook(header=["X A: b"]), f"{CHANNEL}.header[0]", "value"),
    "a header that is ours": (
        hook(header=["Content-Length: 0"]), f"{CHANNEL}.header[0]", "value"),
    "another host": (hook(header=["HOST: internal"]), f"{CHANNEL}.header[0]", "value"),
    "headers by email": (mail(header=["Bcc: b@x.example"]), f"{CHANNEL}.header", "value"),
    "headers on a websocket": (socket(header=["X-A: b"]), f"{CHANNEL}.header", "value"),
    "too many headers": (
        hook(header=[f"X-{n}: 1" for n in range(21)]), f"{CHANNEL}.header", "too-long"),
    "a long header": (hook(header=["X-A: " + "b" * 5000]), f"{CHANNEL}.header[0]", "value"),
    "an end that was": (
        hook() | {"end": "2026-11-24T11:59:59Z"}, "Subscription.end", "business-rule"),
    "the topic of R5": (
        hook() | {"extension": [{
            "url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription.topic",
            "valueCanonical": TOPIC}]},
        "Subscription.extension[0]", "not-supported"),
    "a filter of R5, as the test kit has it": (
        hook() | {"_criteria": {"extension": [{
            "url": "http://hl7.org/fhir/5.0/subscriptions-backport/StructureDefinition/"
                   "backport-filter-criteria",
            "valueString": "Encounter?patient=Patient/123"}]}},
        "Subscription.criteria.extension[0]", "not-supported"),
    "an extension of the guide that there is not": (
        extended(hook(), f"{BACKPORT}/backport-retries", valueUnsignedInt=3),
        f"{CHANNEL}.extension[0]", "not-supported"),
    "a part of R5 deep inside": (
        hook(_endpoint={"extension": [{
            "url": "http://hl7.org/fhir/4.3/StructureDefinition/extension-Subscription.content",
            "valueCode": "empty"}]}),
        f"{CHANNEL}.endpoint.extension[0]", "not-supported"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_is_accepted_as_it_is(name: str) -> None:
    assert subscription.accepted(None, ACCEPTED[name], NOW) == {}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_said_why(name: str) -> None:
    json, at, code = REFUSED[name]

    with pytest.raises(Unprocessable) as refused:
        subscription.accepted(None, json, NOW)
    found = {(issue.at, issue.code) for issue in refused.value.issues}
    assert (at, code) in found
    assert all(issue.text for issue in refused.value.issues)


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = hook(None, payload="text/html", header=["X"]) | {"end": "2020-01-01T00:00:00Z"}

    with pytest.raises(Unprocessable) as refused:
        subscription.accepted(None, wrong, NOW)
    assert {issue.at for issue in refused.value.issues} == {
        f"{CHANNEL}.header[0]", f"{CHANNEL}.payload", f"{CHANNEL}.payload.extension",
        "Subscription.end",
    }  # fmt: skip


@given(st.text(max_size=40))
def test_no_header_is_more_than_one_field(text: str) -> None:
    """RFC 9110 Section 5.5: a field value has no CR, LF or NUL."""
    try:
        subscription.accepted(None, hook(header=[f"X-A: {text}"]), NOW)
    except Unprocessable:
        return
    assert all(" " <= each <= "~" or each == "\t" for each in text)


@pytest.mark.parametrize(
    ("url", "name", "given_", "kept"),
    [
        ("backport-timeout", "valueUnsignedInt", 600, 60),
        ("backport-timeout", "valueUnsignedInt", 5, 5),
        ("backport-max-count", "valuePositiveInt", 5000, 100),
        ("backport-max-count", "valuePositiveInt", 20, 20),
    ],
)
def test_what_is_more_than_is_done_is_altered_to_what_is_done(
    url: str, name: str, given_: int, kept: int
) -> None:
    json = extended(hook(), f"{BACKPORT}/{url}", **{name: given_})

    after = json | subscription.accepted(None, json, NOW)
    assert after["channel"]["extension"] == [{"url": f"{BACKPORT}/{url}", name: kept}]
    assert validate.check(after) == []


MOVES = [
    # before, written, becomes
    (None, "requested", "requested"),
    (None, "active", "requested"),
    (None, "error", "requested"),
    (None, "off", "off"),
    ("active", "active", "active"),
    ("active", "requested", "requested"),
    ("active", "error", "active"),
    ("active", "off", "off"),
    ("error", "error", "error"),
    ("error", "active", "error"),
    ("error", "requested", "requested"),
    ("off", "active", "requested"),
    ("off", "requested", "requested"),
    ("requested", "active", "requested"),
]


@pytest.mark.parametrize(("before", "written", "becomes"), MOVES)
def test_only_the_server_says_that_it_is_active_or_in_error(
    before: str | None, written: str, becomes: str
) -> None:
    was = None if before is None else hook() | {"status": before}
    json = hook() | {"status": written}

    assert (json | subscription.accepted(was, json, NOW))["status"] == becomes


@pytest.mark.parametrize(
    "channel",
    [
        {"endpoint": "https://other.example/"},
        {"header": ["X-A: b"]},
        {"payload": "application/json"},
        content("full-resource"),
    ],
)
def test_another_way_to_be_told_has_to_be_tried_anew(channel: Json) -> None:
    was = hook() | {"status": "active"}
    json = hook(**channel) | {"status": "active"}

    assert subscription.accepted(was, json, NOW) == {"status": "requested"}


def test_the_error_is_the_servers_to_say() -> None:
    was = hook() | {"status": "error", "error": "410"}

    json = hook() | {"status": "error", "error": "mine"}
    assert (json | subscription.accepted(was, json, NOW))["error"] == "410"
    json = hook() | {"status": "requested", "error": "410"}
    assert subscription.accepted(was, json, NOW) == {"error": None}

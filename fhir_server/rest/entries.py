"""The entries of a batch or transaction Bundle, each with its request and its resource as it came.

FHIR Bundle, "request": method and url say what is asked for; ifMatch, ifNoneMatch,
ifModifiedSince and ifNoneExist stand for the headers of that name. The text of each resource is
cut out of the Bundle, not written anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgspec

from fhir_server.rest.exchange import Request
from resources import validate
from resources.content import Content
from resources.errors import Invalid, Issue, Refusal
from resources.models import TYPES

CONDITIONS: Final = {
    "ifMatch":         "if-match",
    "ifNoneMatch":     "if-none-match",
    "ifModifiedSince": "if-modified-since",
    "ifNoneExist":     "if-none-exist",
}  # fmt: skip
"""FHIR Bundle.entry.request: element -> header."""

PLACEHOLDER: Final = {"resourceType": "Parameters"}
"""A resource that is valid as it is: stands for each entry's own while the Bundle is checked."""


class Entry(NamedTuple):
    """One entry.

    Parameters
    ----------
    at
        Where it stands, such as ``Bundle.entry[3]``.
    full_url
        By which name other entries refer to it; may be empty.
    request
        As in the Bundle.
    content
        Its resource, or None where it has none.
    """

    at: str
    full_url: str
    request: dict[str, str]
    content: Content | None

    def asked(self, base_url: str) -> tuple[str, str]:
        """Give method and address, the address relative to the base."""
        url = self.request["url"].removeprefix(base_url).removeprefix("/")
        return self.request["method"], url

    def as_request(self, whole: Request, method: str, query: str) -> Request:
        """Make the request that this entry would be by itself, for the asker of the whole.

        Written resources come back only where Prefer of the whole asks for them.
        """
        given = self.request or {}
        headers = {header: str(given[name]) for name, header in CONDITIONS.items() if name in given}
        headers["prefer"] = whole.headers.get("prefer", "return=minimal")
        return Request(
            method,
            whole.context,
            query=query,
            headers=headers,
            content=self.content,
            at=f"{self.at}.resource",
        )

    def required(self) -> Content:
        """Give the resource of an entry that cannot do without."""
        if self.content is None:
            raise Invalid("The entry needs a resource.", f"{self.at}.resource", code="required")
        return self.content


class _EntryText(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")


class _BundleText(msgspec.Struct):
    entry: list[_EntryText] = []


_texts: Final = msgspec.json.Decoder(_BundleText)


def read(bundle: Content) -> list[Entry]:
    """Cut a Bundle into its entries, checking all of it but the resources themselves.

    Raises
    ------
    Invalid
        What the Bundle says around its resources is against the definitions.
    """
    frame = dict(bundle.json)
    listed = frame.get("entry", [])
    if isinstance(listed, list) and listed:
        frame["entry"] = [_bare(entry) for entry in listed]
    if issues := _without_request(listed) or validate.check(frame):
        raise Invalid(issues=issues)
    texts = _texts.decode(bundle.text).entry
    return [
        _entry(position, entry, bytes(text.resource))
        for position, (entry, text) in enumerate(zip(listed, texts, strict=True))
    ]


def _without_request(listed: Any) -> list[Issue]:
    """Name the entries that ask for nothing: bdl-3 would name only the Bundle."""
    return [
        Issue("required", "The entry needs a request.", f"Bundle.entry[{position}].request")
        for position, entry in enumerate(listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and "request" not in entry
    ]


def _bare(entry: Any) -> Any:
    if isinstance(entry, dict) and "resource" in entry:
        return {**entry, "resource": PLACEHOLDER}
    return entry


def _entry(position: int, json: dict[str, Any], text: bytes) -> Entry:
    at = f"Bundle.entry[{position}]"
    return Entry(
        at, json.get("fullUrl", ""), json["request"], _content(json.get("resource"), text, at)
    )


def _content(json: Any, text: bytes, at: str) -> Content | None:
    if json is None:
        return None
    type = json.get("resourceType") if isinstance(json, dict) else None
    if not isinstance(type, str) or type not in TYPES:
        raise Invalid("It is not a resource of a type stored here.", f"{at}.resource", "structure")
    return Content(type, json, text)


@contextmanager
def within(path: str) -> Iterator[None]:
    """Let what is refused inside name its place in the Bundle."""
    try:
        yield
    except Refusal as refusal:
        refusal.place_in(path)
        raise

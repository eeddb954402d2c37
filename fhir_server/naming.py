"""Naming: resources as the pathway looks at them, by short references and at a version."""

from collections.abc import Mapping
from typing import Any

import orjson

from fhir_server.search.stored import Stored
from resources import elements
from resources.request_state import Held


def local(reference: str, base: str) -> str:
    """``Type/id`` of one of ours, whatever version and however it is written.

    Examples
    --------
    >>> local("https://a.example/fhir/Task/1/_history/2", "https://a.example/fhir")
    'Task/1'
    """
    return elements.unversioned(reference.removeprefix(f"{base}/"))


def split(reference: str) -> tuple[str, str]:
    """Type and id of a short reference."""
    type_, _, id = reference.partition("/")
    return type_, id


def versioned(stored: Stored) -> str:
    """The reference that pins a version."""
    return f"{stored.reference}/_history/{stored.version}"


def normal(stored: Stored, base: str) -> Mapping[str, Any]:
    """The resource, with references to our own written short."""
    full = f'"{base}/'.encode()
    if full not in stored.text:
        return stored.json
    short: dict[str, Any] = orjson.loads(stored.text.replace(full, b'"'))
    return short


def short(json: Mapping[str, Any], base: str) -> Mapping[str, Any]:
    """A resource, with references to our own written short.

    Examples
    --------
    >>> short({"focus": {"reference": "https://a.example/fhir/Task/1"}}, "https://a.example/fhir")
    {'focus': {'reference': 'Task/1'}}
    """
    full = f'"{base}/'.encode()
    text = orjson.dumps(json)
    if full not in text:
        return json
    found: dict[str, Any] = orjson.loads(text.replace(full, b'"'))
    return found


def held(stored: Stored, base: str) -> Held:
    """The resource at its version, with references to our own written short."""
    return Held(normal(stored, base), stored.version)

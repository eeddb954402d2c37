"""Topics: when one fires, what it may be filtered by; the reader of `topics/README.md`.

References
----------
* FHIR R4B SubscriptionTopic; HL7 Subscriptions R5 Backport 1.1.0, "Subscription Topics in R4"
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from resources import codes

FOLDER: Final = Path(__file__).parent / "topics"
CHANGED: Final = f"{codes.OURS}/changed-element"
CROSS_VERSION: Final = "http://hl7.org/fhir/{}/StructureDefinition/extension-SubscriptionTopic.{}"
FHIR_TYPES: Final = "http://hl7.org/fhir/fhir-types"

INTERACTIONS: Final[Mapping[str, str]] = {"create": "C", "update": "U", "delete": "D"}

Json = Mapping[str, Any]


class Trigger(NamedTuple):
    """One way to fire: a change of a resource of one type.

    Parameters
    ----------
    interactions
        Some of C, U and D.
    previous, current
        Search parameters, without the type, that the states before and after must meet; empty for
        no such demand.
    on_create, on_delete
        Whether a state that is not there meets its demand.
    both
        Both demands must be met, and not only one.
    changed
        Paths of elements, one of which must differ between the two states; empty for none.
    """

    type: str
    interactions: str
    previous: str
    current: str
    on_create: bool
    on_delete: bool
    both: bool
    changed: tuple[tuple[str, ...], ...]


class Topic(NamedTuple):
    """One topic.

    Parameters
    ----------
    filters
        Type -> the search parameters that a subscription may be filtered by.
    includes, reverse_includes
        Type -> what belongs to a notification besides what it is about, as ``Task:focus``.
    """

    url: str
    title: str
    description: str
    triggers: tuple[Trigger, ...]
    filters: Mapping[str, frozenset[str]]
    includes: Mapping[str, tuple[str, ...]]
    reverse_includes: Mapping[str, tuple[str, ...]]

    @property
    def types(self) -> tuple[str, ...]:
        """The types that it is about, each once."""
        return tuple(dict.fromkeys(trigger.type for trigger in self.triggers))


@cache
def topics() -> Mapping[str, Topic]:
    """All topics, by canonical URL."""
    return {each["url"]: _topic(each) for each in definitions()}


@cache
def definitions() -> tuple[Json, ...]:
    """The SubscriptionTopics as they are written, in the order of their ids."""
    return tuple(json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json")))


@cache
def of_type(type: str) -> tuple[tuple[str, Trigger], ...]:
    """The triggers that look at a type, each with the URL of its topic."""
    return tuple(
        (topic.url, trigger)
        for topic in topics().values()
        for trigger in topic.triggers
        if trigger.type == type
    )


def differs(before: Json, after: Json, paths: tuple[tuple[str, ...], ...]) -> bool:
    """Whether what one of the paths leads to is not the same in two states.

    Examples
    --------
    >>> differs({"series": [{"uid": "1"}]}, {"series": [{"uid": "2"}]}, (("series", "uid"),))
    True
    """
    return any(list(_at(before, path)) != list(_at(after, path)) for path in paths)


def wrapped(definition: Json) -> dict[str, Any]:
    """Write a topic as R4 can: a Basic with the elements of the topic as extensions.

    Subscriptions R5 Backport, "Subscription Topics in R4": what R5 has as R4B had it, in the
    extensions of R5; what R5 has changed, in those of R4B (4.3).
    """
    plain = [
        {"url": CROSS_VERSION.format("5.0", name), f"value{kind}": definition[name]}
        for name, kind in _SAME_IN_R5.items()
    ]
    parts = [
        _extension(CROSS_VERSION.format("4.3", name), each)
        for name in ("resourceTrigger", "canFilterBy", "notificationShape")
        for each in definition[name]
    ]
    return {
        "resourceType": "Basic",
        "id": definition["id"],
        "extension": [*plain, *parts],
        "modifierExtension": [
            {"url": CROSS_VERSION.format("5.0", "status"), "valueCode": definition["status"]}
        ],
        "code": {"coding": [{"system": FHIR_TYPES, "code": "SubscriptionTopic"}]},
    }


def _topic(json: Json) -> Topic:
    filters: dict[str, set[str]] = {}
    for each in json["canFilterBy"]:
        filters.setdefault(_type(each), set()).add(each["filterParameter"])
    shapes = json.get("notificationShape", ())
    return Topic(
        json["url"],
        json["title"],
        json["description"],
        tuple(_trigger(each) for each in json["resourceTrigger"]),
        {type: frozenset(codes) for type, codes in filters.items()},
        {_type(each): tuple(each.get("include", ())) for each in shapes},
        {_type(each): tuple(each.get("revInclude", ())) for each in shapes},
    )


def _trigger(json: Json) -> Trigger:
    query = json.get("queryCriteria", {})
    return Trigger(
        _type(json),
        "".join(INTERACTIONS[each] for each in json["supportedInteraction"]),
        query.get("previous", ""),
        query.get("current", ""),
        query.get("resultForCreate") == "test-passes",
        query.get("resultForDelete") == "test-passes",
        query.get("requireBoth", False),
        tuple(
            tuple(each["valueString"].split("."))
            for each in json.get("extension", ())
            if each["url"] == CHANGED
        ),
    )


def _type(json: Json) -> str:
    return str(json["resource"]).rpartition("/")[2]


def _at(element: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if isinstance(element, list):
        for each in element:
            yield from _at(each, path)
    elif not path:
        yield element
    elif isinstance(element, Mapping) and path[0] in element:
        yield from _at(element[path[0]], path[1:])


def _extension(url: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {"url": url, f"value{_kind(url, value)}": value}
    parts: list[dict[str, Any]] = []
    for name, member in value.items():
        if name == "extension":
            parts += member
        else:
            members = member if isinstance(member, list) else [member]
            parts += [_extension(name, each) for each in members]
    return {"url": url, "extension": parts}


def _kind(name: str, value: Any) -> str:
    return "Boolean" if isinstance(value, bool) else _KINDS.get(name, "String")


_SAME_IN_R5: Final[Mapping[str, str]] = {
    "url": "Uri",
    "version": "String",
    "title": "String",
    "date": "DateTime",
    "description": "Markdown",
}

_KINDS: Final[Mapping[str, str]] = {
    "description": "Markdown",
    "resource": "Uri",
    "supportedInteraction": "Code",
    "resultForCreate": "Code",
    "resultForDelete": "Code",
}
"""Types of the elements of R4B SubscriptionTopic that are not strings."""

"""Whether images are there in time, counted from the record as far as somebody sees it.

Scheduled work counts in the period in which it was to start; a study in that in which it was
acquired. What was asked for after the start, was cancelled, or was done once more by another Task
does not count.

References
----------
* R003.1 of the requirements; `resources.availability_report`; docs/pacs-manager.md, "Prefetch"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fhir_server.context import RequestContext
from fhir_server.naming import local
from fhir_server.search import date
from fhir_server.search.query import parse
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from resources import codes, elements
from resources.availability_report import Acquired, Line, Scheduled
from resources.content import written_instant
from resources.errors import TooLarge

Json = Mapping[str, Any]

DAYS: Final = 90 * 86_400_000_000
"""What is counted where nobody names a period."""
MOST: Final = 20_000
PAGE: Final = 1000
GIVEN_UP: Final = ("cancelled", "entered-in-error", "rejected")


async def scheduled(
    store: Store, context: RequestContext, base: str, low: int, high: int
) -> list[Scheduled]:
    """Give what was to start in a period and needed images brought.

    Parameters
    ----------
    base
        Our FHIR base.
    low, high
        Microseconds since 1970 UTC.

    Raises
    ------
    TooLarge
        It is too much to be counted at once.
    Forbidden
        The asker may not search Tasks.
    """
    tasks = [
        one.json
        for one in await _all(
            store, context, "Task", [("code", codes.PREFETCH.token), *_within("due", low, high)]
        )
    ]
    replaced = {
        local(value["reference"], base)
        for task in tasks
        if isinstance(value := elements.extension_value(task, codes.TASK_REPLACES), Mapping)
    }
    groups: dict[tuple[str, str], list[Json]] = {}
    for task in tasks:
        if task["status"] in GIVEN_UP or f"Task/{task['id']}" in replaced:
            continue
        if _instant(task.get("authoredOn")) > _due(task):
            continue
        owner, cause = (_first(task.get(name), base) for name in ("owner", "reasonReference"))
        groups.setdefault((owner, cause or f"Task/{task['id']}"), []).append(task)
    return [
        Scheduled(owner, _state(group, context.instant)) for (owner, _), group in groups.items()
    ]


async def acquired(
    store: Store, context: RequestContext, base: str, low: int, high: int
) -> list[Acquired]:
    """Give the studies that were acquired in a period, and how long each took to be available.

    Raises
    ------
    TooLarge, Forbidden
        As `scheduled`, of ImagingStudies.
    """
    asked = [("status", "available"), *_within("started", low, high)]
    studies = await _all(store, context, "ImagingStudy", asked)
    first = await store.first_available([one.id for one in studies])
    found = []
    for one in studies:
        started = str(one.json.get("started", ""))
        if "T" in started and one.id in first:  # a day says nothing of minutes
            seconds = max(first[one.id] - _instant(started), 0) / 1_000_000
            found.append(Acquired(_maker(one.json, base), seconds))
    return found


async def names(store: Store, context: RequestContext, found: Iterable[Line]) -> dict[str, str]:
    """What the organisations are called, as far as the asker may read them."""
    listed = [one.organization for one in found if one.organization.startswith("Organization/")]
    stored = await store.many(context, listed)
    return {name: str(one.json.get("name") or name) for name, one in stored.items()}


async def _all(
    store: Store, context: RequestContext, type_: str, criteria: Sequence[tuple[str, str]]
) -> list[Stored]:
    found: list[Stored] = []
    cursor = ""
    while True:
        pairs = [*criteria, ("_count", str(PAGE)), ("_total", "none")]
        pairs += [("_cursor", cursor)] if cursor else []
        page = await store.search(context, parse(type_, pairs, strict=True))
        found += page.matches
        if len(found) > MOST:
            raise TooLarge(f"More than {MOST}: name a shorter period.", code="too-costly")
        if page.next is None:
            return found
        cursor = page.next


def _within(name: str, low: int, high: int) -> list[tuple[str, str]]:
    return [(name, f"ge{written_instant(low)}"), (name, f"le{written_instant(high)}")]


def _state(tasks: Sequence[Json], now: int) -> str:
    """Whether all that was needed was there when it started."""
    due = min(_due(one) for one in tasks)
    ends = [
        _instant(one.get("executionPeriod", {}).get("end"))
        for one in tasks
        if one["status"] == "completed"
    ]
    if len(ends) == len(tasks) and all(end <= due for end in ends):
        return "ready"
    return "late" if due <= now else "waiting"


def _due(task: Json) -> int:
    return _instant(task.get("restriction", {}).get("period", {}).get("end"))


def _maker(study: Json, base: str) -> str:
    """The organisation that acquired a study: the first that a series says so of."""
    for series in study.get("series", ()):
        for performer in series.get("performer", ()):
            actor = _first(performer.get("actor"), base)
            if actor.startswith("Organization/"):
                return actor
    source = elements.extension_value(study, codes.SOURCE_ORGANIZATION)
    return _first(source, base) if isinstance(source, Mapping) else ""


def _first(value: object, base: str) -> str:
    listed = elements.references(value)
    return local(listed[0], base) if listed else ""


def _instant(written: str | None) -> int:
    """The beginning of a FHIR dateTime; 0 where there is none."""
    return date.period(written)[0] if written else 0

"""What became of the evidence of a report: a study or a report then, and as it is now (R014.3).

References
----------
* R014.3 of the requirements: which images were available when a report was created
* FHIR R4 ImagingStudy.series, DiagnosticReport.status; docs/representation.md, "Evidence"
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.imaging_study import uid

Json = Mapping[str, Any]

KINDS: Final = {
    "late-series":    "a series came",
    "late-instances": "objects of a known series came",
    "removed":        "objects are not listed any more",
    "late-study":     "a study of the patient came",
    "late-report":    "another report of the patient was issued",
    "addendum":       "an addendum was issued",
    "appended":       "the report was issued anew with an addendum",
    "correction":     "the report was corrected",
    "withdrawn":      "it was said to be an error",
    "version":        "something else about it was changed",
    "deleted":        "it was deleted",
}  # fmt: skip
"""What may have changed, in words."""

_BY_STATUS: Final = {
    "amended": "correction",
    "corrected": "correction",
    "appended": "appended",
    "entered-in-error": "withdrawn",
    "cancelled": "withdrawn",
}
_OURS: Final = frozenset({"meta", "text", "presentedForm", "numberOfSeries", "numberOfInstances"})


class Change(NamedTuple):
    """One change: a key of `KINDS`, and the UIDs of the objects or series that it is about."""

    kind: str
    uids: tuple[str, ...] = ()


def of_study(then: Json, now: Json) -> list[Change]:
    """Compare a study as it was with the study as it is.

    That it has been reported in the meantime is no change of the evidence.

    Examples
    --------
    >>> then = {"series": [{"uid": "1", "instance": [{"uid": "1.1"}]}]}
    >>> now = {"series": [{"uid": "1", "instance": [{"uid": "1.1"}, {"uid": "1.2"}]},
    ...                   {"uid": "2", "instance": [{"uid": "2.1"}]}]}
    >>> of_study(then, now)
    [Change(kind='late-series', uids=('2',)), Change(kind='late-instances', uids=('1.2',))]
    >>> of_study(now, then)
    [Change(kind='removed', uids=('1.2', '2.1'))]
    """
    before, after = _series(then), _series(now)
    found: list[Change] = []
    if series := sorted(after.keys() - before.keys()):
        found.append(Change("late-series", tuple(series)))
    came = {one for name in after.keys() & before.keys() for one in after[name] - before[name]}
    gone = set().union(*before.values()) - set().union(*after.values())
    if came:
        found.append(Change("late-instances", tuple(sorted(came))))
    if gone:
        found.append(Change("removed", tuple(sorted(gone))))
    if now.get("status") != then.get("status") and now.get("status") in _BY_STATUS:
        found.append(Change(_BY_STATUS[str(now.get("status"))]))
    if not found and _told(then) != _told(now):
        found.append(Change("version"))
    return found


def of_report(then: Json, now: Json) -> list[Change]:
    """Compare a report as it was with a later version of it.

    Examples
    --------
    >>> of_report({"status": "final"}, {"status": "corrected"})
    [Change(kind='correction', uids=())]
    >>> of_report({"status": "final"}, {"status": "final", "meta": {"versionId": "2"}})
    []
    """
    kind = _BY_STATUS.get(str(now.get("status")), "version")
    return [Change(kind)] if kind != "version" or _told(then) != _told(now) else []


def _series(study: Json) -> dict[str, set[str]]:
    return {
        uid(series.get("uid")): {uid(one.get("uid")) for one in series.get("instance", ())}
        for series in study.get("series", ())
    }


def _told(resource: Json) -> dict[str, Any]:
    """What a resource says, without what the server writes into it by itself."""
    without = elements.with_extension(resource, codes.REPORTING_STATUS_EXTENSION, {})
    return {name: value for name, value in without.items() if name not in _OURS}

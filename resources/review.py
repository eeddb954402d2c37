"""Formal review: a request to look at studies that exist again, and what it is about (R008).

It names the studies, the requests that they were made for and the reports there are of them, each
at a version: what was to be looked at is evidence. It has no study of its own.

References
----------
* Requirements R008, 3.2.2 and figure 4-6; docs/representation.md, "Formal reviews"
* FHIR R4 ServiceRequest.supportingInfo; Resource version-specific references
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resources import codes, elements, onward_request
from resources.errors import Unprocessable
from resources.request_state import kind

Json = Mapping[str, Any]

ASKED: Final = frozenset({"draft", "active", "on-hold"})
"""ServiceRequest.status of a review that is still to be done."""

AT: Final = "ServiceRequest.supportingInfo"


def is_review(request: Json) -> bool:
    """Whether a request is for a formal review."""
    return kind(request) == codes.KIND_REVIEW_FORMAL.code


def is_reviewable_for(request: Json) -> bool:
    """Whether a request is one that a study was made for, not one to look at it again."""
    return not is_review(request) and not onward_request.is_onward(request)


def names(request: Json, type_: str) -> list[str]:
    """``Type/id`` of what a review names of a resource type, each once."""
    named = map(elements.unversioned, elements.references(request.get("supportingInfo")))
    return [one for one in dict.fromkeys(named) if one.startswith(f"{type_}/")]


def check_study(request: Json, study: Json | None) -> None:
    """Refuse the review of a study that its referrer does not see, of others, or without images.

    Raises
    ------
    Unprocessable
        There is nothing that could be looked at for the patient of the request.
    """
    if study is None:
        raise Unprocessable("there is no such study to review", at=AT)
    if _patient(study) != _patient(request):
        raise Unprocessable("a study under review is of the patient of the request", at=AT)
    if study.get("status") != "available":
        raise Unprocessable("a study under review has images", at=AT)


def check(request: Json, originals: Iterable[str], reports: Mapping[str, Json]) -> None:
    """Refuse a review that names no study, or a request or report that is not of its studies.

    Parameters
    ----------
    originals
        ``ServiceRequest/id`` of the requests that its studies were made for.
    reports
        What it names as reports, as far as they are there for its referrer.

    Raises
    ------
    Unprocessable
        It is not clear what is to be looked at.
    """
    studies = names(request, "ImagingStudy")
    if not studies:
        raise Unprocessable("a review names the studies that are looked at again", at=AT)
    if not set(names(request, "ServiceRequest")) <= set(originals):
        raise Unprocessable("the original request is that of a study under review", at=AT)
    for name in names(request, "DiagnosticReport"):
        report = reports.get(name)
        if report is None or _patient(report) != _patient(request):
            raise Unprocessable("a report under review is of the patient of the request", at=AT)
        shown = map(elements.unversioned, elements.references(report.get("imagingStudy")))
        if not set(shown) & set(studies):
            raise Unprocessable("a report under review is of a study under review", at=AT)


def check_report(report: Json, request: Json) -> None:
    """Refuse a report for a review that is about another study than those under review.

    Raises
    ------
    Unprocessable
        It is about something that nobody asked to have looked at.
    """
    shown = map(elements.unversioned, elements.references(report.get("imagingStudy")))
    if not set(shown) <= set(names(request, "ImagingStudy")):
        raise Unprocessable(
            "the report of a review is about the studies under review",
            at="DiagnosticReport.imagingStudy",
        )


def check_kind(before: Json, after: Json) -> None:
    """Refuse to make a review of a request that was placed, or the other way round.

    Raises
    ------
    Unprocessable
        Steps of the one would be left to the other: images would be acquired for a review.
    """
    if is_review(before) != is_review(after):
        raise Unprocessable("a review is a request of its own", at="ServiceRequest.category")


def check_step(step: str | None, request: Json) -> None:
    """Refuse a step that would acquire images for a review (R008.3).

    Raises
    ------
    Unprocessable
        It would put a review on the worklist of a modality.
    """
    if step == codes.ACQUIRE.code and is_review(request):
        raise Unprocessable("nothing is acquired for a review", at="Task.code")


def pinned(
    request: Json, versions: Mapping[str, int], wanted: Sequence[str], base: str
) -> list[Json]:
    """What a review names, originals and reports at a version, and what it should name besides.

    Parameters
    ----------
    versions
        ``Type/id`` -> the version that is current.
    wanted
        ``Type/id`` of what belongs to it, named or not.

    Raises
    ------
    Unprocessable
        It names a version that there is not.

    Examples
    --------
    >>> pinned({}, {"DiagnosticReport/1": 2}, ["DiagnosticReport/1"], "")
    [{'reference': 'DiagnosticReport/1/_history/2'}]
    """
    said: list[Json] = []
    for one in request.get("supportingInfo", ()):
        literal = str(one.get("reference", "")).removeprefix(f"{base}/")
        name, _, version = literal.partition("/_history/")
        if name not in versions:
            said.append(one)
        elif not version:
            said.append({**one, "reference": f"{name}/_history/{versions[name]}"})
        elif version.isdecimal() and 0 < int(version) <= versions[name]:
            said.append(one)
        else:
            raise Unprocessable("there is no such version to review", at=AT)
    known = {elements.unversioned(one) for one in elements.references(said)}
    return [
        *said,
        *({"reference": f"{one}/_history/{versions[one]}"} for one in wanted if one not in known),
    ]


def _patient(resource: Json) -> list[str]:
    return elements.references(resource.get("subject"))

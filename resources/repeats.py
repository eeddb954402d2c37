"""Repeats: what was done or asked for already that a request would do again (G2).

The same procedure shares a code, or its words where neither has one. A similar procedure is of the
same body region and by the same modality, as the table of priors knows them; a site that puts its
own in place of it says so for both. What counts is recent: an older study is history. A request
that is open counts however old it is, unless it is of the same imaging service request.

References
----------
* Requirements G2, 3.1.1: "to help avoid unnecessary, unsafe or duplicate referrals"
* FHIR R4 DetectedIssue; HL7 v3 ActCode DUPTHPY (duplicate therapy alert)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resources import codes, elements, priors
from resources.imaging_study import ISSUED
from resources.predicates import is_in_order
from resources.request_state import kind

Json = Mapping[str, Any]

OPEN: Final = frozenset({"active", "on-hold"})
ORDERED: Final = frozenset({"order", "original-order"})
"""ServiceRequest.intent of what a referrer asks for; an onward request asks for the same thing."""

SEVERITIES: Final[Mapping[str, str]] = {
    "same-procedure": "high",
    "open-request": "high",
    "similar-procedure": "moderate",
}
"""Kind of repeat -> DetectedIssue.severity; the worst first."""

TITLES: Final[Mapping[str, codes.Coding]] = {
    "same-procedure": codes.SAME_PROCEDURE,
    "open-request": codes.OPEN_REQUEST,
    "similar-procedure": codes.SIMILAR_PROCEDURE,
}


class Repeat(NamedTuple):
    """One thing that the request would do again.

    Parameters
    ----------
    kind
        A key of `SEVERITIES`.
    about
        The ImagingStudy, or the ServiceRequest that is open.
    reports
        Of the study, as far as they are issued, the newest first.
    """

    kind: str
    about: Json
    reports: tuple[Json, ...] = ()


def repeats(
    request: Json, record: Iterable[Json], since: str, rules: priors.Rules = priors.DEFAULT
) -> list[Repeat]:
    """Find what a request repeats, the gravest first, and of each kind the newest first.

    Parameters
    ----------
    request
        A ServiceRequest, kept or not; short references.
    record
        Studies, requests and reports of the patient, as far as the asker may see them.
    since
        FHIR date or dateTime: studies before it are not recent.

    Examples
    --------
    >>> repeats({"code": {"text": "CT of head"}}, [], "2026-01-01")
    []
    """
    if kind(request) != codes.KIND_PRIMARY.code:
        return []
    known = list(record)
    studies = [one for one in known if _is(one, "ImagingStudy") and _is_recent(one, since)]
    requests = {_name(one): one for one in known if _is(one, "ServiceRequest")}
    found: list[Repeat] = []
    done: set[str] = set()
    for study in sorted(studies, key=_moment, reverse=True):
        asked = [requests[name] for name in _based_on(study) if name in requests]
        done |= {_name(one) for one in asked}
        if any(_is_same_one(request, one) for one in asked):
            continue
        how = _how(request, [study, *asked], rules)
        if how:
            found.append(Repeat(f"{how}-procedure", study, _reports(study, known)))
    for name, other in sorted(requests.items(), key=lambda pair: _moment(pair[1]), reverse=True):
        if name not in done and _is_open(other) and not _is_of_one_order(request, other):
            how = _how(request, [other], rules)
            if how == "same":
                found.append(Repeat("open-request", other))
    order = list(SEVERITIES)
    return sorted(found, key=lambda one: order.index(one.kind))


def detected_issue(repeat: Repeat, request: Json, instant: str, place: str, link: str) -> Json:
    """Say it as FHIR does.

    Parameters
    ----------
    place
        The organisation of the study or request, in words; empty if it is not known.
    link
        Where the images are, or the request is.
    """
    about = repeat.about
    named = [_name(about), *(_name(one) for one in repeat.reports)]
    return {
        "resourceType": "DetectedIssue",
        "status": "preliminary",
        "code": codes.concept(codes.DUPLICATE_THERAPY, TITLES[repeat.kind]),
        "severity": SEVERITIES[repeat.kind],
        **({"patient": request["subject"]} if "subject" in request else {}),
        "identifiedDateTime": instant,
        "implicated": [{"reference": one} for one in named],
        "detail": said(repeat, place),
        "reference": link,
    }


def said(repeat: Repeat, place: str) -> str:
    """Say it in words, for whoever is about to ask for it again."""
    about = repeat.about
    what = title(about) or "Imaging"
    where = f" at {place}" if place else ""
    if repeat.kind == "open-request":
        return f"{what} has been requested{where}{_on(about.get('authoredOn'))} and is not done."
    state = "reported" if repeat.reports else "not yet reported"
    verb = "was done" if repeat.kind == "same-procedure" else "(similar) was done"
    return f"{what} {verb}{where}{_on(about.get('started'))}; it is {state}."


def title(resource: Json) -> str:
    """What a study or a request is called."""
    concepts = [resource.get("code"), *resource.get("procedureCode", ())]
    words = (elements.words(one) for one in concepts if one)
    return str(resource.get("description") or next(words, ""))


def _on(moment: object) -> str:
    return f" on {str(moment)[:10]}" if moment else ""


def _how(request: Json, others: Sequence[Json], rules: priors.Rules) -> str:
    """Whether they are the same procedure, a similar one, or neither."""
    if any(_codings(request) & _codings(one) for one in others):
        return "same"
    own = priors.looks(request, rules)
    for one in others:
        if not _codings(request) and title(one).lower() == title(request).lower() != "":
            return "same"
        looks = priors.looks(one, rules)
        if own.regions & looks.regions and own.modalities & looks.modalities:
            return "similar"
    return ""


def _codings(resource: Json) -> set[tuple[str, str]]:
    concepts = [resource.get("code") or {}, *resource.get("procedureCode", ())]
    return {
        (coding.get("system", ""), coding["code"])
        for one in concepts
        for coding in one.get("coding", ())
        if "code" in coding
    }


def _is_recent(study: Json, since: str) -> bool:
    started = study.get("started", "")
    return study.get("status") == "available" and (not started or is_in_order(since, started))


def _is_open(request: Json) -> bool:
    return (
        request.get("status") in OPEN
        and request.get("intent") in ORDERED
        and kind(request) == codes.KIND_PRIMARY.code
    )


def _is_same_one(request: Json, other: Json) -> bool:
    return "id" in request and request["id"] == other.get("id")


def _is_of_one_order(request: Json, other: Json) -> bool:
    one = request.get("requisition", {}).get("value")
    return _is_same_one(request, other) or (
        one is not None and one == other.get("requisition", {}).get("value")
    )


def _reports(study: Json, record: Iterable[Json]) -> tuple[Json, ...]:
    found = [
        one
        for one in record
        if _is(one, "DiagnosticReport")
        and one.get("status") in ISSUED
        and _name(study) in map(elements.unversioned, elements.references(one.get("imagingStudy")))
    ]
    return tuple(sorted(found, key=lambda one: str(one.get("issued", "")), reverse=True))


def _based_on(study: Json) -> list[str]:
    return [elements.unversioned(one) for one in elements.references(study.get("basedOn"))]


def _moment(resource: Json) -> tuple[str, str]:
    when = resource.get("started") or resource.get("authoredOn") or ""
    return str(when), str(resource.get("id", ""))


def _is(resource: Json, type_: str) -> bool:
    return resource.get("resourceType") == type_


def _name(resource: Json) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id')}"

"""Addenda: what is added to a report that was issued, and how the whole of it is told (R009).

An addendum is a report of its own, and stands in every whole page of the report that it is added
to: who reads that one alone misses nothing. It is the form that FHIR R6 gives a name: what we keep
as the extension `diagnosticReport-addendumOf` is there `relatesTo` of type `appends`.

References
----------
* Requirement R009; docs/representation.md, "Addenda"
* FHIR R4 DiagnosticReportStatus; extensions diagnosticReport-addendumOf, diagnosticReport-replaces,
  event-statusReason; FHIR R6 DiagnosticReport.relatesTo (value set report-relation-type)
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final, Literal, NamedTuple

from resources import codes, elements, reporters
from resources.errors import Conflict, Unprocessable
from resources.imaging_study import ISSUED
from resources.reporters import Reporter

Json = Mapping[str, Any]
Order = Literal["newest-first", "oldest-first"]

RELATIONS: Final[Mapping[str, str]] = {
    codes.ADDENDUM_OF: "appends",
    codes.REPLACES_REPORT: "replaces",
}
"""Extension of R4 -> type of FHIR R6 DiagnosticReport.relatesTo."""

STATUSES: Final = ("appended", "amended", "corrected")
"""What a report is whose addenda changed; the gravest change last."""

WITHDRAWN: Final = {"text": "An addendum was withdrawn."}
"""Why a report is corrected that lost an addendum."""


class Addendum(NamedTuple):
    """What was added to a report later, and by whom."""

    report: Json
    reporters: Sequence[Reporter]


class Reissue(NamedTuple):
    """As what a report is issued anew: its status, and the reason of it."""

    status: str = "appended"
    reason: Json | None = None


def is_released(report: Json) -> bool:
    """Whether others than its writers have it (docs/representation.md, "Onward requests")."""
    return codes.UNRELEASED.json not in report.get("meta", {}).get("security", ())


def named(report: Json) -> list[str]:
    """What a report says that it is an addendum to: ``DiagnosticReport/id``, or an address."""
    said = [
        one.get("valueReference")
        for one in report.get("extension", ())
        if one.get("url") == codes.ADDENDUM_OF
    ]
    return [elements.unversioned(one) for one in elements.references(said)]


def addended(report: Json) -> list[str]:
    """The reports that one is an addendum to, as far as it is issued and released."""
    return named(report) if report.get("status") in ISSUED and is_released(report) else []


def adding(report: Json, roots: Iterable[str]) -> list[Json]:
    """The extensions of a report that is also an addendum to these."""
    known = named(report)
    return [
        *report.get("extension", ()),
        *(
            {"url": codes.ADDENDUM_OF, "valueReference": {"reference": one}}
            for one in roots
            if one not in known
        ),
    ]


def relates_to(report: Json) -> list[dict[str, Any]]:
    """What FHIR R6 says in `DiagnosticReport.relatesTo`.

    Examples
    --------
    >>> relates_to({"extension": adding({}, ["DiagnosticReport/1"])})
    [{'type': 'appends', 'target': {'reference': 'DiagnosticReport/1'}}]
    """
    return [
        {"type": RELATIONS[one["url"]], "target": one["valueReference"]}
        for one in report.get("extension", ())
        if one.get("url") in RELATIONS and "valueReference" in one
    ]


def reissue(before: Json, after: Json, root: str) -> Reissue | None:
    """As what a report is issued anew when an addendum is written; None if it is none of it.

    Examples
    --------
    >>> one = {"status": "final", "extension": adding({}, ["DiagnosticReport/1"])}
    >>> reissue({}, one, "DiagnosticReport/1")
    Reissue(status='appended', reason=None)
    """
    was, is_ = root in addended(before), root in addended(after)
    if not is_:
        return Reissue("corrected", status_reason(after) or WITHDRAWN) if was else None
    status = str(after["status"]) if was else "appended"
    if status == "corrected":
        return Reissue(status, status_reason(after))
    return Reissue(status if status in STATUSES else "appended")


def as_it_is(root: Json) -> Reissue:
    """As what a report is issued that is changed at the same time as its addenda."""
    status = str(root.get("status"))
    return Reissue(status, status_reason(root)) if status in STATUSES else Reissue()


def gravest(found: Iterable[Reissue]) -> Reissue:
    """Several changes at once are issued as the gravest of them."""
    return max(found, key=lambda one: STATUSES.index(one.status))


def status_reason(report: Json) -> Json | None:
    """Why a report has the status that it has."""
    reason: Json | None = elements.extension_value(report, codes.EVENT_STATUS_REASON)
    return reason


def reissued(root: Json, how: Reissue) -> dict[str, Any]:
    """The members of a report that change when it is issued anew.

    Raises
    ------
    Conflict
        It is no report that is given out: not yet, or not any more.
    """
    if root.get("status") not in ISSUED:
        raise Conflict(
            "an addendum is added to a report that is issued, and was not withdrawn",
            "DiagnosticReport.extension",
        )
    kept = [one for one in root.get("extension", ()) if one.get("url") != codes.EVENT_STATUS_REASON]
    if how.reason:
        kept.append({"url": codes.EVENT_STATUS_REASON, "valueCodeableConcept": how.reason})
    return {"status": how.status, "extension": kept or None}


def check_patient(addendum: Json, root: Json) -> None:
    """Refuse an addendum about another patient than the report it is added to.

    Raises
    ------
    Unprocessable
        It is about somebody else.
    """
    if elements.references(addendum.get("subject")) != elements.references(root.get("subject")):
        raise Unprocessable(
            "an addendum is about the patient of its report", at="DiagnosticReport.subject"
        )


def check_kept(before: Json, after: Json) -> None:
    """Refuse an issued report that leaves the report it was added to, or joins one afterwards.

    Raises
    ------
    Unprocessable
        Who reads the other report would miss it, or what was read alone would vanish in it.
    """
    if before.get("status") in ISSUED and set(named(before)) != set(named(after)):
        raise Unprocessable(
            "an issued report stays an addendum to what it was issued as one to",
            at="DiagnosticReport.extension",
        )


def check_reason(report: Json) -> None:
    """Refuse a correction that does not say why.

    Raises
    ------
    Unprocessable
        It is corrected and has no event-statusReason with words or a code.
    """
    if report.get("status") == "corrected" and not elements.words(status_reason(report) or {}):
        raise Unprocessable(
            "a corrected report says why, in the extension event-statusReason",
            at="DiagnosticReport.extension",
        )


def notice(addenda: Sequence[Addendum]) -> str:
    """What warns whoever reads the oldest first; empty without an addendum."""
    if not addenda:
        return ""
    many = "an addendum" if len(addenda) == 1 else f"{len(addenda)} addenda"
    latest = str(addenda[0].report.get("issued", ""))
    return f"This report has {many} below, the latest {f'of {latest}' if latest else 'undated'}."


def sections(addenda: Sequence[Addendum]) -> list[str]:
    """Each addendum as a piece of HTML under date, organisation, clinician and speciality."""
    return [
        f'<h2>Addendum</h2><p class="author">{by_whom(*each)}</p>{conclusion(each.report)}'
        for each in addenda
    ]


def by_whom(report: Json, by: Iterable[Reporter]) -> str:
    """Date, organisation, clinician, speciality: what stands over each part of a report."""
    date = str(report.get("issued", report.get("effectiveDateTime", "")))
    parts = [date, *map(reporters.words, by)]
    return escape(" · ".join(part for part in parts if part))


def conclusion(report: Json) -> str:
    """What a report concludes, and why it was corrected, as paragraphs."""
    codings = [elements.words(code) for code in report.get("conclusionCode", ())]
    paragraphs = [*str(report.get("conclusion", "")).split("\n"), *codings]
    why = elements.words(status_reason(report) or {})
    if why:
        paragraphs.append(f"{str(report.get('status', '')).capitalize()}: {why}")
    return "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs if paragraph)

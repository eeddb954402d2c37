"""DiagnosticReport: what a radiology report must have, and what the server adds to it.

A report stands beside its study (R001.1), repeats what the request said and what was noted on the
way (R007.3, G3), and names its organisation, its clinician and their registered speciality
(R015.3). What the client wrote stays as it wrote it: the additions are a section at the end of the
narrative, one presented form, one extension and performers that it left out.

References
----------
* FHIR R4 DiagnosticReport; Narrative (txt-1: plain XHTML)
* docs/representation.md, "Reports"; LOINC 55752-0 Clinical information
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, NamedTuple

from resources import addenda, codes, elements, reporters
from resources.addenda import Addendum, Order, by_whom, conclusion
from resources.errors import Unprocessable
from resources.imaging_study import ISSUED
from resources.reporters import Reporter

Json = Mapping[str, Any]

WHOLE_REPORT: Final = "Whole report"
"""Title of the presented form that the server makes; a new version of the report replaces it."""

SECTION: Final = re.compile(
    r'<div id="(?:clinical-information|reported-by|addenda|addenda-below|concluded)">'
    r"(?:(?!</?div).)*</div>",
    re.DOTALL,
)
"""Our sections of a narrative. They hold no other div, and their text is escaped."""

XHTML: Final = "http://www.w3.org/1999/xhtml"
TAG: Final = re.compile(r"<(?!img\b)[^>]*>")

WITHDRAWN: Final = frozenset({"entered-in-error", "cancelled"})
"""Statuses of a report that says nothing any more (FHIR R4 DiagnosticReportStatus)."""


class Remark(NamedTuple):
    """A note of somebody on the way: who in words, when, and what they wrote."""

    heading: str
    text: str
    time: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a report is completed from.

    Parameters
    ----------
    requests
        The ServiceRequests that the report fulfils, with their versioned references.
    remarks
        Notes of practitioner and operator, in order of time.
    reporters
        Who reports.
    defaults
        `performer` and `resultsInterpreter` for a report that names none.
    studies
        Links: address and words for each study.
    addenda
        What was added later, the newest first.
    order
        In which the parts of a whole report stand.
    """

    requests: Sequence[tuple[str, Json]] = ()
    remarks: Sequence[Remark] = ()
    reporters: Sequence[Reporter] = ()
    defaults: Mapping[str, Sequence[Json]] | None = None
    studies: Sequence[tuple[str, str]] = ()
    addenda: Sequence[Addendum] = ()
    order: Order = "newest-first"


def is_radiology(report: Json) -> bool:
    """Whether the category says that the report is a radiology one (v2-0074 RAD)."""
    return codes.has(report.get("category", []), codes.RADIOLOGY)


def is_issued(report: Json) -> bool:
    """Whether the report has been given out: final, or changed after it was."""
    return report.get("status") in ISSUED


def _is_of_one_patient(one: Json, other: Json) -> bool:
    return elements.references(one.get("subject")) == elements.references(other.get("subject"))


def check_study(report: Json, study: Json) -> None:
    """Refuse a report about another patient than the study it names (R001.1).

    One that is withdrawn may be: it may be withdrawn because its study turned out to be another's.

    Raises
    ------
    Unprocessable
        It is about somebody else.
    """
    if not _is_of_one_patient(report, study) and report.get("status") not in WITHDRAWN:
        raise Unprocessable(
            "a report is about the patient of its study", at="DiagnosticReport.subject"
        )


def rule(before: Json | None, after: Json, context: object = None) -> None:
    """Study and report stay together: a radiology report names its study (R001.1).

    Raises
    ------
    Unprocessable
        Category RAD, not merely registered, and no ImagingStudy; an issued report that is taken
        back to a draft or is no addendum any more; a correction without a reason.
    """
    if not is_radiology(after):
        return
    status = after.get("status")
    studies = elements.references(after.get("imagingStudy"))
    if status != "registered" and not studies:
        raise Unprocessable(
            "a radiology report names the study it is about", at="DiagnosticReport.imagingStudy"
        )
    by_server = getattr(getattr(context, "principal", None), "role", "") == "system"
    if not by_server:
        addenda.check_reason(after)
    if before is None:
        return
    if not by_server:
        addenda.check_kept(before, after)
    if is_issued(before) and status in ("registered", "partial", "preliminary"):
        raise Unprocessable("an issued report is not a draft again", at="DiagnosticReport.status")
    was = {elements.unversioned(one) for one in elements.references(before.get("imagingStudy"))}
    if is_issued(before) and not was <= {elements.unversioned(one) for one in studies}:
        raise Unprocessable(
            "an issued report keeps its studies", at="DiagnosticReport.imagingStudy"
        )


def completed(report: Json, around: Surroundings) -> dict[str, Any]:
    """The top-level members that the server adds to or changes in a report.

    Completing a report that was completed before, and changed by its author since, changes what
    was ours and nothing else.
    """
    members: dict[str, Any] = {
        name: list(value)
        for name, value in (around.defaults or {}).items()
        if value and not report.get(name)
    }
    if around.requests:
        members["extension"] = _supporting(report, [reference for reference, _ in around.requests])
    members["text"] = _narrative(report, around)
    members["presentedForm"] = [
        *(form for form in report.get("presentedForm", ()) if form.get("title") != WHOLE_REPORT),
        _whole(report, around),
    ]
    return members


def remarks(step: str, task: Json) -> list[Remark]:
    """The notes of a Task as remarks, under the name of its step."""
    return [
        Remark(f"{step}{_by(note)}", note["text"], note.get("time", ""))
        for note in elements.notes(task)
    ]


def _by(note: Json) -> str:
    author = note.get("authorString") or note.get("authorReference", {}).get("display")
    return f", {author}" if author else ""


def clinical_information(requests: Iterable[Json]) -> list[tuple[str, str]]:
    """What the requests say, as lines: heading and words."""
    lines: list[tuple[str, str]] = []
    for request in requests:
        lines += [("Examination", elements.words(request.get("code")))]
        lines += [("Reason", elements.words(reason)) for reason in request.get("reasonCode", ())]
        lines += [("Question", elements.words(detail)) for detail in request.get("orderDetail", ())]
        lines += [(f"Referrer{_by(note)}", note["text"]) for note in elements.notes(request)]
    return [(heading, text) for heading, text in dict.fromkeys(lines) if text]


def _supporting(report: Json, references: Sequence[str]) -> list[Json]:
    """Extensions with the requests, in the versions that the report answers."""
    named = {elements.unversioned(one) for one in references}
    kept = [
        one
        for one in report.get("extension", ())
        if one.get("url") != codes.REPORT_SUPPORTING_INFO
        or elements.unversioned(one.get("valueReference", {}).get("reference", "")) not in named
    ]
    ours = [
        {"url": codes.REPORT_SUPPORTING_INFO, "valueReference": {"reference": one}}
        for one in references
    ]
    return [*kept, *ours]


def _section(around: Surroundings) -> str:
    lines = clinical_information(request for _, request in around.requests)
    lines += [
        (remark.heading, f"{remark.text} ({remark.time})" if remark.time else remark.text)
        for remark in around.remarks
    ]
    rows = "".join(f"<dt>{escape(heading)}</dt><dd>{escape(text)}</dd>" for heading, text in lines)
    return f'<div id="clinical-information"><h2>Clinical information</h2><dl>{rows}</dl></div>'


def _narrative(report: Json, around: Surroundings) -> Json:
    """The client's narrative, the addenda before or after it, and our sections at its end."""
    first, last = _added(around)
    last += f"{_reported_by(around)}{_section(around) if around.requests else ''}"
    known = report.get("text") or {}
    div = SECTION.sub("", known.get("div", "")).strip()
    if not div.endswith("</div>") or not TAG.sub("", div).strip():
        body = f'<div id="concluded">{conclusion(report)}</div>' if _concludes(report) else ""
        return {"status": "generated", "div": f'<div xmlns="{XHTML}">{first}{body}{last}</div>'}
    begin = div.index(">") + 1
    whole = f"{div[:begin]}{first}{div[begin : -len('</div>')]}{last}</div>"
    return {**known, "status": "additional", "div": whole}


def _concludes(report: Json) -> bool:
    return bool(report.get("conclusion") or report.get("conclusionCode"))


def _added(around: Surroundings) -> tuple[str, str]:
    """The addenda as sections of the narrative: what stands before the report, and what after."""
    if not around.addenda:
        return "", ""
    newest = addenda.sections(around.addenda)
    if around.order == "newest-first":
        return f'<div id="addenda">{"".join(newest)}</div>', ""
    warning = f'<div id="addenda-below"><p>{escape(addenda.notice(around.addenda))}</p></div>'
    return warning, f'<div id="addenda">{"".join(reversed(newest))}</div>'


def _whole(report: Json, around: Surroundings) -> Json:
    """The whole report as one HTML page, for those who show and print it."""
    page = _page(report, around).encode()
    form: dict[str, Any] = {
        "contentType": "text/html",
        "language": "en",
        "data": base64.b64encode(page).decode(),
        "size": len(page),
        "hash": base64.b64encode(hashlib.sha1(page, usedforsecurity=False).digest()).decode(),
        "title": WHOLE_REPORT,
    }
    if "issued" in report:
        form["creation"] = report["issued"]
    return form


def _page(report: Json, around: Surroundings) -> str:
    title = elements.words(report.get("code")) or "Report"
    by = by_whom(report, around.reporters)
    links = "".join(
        f'<li><a href="{escape(address)}">{escape(text)}</a></li>'
        for address, text in around.studies
    )
    newest = addenda.sections(around.addenda)
    before, after = "".join(newest), ""
    if around.order == "oldest-first" and newest:
        before = f'<h2>Notice</h2><p class="notice">{escape(addenda.notice(around.addenda))}</p>'
        after = "".join(reversed(newest))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title></head><body><h1>{escape(title)}</h1>"
        f'<p class="author">{by}</p>'
        f'<p class="status">{escape(str(report.get("status", "")))}</p>'
        f"{before}{_section(around)}<h2>Report</h2>{conclusion(report)}{after}"
        f"<h2>Images</h2><ul>{links}</ul></body></html>"
    )


def _reported_by(around: Surroundings) -> str:
    """Who reports, and who added to it, as a section of the narrative."""
    lines = [("Reported by", reporters.words(one)) for one in around.reporters]
    lines += [
        ("Addendum by", _plain(each.report, one))
        for each in around.addenda
        for one in each.reporters
    ]
    rows = "".join(f"<dt>{what}</dt><dd>{escape(who)}</dd>" for what, who in lines if who)
    return f'<div id="reported-by"><dl>{rows}</dl></div>' if rows else ""


def _plain(added: Json, by: Reporter) -> str:
    return " · ".join(part for part in (str(added.get("issued", "")), reporters.words(by)) if part)

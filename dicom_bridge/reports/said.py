"""What a DiagnosticReport says, in sections: the same words for SR, PDF and whoever prints it.

They are taken from the page of the whole report that the server puts into every issued report,
so that nothing is said differently to a DICOM workstation: the clinical information, who reports,
and each addendum is in there. What its author wrote as a narrative alone is added.

References
----------
* docs/representation.md, "Reports"; PS3.16 TID 2000, CID 7000 and 7001 (titles and headings)
"""

import base64
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any, Final, NamedTuple

from resources import codes, elements, report
from resources.codes import Coding

Json = Mapping[str, Any]

WITHDRAWAL: Final = "This report was withdrawn. It is not to be used."
ATTACHED: Final = "The report is the document that is attached to it."

HEADINGS: Final = {
    "Clinical information": codes.SECTION_CLINICAL_INFORMATION,
    "Report":               codes.SECTION_CONCLUSION,
    "Findings":             codes.SECTION_FINDINGS,
    "Addendum":             codes.ADDENDUM_DOCUMENT,
    "Withdrawn":            codes.ADDENDUM_DOCUMENT,
    "Notice":               codes.ADDENDUM_DOCUMENT,
}  # fmt: skip
"""Heading of the page -> PS3.16 CID 7001; what is not named here is no part of what is said."""

BLOCKS: Final = frozenset({"h1", "h2", "p", "dt", "dd", "li", "div", "td", "tr", "br", "pre"})


class Section(NamedTuple):
    """A heading and its paragraphs."""

    heading: str
    code: Coding
    paragraphs: Sequence[str]


class Said(NamedTuple):
    """A version of a report, in words."""

    title: str
    preamble: Sequence[str]
    """Date, organisation, clinician and speciality."""
    sections: Sequence[Section]
    attachment: bytes = b""
    """The PDF that its author attached, where that is all there is."""

    @property
    def is_addendum(self) -> bool:
        """Whether it has been added to."""
        return any(one.code == codes.ADDENDUM_DOCUMENT for one in self.sections)


def said(resource: Json) -> Said:
    """Read a report that was issued, or withdrawn after it was."""
    title = elements.words(resource.get("code")) or "Report"
    if resource.get("status") in report.WITHDRAWN:
        return Said(title, [], [_section("Withdrawn", [WITHDRAWAL])])
    preamble, sections = _of_page(_page(resource))
    concluded = [text for text in str(resource.get("conclusion", "")).split("\n") if text.strip()]
    if concluded and not any(one.heading == "Report" for one in sections):
        sections.append(_section("Report", concluded))
    authored = report.SECTION.sub("", str(resource.get("text", {}).get("div", "")))
    written = _paragraphs(authored)
    known = {_plain(text) for one in sections for text in one.paragraphs}
    if new := [text for text in written if _plain(text) not in known]:
        places = [at for at, one in enumerate(sections) if one.heading == "Report"]
        sections.insert(next(iter(places), len(sections)), _section("Findings", new))
    attachment = b""
    if not any(one.heading in ("Report", "Findings") for one in sections):
        attachment = _attached(resource)
        sections.append(_section("Report", [ATTACHED if attachment else title]))
    return Said(title, preamble, sections, attachment)


def _section(heading: str, paragraphs: Sequence[str]) -> Section:
    return Section(heading, HEADINGS[heading], paragraphs)


def _page(resource: Json) -> str:
    for form in resource.get("presentedForm", ()):
        if form.get("title") == report.WHOLE_REPORT:
            return base64.b64decode(form.get("data", "")).decode("utf-8", "replace")
    return ""


def _attached(resource: Json) -> bytes:
    for form in resource.get("presentedForm", ()):
        if form.get("contentType") == "application/pdf" and form.get("data"):
            return base64.b64decode(form["data"])
    return b""


class _Blocks(HTMLParser):
    """Collects the text of blocks with the tag that each stands in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[str, str]] = []
        self._tag = ""
        self._text = ""
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("title", "style", "head", "script"):
            self._hidden += 1
        if tag in BLOCKS:
            self._end(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("title", "style", "head", "script"):
            self._hidden -= 1
        if tag in BLOCKS:
            self._end("")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._text += data

    def close(self) -> None:
        super().close()
        self._end("")

    def _end(self, tag: str) -> None:
        if text := " ".join(self._text.split()):
            self.blocks.append((self._tag, text))
        self._tag, self._text = tag, ""


def _blocks(html: str) -> list[tuple[str, str]]:
    parser = _Blocks()
    parser.feed(html)
    parser.close()
    joined: list[tuple[str, str]] = []
    for tag, text in parser.blocks:
        if tag == "dd" and joined and joined[-1][0] == "dt":
            joined[-1] = ("p", f"{joined[-1][1]}: {text}")
        else:
            joined.append((tag, text))
    return joined


def _of_page(html: str) -> tuple[list[str], list[Section]]:
    preamble: list[str] = []
    sections: list[Section] = []
    heading = ""
    collected: list[str] = preamble
    for tag, text in _blocks(html):
        if tag == "h2":
            heading, collected = text, []
            if heading in HEADINGS:
                sections.append(_section(heading, collected))
        elif tag != "h1":
            collected.append(text)
    return preamble[:1], [one for one in sections if one.paragraphs]


def _paragraphs(html: str) -> list[str]:
    return [text for _, text in _blocks(html)]


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()

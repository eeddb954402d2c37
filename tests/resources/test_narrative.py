"""A narrative formats text and does nothing else."""

import pytest

from resources.narrative import fault


def div(inside: str, attributes: str = 'xmlns="http://www.w3.org/1999/xhtml"') -> str:
    return f"<div {attributes}>{inside}</div>"


@pytest.mark.standard("FHIR Narrative txt-1")
@pytest.mark.parametrize(
    "inside",
    [
        "CT chest",
        "<p>a</p><table border='1'><tr><td colspan='2'>b</td></tr></table>",
        "<a href='https://x.example/'>a</a>",
        "<a href='ImagingStudy/1'>a</a>",
        "<a href='#b' name='c'>a</a>",
        "<a href='mailto:a@x.example'>a</a>",
        "<a href='a/b:c'>a</a>",
        "<img src='data:image/png;base64,iVBORw0KGgo=' alt='x'/>",
        "<img src='#pic'/>",
        "<span style='color: red; background-image: url(tbl_bck1.png)'>a</span>",
        "&lt;script&gt; &amp; &#160;a",
        "<span xml:lang='cy' lang='cy'>a</span>",
        "<!-- note -->a",
    ],
)
def test_formatting_is_allowed(inside: str) -> None:
    assert fault(div(inside)) == ""


@pytest.mark.standard("FHIR Narrative txt-1")
@pytest.mark.parametrize(
    "inside",
    [
        "a<script>x()</script>",
        "a<SCRIPT>x()</SCRIPT>",
        "<p onclick='x()'>a</p>",
        "<img src='x' onerror='x()'/>",
        "<a href='javascript:x()'>a</a>",
        "<a href='JaVaScRiPt:x()'>a</a>",
        "<a href=' java&#9;script&#10;:x()'>a</a>",
        "<a href='&#1;javascript:x()'>a</a>",
        "<a href='data:text/html;base64,AA=='>a</a>",
        "<a href='vbscript:x'>a</a>",
        "<img src='data:image/svg+xml;base64,AA=='/>",
        "<a href='data:image/png;base64,AA=='>a</a>",
        "<iframe src='https://x.example/'>a</iframe>",
        "<object data='x'>a</object>",
        "<form action='x'>a<input name='y'/></form>",
        "<link rel='stylesheet' href='x'/>a",
        "<style>p { color: red }</style>a",
        "<base href='x'/>a",
        "<svg xmlns='http://www.w3.org/2000/svg'><text>a</text></svg>",
        "<x:p xmlns:x='http://www.w3.org/2000/svg'>a</x:p>",
        "<p style='background: url(https://x.example/pixel)'>a</p>",
        "<p style='background: url(//x.example/pixel)'>a</p>",
        "<p style='width: expression(x())'>a</p>",
        "<p style='background: u\\72l(x)'>a</p>",
        "<p style='@import x'>a</p>",
        "<p style='-moz-binding: url(x)'>a</p>",
        "<?php x ?>a",
        "&nbsp;a",
        "&unknown;",
        "<p>a",
        "<p>a</b>",
        "a < b",
        "a\x00",
        "a\x0b",
    ],
)
def test_what_could_act_or_cannot_be_read_is_not(inside: str) -> None:
    assert fault(div(inside)).startswith("txt-1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CT chest",
        "<div>CT chest</div>",
        "<p xmlns='http://www.w3.org/1999/xhtml'>CT chest</p>",
        div("a") + div("b"),
        "<!DOCTYPE div [<!ENTITY a 'aaaa'>]>" + div("&a;"),
        "<!DOCTYPE div SYSTEM 'file:///etc/passwd'>" + div("a"),
        "<?xml version='1.0'?><?xml-stylesheet href='x'?>" + div("a"),
    ],
)
def test_a_narrative_is_one_div_of_xhtml_and_no_document(text: str) -> None:
    assert fault(text).startswith("txt-1")


@pytest.mark.standard("FHIR Narrative txt-2")
@pytest.mark.parametrize("inside", ["", " \n", "<p> </p>", "<br/>", "<!-- a -->"])
def test_a_narrative_says_something(inside: str) -> None:
    assert fault(div(inside)).startswith("txt-2")


def test_an_image_says_something() -> None:
    assert fault(div("<img src='#pic'/>")) == ""

"""The narrative: XHTML that cannot do anything.

An allow-list of elements, attributes and link schemes; what it does not name is refused, since an
app will show this to a clinician as part of its own page.

References
----------
* FHIR Narrative, txt-1 ("SHALL contain only the basic html formatting elements and attributes
  described in chapters 7-11 (except section 4 of chapter 9) and 15 of the HTML 4.0 standard,
  <a> elements (either name or href), images and internally contained style attributes") and
  txt-2 ("SHALL have some non-whitespace content")
"""

import re
from typing import Any, Final
from xml.parsers import expat

XHTML: Final = "http://www.w3.org/1999/xhtml"

ELEMENTS: Final = frozenset({
    "a", "abbr", "acronym", "address", "area", "b", "bdo", "big", "blockquote", "br", "caption",
    "cite", "code", "col", "colgroup", "dd", "dfn", "div", "dl", "dt", "em", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "map", "ol", "p", "pre", "q", "samp",
    "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead",
    "tr", "tt", "ul", "var",
})  # fmt: skip
ATTRIBUTES: Final = frozenset({
    "abbr", "accesskey", "align", "alt", "axis", "border", "cellpadding", "cellspacing", "char",
    "charoff", "charset", "cite", "class", "colspan", "coords", "dir", "frame", "headers",
    "height", "href", "hreflang", "id", "lang", "longdesc", "name", "nowrap", "rel", "rev",
    "rowspan", "rules", "scope", "shape", "span", "src", "start", "style", "summary",
    "tabindex", "title", "type", "usemap", "valign", "value", "width", "xml:lang",
})  # fmt: skip
LINKS: Final = frozenset({"href", "src", "cite", "longdesc", "usemap"})
SCHEMES: Final = frozenset({"", "ftp", "http", "https", "mailto", "tel", "urn"})

_SCHEME: Final = re.compile(r"([^/?#:]*):")
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")
_IMAGE: Final = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=]*")
_STYLE_URL: Final = re.compile(
    r"url\(((?!//)[\w./-]+|data: ?image/(?:png|jpeg|gif);base64,[\w+/=]*)\)"
)
_ACTIVE_STYLE: Final = re.compile(
    r"[\\@&<]|/\*|url|image\s*\(|expression|script|behavior|-moz-binding", re.IGNORECASE
)


class _Unsafe(Exception):  # noqa: N818 - never leaves this module
    """What the narrative does that it must not; the reason is its only argument."""


def fault(div: str) -> str:
    """Say what is wrong with a narrative's div; an empty string is a good one.

    Examples
    --------
    >>> fault('<div xmlns="http://www.w3.org/1999/xhtml">CT chest</div>')
    ''
    >>> fault('<div xmlns="http://www.w3.org/1999/xhtml"><p onclick="x()">CT</p></div>')
    'txt-1: The attribute onclick is not allowed in a narrative.'
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.ProcessingInstructionHandler = _refuse_instruction
    try:
        parser.Parse(div, True)
    except _Unsafe as unsafe:
        return f"txt-1: {unsafe}"
    except (expat.ExpatError, UnicodeEncodeError):
        return "txt-1: The narrative is not well-formed XHTML."
    return "" if reader.says_something else "txt-2: The narrative says nothing."


class _Reader:
    """Follows one parse: the root must be a div of XHTML, the rest must be on the lists."""

    def __init__(self) -> None:
        self.is_root = True
        self.says_something = False

    def start(self, name: str, attributes: dict[str, Any]) -> None:
        namespace, _, element = name.rpartition(" ")
        if namespace != XHTML or (self.is_root and element != "div"):
            raise _Unsafe("A narrative is a div of XHTML.")
        self.is_root = False
        if element not in ELEMENTS:
            raise _Unsafe(f"The element {element} is not allowed in a narrative.")
        self.says_something = self.says_something or element == "img"
        for attribute, value in attributes.items():
            _check_attribute(element, attribute.replace(_XML + " ", "xml:"), value)

    def text(self, text: str) -> None:
        self.says_something = self.says_something or bool(text.strip())


_XML: Final = "http://www.w3.org/XML/1998/namespace"


def _check_attribute(element: str, attribute: str, value: str) -> None:
    if attribute not in ATTRIBUTES:
        raise _Unsafe(f"The attribute {attribute} is not allowed in a narrative.")
    if attribute == "style" and _ACTIVE_STYLE.search(_STYLE_URL.sub("", value)):
        raise _Unsafe("A style in a narrative may not load or run anything.")
    if attribute in LINKS and not _is_harmless_link(element, value):
        raise _Unsafe(f"The {attribute} of a narrative's {element} may not lead there.")


def _is_harmless_link(element: str, value: str) -> bool:
    packed = _UNSEEN.sub("", value)
    scheme = _SCHEME.match(packed)
    if scheme is None or scheme[1].lower() in SCHEMES:
        return True
    return element == "img" and _IMAGE.fullmatch(packed) is not None


def _refuse_doctype(*_: Any) -> None:
    raise _Unsafe("A narrative has no document type.")


def _refuse_instruction(*_: Any) -> None:
    raise _Unsafe("A narrative has no processing instructions.")

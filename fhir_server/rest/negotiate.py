"""Which format is spoken: Accept, Content-Type, `_format`, and what Prefer asks for.

Only JSON is spoken here. FHIR http, "Content Types and encodings": the type is
``application/fhir+json``; ``application/json`` is accepted for ordinary tools; "406 Not
Acceptable" and "415 Unsupported Media Type" are for what we do not speak.
"""

from typing import Final, NamedTuple

from resources.errors import Unsupported


class NotAcceptable(Unsupported):
    """The asker wants an answer in a format that is not spoken here."""


class UnsupportedMedia(Unsupported):
    """The body is in a format or coding that is not spoken here."""


ACCEPTED: Final[frozenset[str]] = frozenset(
    {
        "application/fhir+json",
        "application/json",
        "text/json",
        "json",
        "*/*",
        "application/*",
    }
)
"""FHIR http, "_format": the full names and the short one; XML and Turtle are not among them."""

CSV: Final[frozenset[str]] = frozenset({"text/csv", "csv"})
"""RFC 4180, and how `_format` names it for short."""

CONSUMED: Final[frozenset[str]] = frozenset({"application/fhir+json", "application/json"})

VERSIONS: Final[frozenset[str]] = frozenset({"", "4.0", "4.0.1"})
"""FHIR http, "FHIR version parameter": 4.0 is R4."""


class Preference(NamedTuple):
    """What a Prefer header asks for (RFC 7240; FHIR http, "return preference", "handling")."""

    content: str = "representation"
    strict: bool = False


def check_accept(
    accept: str | None, format_parameter: str | None = None, more: frozenset[str] = frozenset()
) -> None:
    """Refuse a request whose answer nobody could read.

    ``_format`` overrides Accept (FHIR http, "_format"). `more` is spoken as well.

    Examples
    --------
    >>> check_accept("application/fhir+json; fhirVersion=4.0")
    >>> check_accept("text/html, */*;q=0.1")
    >>> check_accept("application/fhir+xml")
    Traceback (most recent call last):
    fhir_server.rest.negotiate.NotAcceptable: Answers are application/fhir+json of FHIR 4.0 only.
    """
    if format_parameter is not None:
        accept = format_parameter.replace("application/fhir json", "application/fhir+json")
    if not accept or accept in ACCEPTED:
        return
    for choice in accept.split(","):
        kind, parameters = _media(choice)
        if (
            (kind in ACCEPTED or kind in more)
            and parameters.get("fhirversion", "") in VERSIONS
            and not _is_zero(parameters.get("q", "1"))
        ):
            return
    raise NotAcceptable("Answers are application/fhir+json of FHIR 4.0 only.")


def wants(media: frozenset[str], accept: str | None, format_parameter: str | None) -> bool:
    """Whether somebody wants one of these media types rather than FHIR JSON.

    Examples
    --------
    >>> wants(CSV, "text/csv, */*;q=0.1", None), wants(CSV, "text/csv", "json")
    (True, False)
    >>> wants(CSV, "application/fhir+json, text/csv;q=0.5", None), wants(CSV, None, "csv")
    (False, True)
    """
    if format_parameter is not None:
        return format_parameter in media
    choices = [_media(choice) for choice in (accept or "").split(",")]
    wished = [(_quality(parameters), kind) for kind, parameters in choices]
    ours = max((quality for quality, kind in wished if kind in media), default=0.0)
    return ours > max((quality for quality, kind in wished if kind in ACCEPTED), default=0.0)


def check_content(content_type: str | None) -> None:
    """Refuse a body that is not declared to be FHIR JSON of R4 in UTF-8.

    Examples
    --------
    >>> check_content("application/json; charset=UTF-8")
    >>> check_content("application/fhir+xml")
    Traceback (most recent call last):
    fhir_server.rest.negotiate.UnsupportedMedia: The body must be application/fhir+json of FHIR 4.0.
    """
    if content_type == "application/fhir+json":
        return
    kind, parameters = _media(content_type or "")
    if (
        kind not in CONSUMED
        or parameters.get("fhirversion", "") not in VERSIONS
        or parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}
    ):
        raise UnsupportedMedia("The body must be application/fhir+json of FHIR 4.0.")


def is_media(content_type: str | None, expected: str) -> bool:
    """Whether a body is declared to be of this type, in UTF-8.

    Examples
    --------
    >>> is_media("application/json-patch+json; charset=utf-8", "application/json-patch+json")
    True
    """
    kind, parameters = _media(content_type or "")
    return kind == expected and parameters.get("charset", "utf-8").lower() in {"utf-8", "utf8"}


def check_form(content_type: str | None) -> None:
    """Refuse a POST _search whose body is not a form (FHIR http, "search")."""
    if _media(content_type or "")[0] != "application/x-www-form-urlencoded":
        raise UnsupportedMedia("POST _search takes application/x-www-form-urlencoded.")


def preference(prefer: str | None) -> Preference:
    """Read a Prefer header; what is not understood is ignored (RFC 7240 Section 2).

    Examples
    --------
    >>> preference("return=minimal; handling=strict")
    Preference(content='minimal', strict=True)
    """
    if not prefer:
        return Preference()
    wishes = {
        name.strip().lower(): value.strip().strip('"')
        for name, _, value in (part.partition("=") for part in prefer.replace(";", ",").split(","))
    }
    content = wishes.get("return", "")
    return Preference(
        content if content in {"minimal", "OperationOutcome"} else "representation",
        wishes.get("handling") == "strict",
    )


def _media(text: str) -> tuple[str, dict[str, str]]:
    kind, *rest = text.split(";")
    parameters = {
        name.strip().lower(): value.strip().strip('"')
        for name, _, value in (part.partition("=") for part in rest)
    }
    return kind.strip().lower(), parameters


def _is_zero(quality: str) -> bool:
    try:
        return float(quality) == 0
    except ValueError:
        return False


def _quality(parameters: dict[str, str]) -> float:
    """How much something is wished for (RFC 9110 Section 12.4.2)."""
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 1.0

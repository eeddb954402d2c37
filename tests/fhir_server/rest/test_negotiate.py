import pytest

from fhir_server.rest.negotiate import (
    NotAcceptable,
    Preference,
    UnsupportedMedia,
    check_accept,
    check_content,
    check_form,
    preference,
)


@pytest.mark.standard("FHIR http content types")
@pytest.mark.parametrize(
    ("accept", "format_parameter"),
    [
        (None, None),
        ("", None),
        ("application/fhir+json", None),
        ("application/fhir+json; fhirVersion=4.0", None),
        ("application/fhir+json;charset=utf-8;fhirVersion=4.0.1", None),
        ("application/json", None),
        ("*/*", None),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", None),
        ("APPLICATION/JSON", None),
        ("application/fhir+xml", "json"),
        ("application/fhir+xml", "application/fhir+json"),
        (None, "application/fhir json"),
    ],
)
def test_json_of_r4_is_answered(accept: str | None, format_parameter: str | None) -> None:
    check_accept(accept, format_parameter)


@pytest.mark.standard("FHIR http content types")
@pytest.mark.parametrize(
    ("accept", "format_parameter"),
    [
        ("application/fhir+xml", None),
        ("text/turtle", None),
        ("application/fhir+json; fhirVersion=5.0", None),
        ("application/fhir+json;q=0", None),
        ("application/fhir+json", "xml"),
        (None, "ttl"),
        (None, "application/fhir+xml"),
        ("nonsense", None),
        (";;;,,,=", None),
    ],
)
def test_what_is_not_json_of_r4_is_not_acceptable(
    accept: str | None, format_parameter: str | None
) -> None:
    with pytest.raises(NotAcceptable):
        check_accept(accept, format_parameter)


@pytest.mark.standard("FHIR http content types")
@pytest.mark.parametrize(
    "content_type",
    [
        "application/fhir+json",
        "application/fhir+json; fhirVersion=4.0",
        "application/json",
        'application/json; charset="utf-8"',
        "Application/FHIR+JSON;Charset=UTF-8",
    ],
)
def test_json_of_r4_is_taken(content_type: str) -> None:
    check_content(content_type)


@pytest.mark.standard("FHIR http content types")
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/fhir+xml",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/fhir+json; fhirVersion=3.0",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=x",
    ],
)
def test_other_bodies_are_an_unsupported_media_type(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMedia):
        check_content(content_type)


def test_a_search_by_post_takes_a_form() -> None:
    check_form("application/x-www-form-urlencoded; charset=UTF-8")

    with pytest.raises(UnsupportedMedia):
        check_form("application/fhir+json")


@pytest.mark.standard("RFC 7240 2")
@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (None, Preference("representation", False)),
        ("return=minimal", Preference("minimal", False)),
        ("return=OperationOutcome", Preference("OperationOutcome", False)),
        ("return=representation, handling=strict", Preference("representation", True)),
        ('handling="strict"; return=minimal', Preference("minimal", True)),
        ("handling=lenient", Preference("representation", False)),
        ("respond-async; wait=10", Preference("representation", False)),
        ("return=bogus", Preference("representation", False)),
        (";=,,", Preference("representation", False)),
    ],
)
def test_a_preference_that_is_not_understood_is_ignored(
    prefer: str | None, expected: Preference
) -> None:
    assert preference(prefer) == expected

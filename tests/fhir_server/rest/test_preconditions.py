import pytest

from fhir_server.rest.preconditions import etag, http_date, if_match, is_held
from resources.errors import Invalid

SATURDAY = 1_795_489_200_720_000
"""2026-11-24T03:00:00.720Z, in microseconds."""


@pytest.mark.standard("FHIR http managing resource contention")
@pytest.mark.parametrize(
    ("header", "version"), [(None, None), ('W/"3"', 3), ('"3"', 3), (' W/"12" ', 12)]
)
def test_if_match_names_one_version(header: str | None, version: int | None) -> None:
    assert if_match(header) == version


@pytest.mark.standard("FHIR http managing resource contention")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "3",
        "*",
        'W/"3", W/"4"',
        'W/"a"',
        'W/""',
        "W/3",
        'w/"3"',
        'W/"-1"',
        'W/"٣"',
        '"' + "9" * 40 + '"',
    ],
)
def test_an_if_match_that_names_no_version_is_refused(header: str) -> None:
    with pytest.raises(Invalid) as refused:
        if_match(header)

    assert refused.value.at == "If-Match"


@pytest.mark.standard("FHIR http conditional read")
@pytest.mark.parametrize(
    ("headers", "held"),
    [
        ({}, False),
        ({"if-none-match": 'W/"3"'}, True),
        ({"if-none-match": '"3"'}, True),
        ({"if-none-match": 'W/"1", W/"3"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": 'W/"2"'}, False),
        ({"if-none-match": "junk"}, False),
        ({"if-modified-since": "Tue, 24 Nov 2026 03:00:00 GMT"}, True),
        ({"if-modified-since": "Tue, 24 Nov 2026 02:59:59 GMT"}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": "Tue, 24 Nov 0000 02:59:59 GMT"}, False),
        ({"if-modified-since": ""}, False),
    ],
)
def test_a_read_is_conditional_on_version_or_time(headers: dict[str, str], held: bool) -> None:
    assert is_held(headers, 3, SATURDAY) is held


@pytest.mark.standard("RFC 9110 13.1.3")
def test_if_modified_since_is_ignored_where_if_none_match_is_sent() -> None:
    headers = {"if-none-match": 'W/"2"', "if-modified-since": "Tue, 24 Nov 2026 04:00:00 GMT"}

    assert not is_held(headers, 3, SATURDAY)


def test_a_version_is_a_weak_etag() -> None:
    assert etag(3) == b'W/"3"'


@pytest.mark.standard("RFC 9110 5.6.7")
def test_last_modified_is_in_whole_seconds() -> None:
    assert http_date(SATURDAY) == b"Tue, 24 Nov 2026 03:00:00 GMT"

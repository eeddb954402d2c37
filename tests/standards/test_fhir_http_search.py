"""FHIR http, "search", and what FHIR Search says about the Bundle of the answer."""

from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from resources import models
from tests.build import a_patient, a_request
from tests.standards.asking import Json, refused, stored

pytestmark = pytest.mark.standard("FHIR http search")

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def patient(api: httpx.Client) -> str:
    """Id of a Patient with five ServiceRequests, two of them completed."""
    id: str = stored(api, a_patient(None))["id"]
    for number in range(5):
        request = a_request(
            None,
            subject={"reference": f"Patient/{id}"},
            requester=None,
            status="completed" if number < 2 else "active",
            authoredOn=f"2026-01-0{number + 1}T10:00:00Z",
        )
        stored(api, request)
    return id


def found(bundle: Json, mode: str = "match") -> list[Json]:
    return [e["resource"] for e in bundle.get("entry", []) if e["search"]["mode"] == mode]


def link(bundle: Json, relation: str) -> str:
    return next((each["url"] for each in bundle["link"] if each["relation"] == relation), "")


def asked(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def test_a_search_answers_a_searchset(api: httpx.Client, patient: str) -> None:
    answer = api.get(
        "/ServiceRequest", params={"patient": patient, "status": "active", "_sort": "-authored"}
    )

    models.model("Bundle").model_validate_json(answer.content)
    bundle = answer.json()
    assert bundle["type"] == "searchset"
    assert [each["authoredOn"][:10] for each in found(bundle)] == [
        "2026-01-05",
        "2026-01-04",
        "2026-01-03",
    ]
    assert all(
        e["fullUrl"] == f"{api.base_url!s}ServiceRequest/{e['resource']['id']}"
        for e in bundle["entry"]
    )


@pytest.mark.standard("FHIR Search self link")
def test_the_self_link_holds_what_was_used_and_nothing_else(
    api: httpx.Client, patient: str
) -> None:
    answer = api.get(
        "/ServiceRequest",
        params={
            "patient": patient,
            "code": "http://snomed.info/sct|303653007",
            "wings": "2",
            "_format": "json",
        },
    )

    url = link(answer.json(), "self")
    assert asked(url) == {"patient": patient, "code": "http://snomed.info/sct|303653007"}
    assert found(api.get(url).json()) == found(answer.json())


@pytest.mark.standard("FHIR Search unknown parameters")
def test_what_was_ignored_is_told(api: httpx.Client, patient: str) -> None:
    answer = api.get("/ServiceRequest", params={"patient": patient, "wings": "2", "_sort": "wings"})

    (outcome,) = found(answer.json(), "outcome")
    assert outcome["resourceType"] == "OperationOutcome"
    assert {issue["expression"][0] for issue in outcome["issue"]} == {"wings", "_sort"}
    assert {issue["severity"] for issue in outcome["issue"]} == {"warning"}
    models.model("Bundle").model_validate_json(answer.content)


@pytest.mark.standard("FHIR Search handling")
def test_who_asks_strictly_is_refused_what_would_be_ignored(
    api: httpx.Client, patient: str
) -> None:
    strict = {"Prefer": "handling=strict"}

    for name in ("wings", "_filter"):
        answer = api.get("/ServiceRequest", params={"patient": patient, name: "2"}, headers=strict)

        refused(answer, 400, "", name)


@pytest.mark.standard("FHIR Search paging")
def test_pages_follow_each_other_without_gap_or_overlap(api: httpx.Client, patient: str) -> None:
    url = f"{api.base_url}ServiceRequest?patient={patient}&_sort=authored&_count=2"
    seen: list[str] = []
    for _ in range(5):
        page = api.get(url).json()
        seen += [each["authoredOn"][:10] for each in found(page)]
        url = link(page, "next")
        if not url:
            break

    assert seen == [f"2026-01-0{day}" for day in (1, 2, 3, 4, 5)]


@pytest.mark.standard("FHIR Search _include")
def test_what_is_included_is_marked_so(api: httpx.Client, patient: str) -> None:
    bundle = api.get(
        "/ServiceRequest", params={"patient": patient, "_include": "ServiceRequest:patient"}
    ).json()

    assert {each["resourceType"] for each in found(bundle)} == {"ServiceRequest"}
    assert [each["id"] for each in found(bundle, "include")] == [patient]


@pytest.mark.standard("FHIR Search _summary")
def test_a_count_is_a_total_without_entries(api: httpx.Client, patient: str) -> None:
    for parameters in ({"_summary": "count"}, {"_count": "0"}):
        bundle = api.get("/ServiceRequest", params={"patient": patient, **parameters}).json()

        assert bundle["total"] == 5
        assert "entry" not in bundle


@pytest.mark.standard("FHIR http search by POST")
def test_a_form_asks_the_same_as_a_query(api: httpx.Client, patient: str) -> None:
    form = api.post(
        "/ServiceRequest/_search?status=active", content=f"patient={patient}", headers=FORM
    )
    query = api.get(f"/ServiceRequest?status=active&patient={patient}")

    assert form.status_code == 200
    assert found(form.json()) == found(query.json())
    assert asked(link(form.json(), "self")) == {"patient": patient, "status": "active"}


@pytest.mark.standard("FHIR http search by POST")
def test_a_search_by_post_is_a_form(api: httpx.Client) -> None:
    refused(api.post("/ServiceRequest/_search", content=b"{}"), 415)
    refused(api.post("/ServiceRequest/_search", content=b"a=\xff", headers=FORM), 400)
    refused(api.post("/ServiceRequest/_search", content=b"code=%00", headers=FORM), 400)


@pytest.mark.parametrize(
    "query",
    [
        "_count=x",
        "_count=-1",
        "_count=1.5",
        "_count=%D9%A3",
        "_total=many",
        "_cursor=nonsense",
        "_cursor=%00",
        "authored=yesterday",
        "authored=gt",
        "authored=2026-13-45",
        "code:wings=2",
        "status.wings=2",
        "subject:Ghost=1",
        "_include=nonsense",
        "_revinclude=:::",
        "code=%00",
        "%00=1",
        "code=%FF",
        "code=%ED%A0%80",
        "_lastUpdated=%00",
        "_id=%00",
        "patient=Patient/%00",
        "&".join(["code=a"] * 1001),
        "code=" + ",".join(["a"] * 500),
        "identifier=" + "&identifier=".join(["a|b"] * 60),
    ],
)
def test_a_search_that_cannot_be_meant_is_a_bad_request(api: httpx.Client, query: str) -> None:
    refused(api.get(f"/ServiceRequest?{query}"), 400)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "&&&",
        "=",
        "=x",
        "code",
        "code=",
        "code=,",
        "code=|",
        "code=%7C%7C%7C",
        "a%20b=1",
        "code=\\,\\",
        "code=" + "x" * 8000,
        "_count=999999",
    ],
)
def test_an_odd_search_is_answered(api: httpx.Client, query: str) -> None:
    assert api.get(f"/ServiceRequest?{query}").status_code == 200


def test_a_query_longer_than_we_read_is_too_long(api: httpx.Client) -> None:
    answer = api.get("/ServiceRequest?code=" + "x" * 40_000)

    refused(answer, 414, "too-long")


@pytest.mark.standard("threats T1")
def test_nothing_of_a_patient_of_others_is_found_counted_or_included(
    other: httpx.Client, patient: str
) -> None:
    for query in (
        f"patient={patient}",
        f"patient={patient}&_summary=count",
        f"subject=Patient/{patient}",
    ):
        bundle = other.get(f"/ServiceRequest?{query}&_total=accurate").json()

        assert bundle["total"] == 0
        assert "entry" not in bundle

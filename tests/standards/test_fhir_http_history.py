"""FHIR http, "history" of one resource."""

import time

import httpx
import pytest

from resources import models
from tests.build import a_patient
from tests.server import Server
from tests.standards.asking import Json, put, refused, stored

pytestmark = pytest.mark.standard("FHIR http history")


@pytest.fixture
def patient(api: httpx.Client) -> Json:
    """A Patient of five versions."""
    created = stored(api, a_patient(None))
    for active in (True, False, True, False):
        put(api, {**created, "active": active})
    return created


def test_all_versions_are_listed_the_newest_first(api: httpx.Client, patient: Json) -> None:
    answer = api.get(f"/Patient/{patient['id']}/_history")

    models.model("Bundle").model_validate_json(answer.content)
    bundle = answer.json()
    assert bundle["type"] == "history"
    assert bundle["total"] == 5
    assert [entry["response"]["etag"] for entry in bundle["entry"]] == [
        f'W/"{version}"' for version in (5, 4, 3, 2, 1)
    ]
    assert [entry["request"]["method"] for entry in bundle["entry"]] == ["PUT"] * 4 + ["POST"]
    assert bundle["entry"][-1]["resource"] == patient


def test_pages_follow_each_other_without_gap_or_overlap(api: httpx.Client, patient: Json) -> None:
    seen: list[str] = []
    url = f"{api.base_url}Patient/{patient['id']}/_history?_count=2"
    for _ in range(5):
        page = api.get(url).json()
        assert page["total"] == 5
        seen += [entry["resource"]["meta"]["versionId"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            break
        (url,) = following

    assert seen == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize("count", ["0", "-1", "x", "", "1.5", "1e3", "٣", "9" * 30])
def test_a_bad_count_is_a_bad_request(api: httpx.Client, patient: Json, count: str) -> None:
    answer = api.get(f"/Patient/{patient['id']}/_history", params={"_count": count})

    refused(answer, 400, "value", "_count")


@pytest.mark.parametrize("cursor", ["", "x", "-1", "9" * 30, "\0"])
def test_a_bad_cursor_is_a_bad_request(api: httpx.Client, patient: Json, cursor: str) -> None:
    refused(api.get(f"/Patient/{patient['id']}/_history", params={"_cursor": cursor}), 400)


def test_the_history_of_nothing_is_not_found(api: httpx.Client) -> None:
    refused(api.get("/Patient/nothing-here/_history"), 404)


@pytest.fixture
def episode(api: httpx.Client) -> Json:
    """An EpisodeOfCare of a patient of its own; no other test has any."""
    patient = stored(api, a_patient(None))
    return stored(
        api,
        {
            "resourceType": "EpisodeOfCare",
            "status": "active",
            "patient": {"reference": f"Patient/{patient['id']}"},
        },
    )


def entries(api: httpx.Client, url: str, pages: int = 100) -> list[Json]:
    """All entries from an address on, page by page."""
    found: list[Json] = []
    for _ in range(pages):
        answer = api.get(url)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["type"] == "history"
        found += page.get("entry", [])
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            return found
        (url,) = following
    return found


def named(entry: Json) -> tuple[str, str]:
    address = entry["fullUrl"].rpartition("/fhir/")[2]
    return address, entry["response"]["etag"]


@pytest.mark.parametrize("cut", [{"_since": "2999-01-01"}, {"_at": "1999"}])
def test_a_cut_that_leaves_nothing_is_an_empty_bundle(
    api: httpx.Client, patient: Json, cut: Json
) -> None:
    bundle = api.get(f"/Patient/{patient['id']}/_history", params=cut).json()

    assert bundle["type"] == "history"
    assert "entry" not in bundle


def test_since_gives_the_versions_made_at_or_after_an_instant(
    api: httpx.Client, patient: Json
) -> None:
    address = f"/Patient/{patient['id']}/_history"
    middle = api.get(f"{address}/3").json()["meta"]["lastUpdated"]

    found = entries(api, f"{address}?_since={middle}")

    written = [each["resource"]["meta"]["lastUpdated"] for each in found]
    assert written == [each for each in sorted(written, reverse=True) if each >= middle]
    assert {each["resource"]["meta"]["versionId"] for each in found} >= {"3", "4", "5"}


def test_at_gives_the_versions_that_were_current_then(api: httpx.Client, episode: Json) -> None:
    address = f"/EpisodeOfCare/{episode['id']}"
    time.sleep(0.01)
    second = put(api, {**episode, "status": "onhold"})
    time.sleep(0.01)
    put(api, {**episode, "status": "finished"})

    between = entries(api, f"{address}/_history?_at={second['meta']['lastUpdated']}")
    today = entries(api, f"{address}/_history?_at={second['meta']['lastUpdated'][:10]}")

    assert [each["resource"]["status"] for each in between] == ["onhold"]
    assert len(today) == 3


@pytest.mark.parametrize(
    ("query", "at"),
    [("_since=x", "_since"), ("_at=", "_at"), ("_at=2026-13", "_at"), ("_count=0", "_count")],
)
@pytest.mark.parametrize("address", ["/Patient/p/_history", "/Patient/_history", "/_history"])
def test_a_bad_cut_is_a_bad_request(api: httpx.Client, address: str, query: str, at: str) -> None:
    refused(api.get(f"{address}?{query}"), 400, "value", at)


@pytest.mark.parametrize("name", ["_list", "status", "_bogus"])
def test_a_history_is_not_searched(api: httpx.Client, name: str) -> None:
    refused(api.get("/Patient/_history", params={name: "x"}), 400, "not-supported", name)


@pytest.mark.parametrize("cursor", ["", "x", "1.2", "1.2.3.4", "-1.2.3", "\0"])
def test_a_place_that_we_did_not_give_is_refused(api: httpx.Client, cursor: str) -> None:
    refused(api.get("/Patient/_history", params={"_cursor": cursor}), 400)


@pytest.mark.parametrize("address", ["/EpisodeOfCare/_history", "/_history"])
def test_a_type_and_the_system_have_a_history_the_newest_first(
    api: httpx.Client, episode: Json, address: str
) -> None:
    put(api, {**episode, "status": "onhold"})
    api.delete(f"/EpisodeOfCare/{episode['id']}")

    answer = api.get(address, params={"_count": "3"})

    models.model("Bundle").model_validate_json(answer.content)
    own = f"EpisodeOfCare/{episode['id']}"
    found = answer.json()["entry"]
    assert [named(each) for each in found] == [(own, 'W/"3"'), (own, 'W/"2"'), (own, 'W/"1"')]
    assert [each["request"]["method"] for each in found] == ["DELETE", "PUT", "POST"]
    assert [each["response"]["status"][:3] for each in found] == ["204", "200", "201"]
    assert "resource" not in found[0]


def test_pages_of_a_type_stay_what_they_are_while_others_write(
    api: httpx.Client, episode: Json
) -> None:
    for status in ("onhold", "active", "onhold", "active"):
        put(api, {**episode, "status": status})
    expected = [named(each) for each in entries(api, "/EpisodeOfCare/_history")]
    assert len(expected) >= 5

    seen: list[tuple[str, str]] = []
    url = f"{api.base_url}EpisodeOfCare/_history?_count=2"
    for _ in range(len(expected)):
        page = api.get(url).json()
        seen += [named(each) for each in page.get("entry", [])]
        put(api, {**episode, "status": "onhold"})
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            break
        (url,) = following

    assert seen == expected


def test_since_cuts_the_history_of_a_type(api: httpx.Client, episode: Json) -> None:
    time.sleep(0.01)
    second = put(api, {**episode, "status": "onhold"})

    found = entries(api, f"/EpisodeOfCare/_history?_since={second['meta']['lastUpdated']}")
    found = [each for each in found if each["fullUrl"].endswith(episode["id"])]

    assert [each["resource"]["meta"]["versionId"] for each in found] == ["2"]


def test_the_history_of_a_type_holds_what_the_asker_may_see(
    api: httpx.Client, other: httpx.Client, episode: Json
) -> None:
    put(api, {**episode, "status": "onhold"})

    for address in ("/EpisodeOfCare/_history", "/_history", "/Patient/_history"):
        assert episode["id"] not in {
            each["fullUrl"].rpartition("/")[2] for each in entries(other, address)
        }
        assert episode["patient"]["reference"].partition("/")[2] not in str(entries(other, address))


def test_a_token_for_one_patient_sees_that_patients_history(
    api: httpx.Client, shared_server: Server, episode: Json
) -> None:
    patient = episode["patient"]["reference"].partition("/")[2]
    bound = shared_server.client(scope="patient/*.rs", patient=patient)

    found = entries(bound, "/EpisodeOfCare/_history")

    assert [named(each)[0] for each in found] == [f"EpisodeOfCare/{episode['id']}"]


def test_without_a_scope_for_it_a_type_has_no_history(
    api: httpx.Client, shared_server: Server
) -> None:
    reader = shared_server.client(scope="system/EpisodeOfCare.r system/Patient.rs")

    refused(reader.get("/EpisodeOfCare/_history"), 403)
    assert {
        each["fullUrl"].split("/")[-2] for each in entries(reader, "/_history?_count=500", 3)
    } == {"Patient"}


def test_versions_are_cut_down_as_search_results_are(api: httpx.Client, episode: Json) -> None:
    address = f"/EpisodeOfCare/{episode['id']}"

    (entry,) = api.get(f"{address}/_history?_elements=status").json()["entry"]
    count = api.get(f"{address}/_history?_summary=count").json()

    assert set(entry["resource"]) == {"resourceType", "id", "meta", "status", "patient"}
    assert (count["total"], count.get("entry")) == (1, None)
    assert "patient" in api.get(f"{address}?_summary=true").json()
    assert "text" not in api.get(f"{address}?_summary=data").json()
    refused(api.get(f"{address}?_summary=bogus"), 400, "value", "_summary")

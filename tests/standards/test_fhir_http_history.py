"""FHIR http, "history" of one resource."""

import httpx
import pytest

from resources import models
from tests.build import a_patient
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

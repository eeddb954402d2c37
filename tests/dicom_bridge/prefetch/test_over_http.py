"""A destination over DICOMweb is believed only as far as the standard lets its answers be read."""

import email
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from dicom_bridge.dimse.messages import StoredInstance
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.prefetch import over_http
from dicom_bridge.prefetch.manifest import BROKEN
from resources.errors import Exhausted
from tests.dicom_bridge.build import a_series, part10, written

pytestmark = pytest.mark.requirement("R003.2")

PEER = Peer(
    "WEB", "127.0.0.1", 104, "other", destination=True, dicomweb="https://pacs.example/dicom-web"
)


def client(answer: Any) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def stored(folder: Path, *study: Dataset) -> list[StoredInstance]:
    return [
        StoredInstance(
            written(ds, folder), 0, ds.SOPClassUID, ds.SOPInstanceUID, "1.2.840.10008.1.2.1"
        )
        for ds in study
    ]


def item(uid: str, reason: int | None = None) -> dict[str, Any]:
    """An item of Referenced or of Failed SOP Sequence (PS3.18 Annex I.2)."""
    said: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return said if reason is None else {**said, "00081197": {"vr": "US", "Value": [reason]}}


def response(
    done: list[str], failed: dict[str, int] | None = None, status: int = 200
) -> httpx.Response:
    body = {
        "00081199": {"vr": "SQ", "Value": [item(uid) for uid in done]},
        "00081198": {"vr": "SQ", "Value": [item(uid, why) for uid, why in (failed or {}).items()]},
    }
    return httpx.Response(status, json=body)


@pytest.mark.standard("PS3.18 10.5.1")
def test_the_files_go_as_they_are_in_one_multipart_request(tmp_path: Path) -> None:
    study = a_series(2)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        asked.append(request)
        return response([str(ds.SOPInstanceUID) for ds in study])

    with client(answer) as one:
        assert over_http.store(one, PEER, stored(tmp_path, *study)) == [0, 0]

    (request,) = asked
    assert (request.method, str(request.url)) == ("POST", f"{PEER.dicomweb}/studies")
    kind = request.headers["content-type"]
    assert 'type="application/dicom"' in kind
    whole = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.content)
    parts: Any = whole.get_payload()
    assert [part.get_content_type() for part in parts] == ["application/dicom"] * 2
    assert all(part10(ds) in request.content for ds in study)


@pytest.mark.standard("PS3.18 10.5.3")
def test_what_failed_says_why_and_what_is_not_spoken_of_was_not_stored(tmp_path: Path) -> None:
    study = a_series(3)
    first, second, _ = (str(ds.SOPInstanceUID) for ds in study)

    with client(lambda _: response([first], {second: 0xA700}, 202)) as one:
        statuses = over_http.store(one, PEER, stored(tmp_path, *study))

    assert statuses == [0, 0xA700, BROKEN]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json=["x"]),
        httpx.Response(200),
        httpx.Response(500, json={}),
        httpx.Response(401),
        httpx.Response(307, headers={"location": "https://elsewhere.example/studies"}),
    ],
    ids=["no JSON", "no object", "nothing", "a fault", "not let in", "elsewhere"],
)
def test_an_answer_that_says_nothing_of_an_object_is_no_success(
    tmp_path: Path, answer: httpx.Response
) -> None:
    asked: list[str] = []

    def answered(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return answer

    with client(answered) as one:
        assert over_http.store(one, PEER, stored(tmp_path, *a_series(1))) == [BROKEN]

    assert asked == [f"{PEER.dicomweb}/studies"]  # nobody's redirect is followed


@pytest.mark.standard("PS3.18 8.3.4.4")
@pytest.mark.parametrize("pages", [True, False], ids=["pages", "no pages"])
def test_every_page_of_a_search_is_asked_for(pages: bool) -> None:
    uids = [f"1.2.{n}" for n in range(2500)]

    def answer(request: httpx.Request) -> httpx.Response:
        offset, limit = (int(request.url.params[name]) for name in ("offset", "limit"))
        found = uids[offset : offset + limit] if pages else uids
        said = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in found]
        return httpx.Response(200, json=said) if said else httpx.Response(204)

    with client(answer) as one:
        assert over_http.held(one, PEER, "1.2") == set(uids)


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(200, content=b"<html>")])
def test_a_search_that_fails_is_not_taken_for_an_empty_answer(answer: httpx.Response) -> None:
    with client(lambda _: answer) as one, pytest.raises(Exhausted):
        over_http.held(one, PEER, "1.2")


def test_a_destination_that_is_not_there_is_exhausted(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    with client(answer) as one, pytest.raises(Exhausted):
        over_http.store(one, PEER, stored(tmp_path, *a_series(1)))

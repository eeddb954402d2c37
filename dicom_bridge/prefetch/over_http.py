"""A destination over DICOMweb: objects go by STOW-RS, and it is asked for each by QIDO-RS.

Nobody's redirect is followed, and nothing of an answer is trusted but what the standard says it is.

References
----------
* PS3.18 Section 10.5 (Store Transaction), Annex I.2 (Store Instances Response Module)
* PS3.18 Section 10.6 (Search Transaction): offset, limit
"""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from dicom_bridge.dimse.messages import StoredInstance
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.prefetch.manifest import BROKEN
from resources.errors import Exhausted

CHUNK: Final = 1 << 20
PAGE: Final = 1000
MOST_OBJECTS: Final = 200_000
JSON: Final = "application/dicom+json"
PATIENCE: Final = httpx.Timeout(60, connect=10, read=300)
"""Seconds: an answer comes when all of a request is stored."""

SOP_UID: Final = "00080018"
REFERENCED_UID: Final = "00081155"
FAILURE_REASON: Final = "00081197"
FAILED: Final = "00081198"
STORED: Final = "00081199"
"""Tags of SOP Instance UID and of the response: Failed SOP and Referenced SOP Sequence."""


def store(client: httpx.Client, peer: Peer, instances: Sequence[StoredInstance]) -> list[int]:
    """Send objects in one request; the status of each, in order.

    Raises
    ------
    Exhausted
        The peer cannot be reached.
    """
    boundary = secrets.token_hex(16)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    body = _body([one.place[0] for one in instances], boundary)
    headers = {"content-type": kind, "accept": JSON}
    answer = _asked(client, peer, "POST", "/studies", headers=headers, content=body)
    try:
        said: dict[str, Any] = answer.json() if answer.content else {}
        failed = {_first(one, REFERENCED_UID): one for one in _items(said, FAILED)}
        stored = {_first(one, REFERENCED_UID) for one in _items(said, STORED)}
    except (ValueError, AttributeError, TypeError, KeyError):
        return [BROKEN] * len(instances)
    return [
        0
        if (uid := str(one.SOPInstanceUID)) in stored and answer.is_success
        else int(_first(failed.get(uid, {}), FAILURE_REASON) or BROKEN)
        for one in instances
    ]


def held(client: httpx.Client, peer: Peer, study_uid: str) -> set[str]:
    """Ask which objects of a study a peer holds.

    Raises
    ------
    Exhausted
        It cannot be reached, or cannot answer: then nobody can say that it has them.
    """
    found: set[str] = set()
    for offset in range(0, MOST_OBJECTS, PAGE):
        asked = f"/studies/{study_uid}/instances?limit={PAGE}&offset={offset}"
        answer = _asked(client, peer, "GET", asked, headers={"accept": JSON})
        if answer.status_code in (204, 404):
            return found
        if answer.status_code != 200:
            raise Exhausted(f"{peer.ae} answers a search with {answer.status_code}")
        try:
            uids = {str(_first(one, SOP_UID)) for one in answer.json()}
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise Exhausted(f"{peer.ae} answers a search with something else") from error
        if len(uids) < PAGE or uids <= found:  # it may not know of pages
            return found | uids
        found |= uids
    return found


def client_of() -> httpx.Client:
    """Make what speaks to one peer."""
    return httpx.Client(timeout=PATIENCE, follow_redirects=False, trust_env=False)


def _asked(client: httpx.Client, peer: Peer, method: str, path: str, **more: Any) -> httpx.Response:
    try:
        return client.request(method, f"{peer.dicomweb}{path}", **more)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Exhausted(f"{peer.ae} cannot be reached over HTTP: {type(error).__name__}") from error


def _body(files: Sequence[Path], boundary: str) -> Iterator[bytes]:
    for path in files:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _items(said: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = said.get(tag, {}).get("Value", [])
    return items


def _first(item: dict[str, Any], tag: str) -> Any:
    values = item.get(tag, {}).get("Value", [])
    return values[0] if values else None

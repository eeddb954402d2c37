"""What an informal review costs: from asking to the first image at whoever is asked (W5).

A CT of 300 slices (0.5 MB each) is stored once. Then it is asked about and looked at again and
again, each time by a Task of its own that ends before the next: what is measured is the POST of the
Task and the GET of a frame in the middle, by the organisation that is asked.
"""

import asyncio
import io
import json
import time
import uuid
from typing import Any, Final

from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from bench.client import Client, Connection, percentile
from bench.instances import Noise, ct
from resources import codes

SLICES: Final = 300
SIZE: Final = 512
TIMES: Final = 20
AT_ONCE: Final = 20
"""Instances of one STOW request."""

SECONDS: Final = 2
"""Bar: from asking to the first image."""

BOUNDARY: Final = b"bench"
LEAD: Final = "Organization/northmoor"
ASKED: Final = "Organization/westvale"

Json = dict[str, Any]


async def measure(url: str, own: str, theirs: str) -> dict[str, float]:
    """Store the CT, ask about it and look.

    Parameters
    ----------
    own, theirs
        Tokens of the organisation that asks, and of a clinician of the one that is asked.
    """
    asking = Client(f"{url}/fhir", own)
    line = await asking.connect()
    study_uid, address = await _store(url, own)
    (study,) = await _settled(asking, line, study_uid)
    looking = Client(
        f"{url}/dicom-web", theirs, 'multipart/related; type="application/octet-stream"'
    )
    theirs_line = await looking.connect()
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        task = await _asked(asking, line, "POST", "/Task", _question(study))
        status, frame = await theirs_line.ask(looking.request("GET", address))
        if status != 200 or len(frame) < SIZE * SIZE * 2:
            raise SystemExit(f"the image is not seen: http {status} {frame[:200]!r}")
        took.append(time.perf_counter() - began)
        body = {**task, "status": "cancelled"}
        await _asked(asking, line, "PUT", f"/Task/{task['id']}", body)
    ordered = sorted(took)
    return {
        f"asked to first image of {SLICES}: median ms": 1000 * percentile(ordered, 0.5),
        f"asked to first image of {SLICES}: longest ms": 1000 * ordered[-1],
    }


async def _store(url: str, token: str) -> tuple[str, str]:
    """Store the study; its UID, and the address of a frame in its middle."""
    kind = 'multipart/related; type="application/dicom"; boundary=bench'
    client = Client(f"{url}/dicom-web", token, "application/dicom+json")
    line = await client.connect()
    noise, seed = Noise(), uuid.uuid4().hex
    instances = [ct(seed, 1, 1, number, SIZE, noise) for number in range(SLICES)]
    for start in range(0, SLICES, AT_ONCE):
        parts = bytearray()
        for ds in instances[start : start + AT_ONCE]:
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = ds.SOPClassUID
            meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.file_meta, file = meta, io.BytesIO()
            ds.save_as(file, enforce_file_format=True)
            parts += b"--%b\r\ncontent-type: application/dicom\r\n\r\n" % BOUNDARY
            parts += file.getvalue() + b"\r\n"
        parts += b"--%b--\r\n" % BOUNDARY
        head = f"POST {client.path}/studies HTTP/1.1\r\n{client.head}"
        head += f"content-type: {kind}\r\ncontent-length: {len(parts)}\r\n\r\n"
        status, answer = await line.ask(head.encode() + bytes(parts))
        if status != 200:
            raise SystemExit(f"STOW: http {status} {answer[:400]!r}")
    middle = instances[SLICES // 2]
    return str(middle.StudyInstanceUID), (
        f"/studies/{middle.StudyInstanceUID}/series/{middle.SeriesInstanceUID}"
        f"/instances/{middle.SOPInstanceUID}/frames/1"
    )


async def _settled(client: Client, line: Connection, study_uid: str) -> list[Json]:
    """The study as soon as it is whole."""
    path = f"/ImagingStudy?identifier={codes.DICOM_UID}|urn:oid:{study_uid}"
    for _ in range(600):
        status, answer = await line.ask(client.request("GET", path))
        found = [one["resource"] for one in json.loads(answer).get("entry", ())]
        if status == 200 and found and found[0]["numberOfInstances"] == SLICES:
            return found
        await asyncio.sleep(0.1)
    raise SystemExit("the study is not settled after a minute")


async def _asked(client: Client, line: Connection, method: str, path: str, body: Json) -> Json:
    request = client.request(method, path, body)
    if method == "PUT":
        version = f'if-match: W/"{body["meta"]["versionId"]}"\r\n'.encode()
        request = request.replace(b"content-type:", version + b"content-type:", 1)
    status, answer = await line.ask(request)
    if status not in (200, 201):
        raise SystemExit(f"{method} {path}: http {status} {answer[:400]!r}")
    written: Json = json.loads(answer)
    return written


def _question(study: Json) -> Json:
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "proposal",
        "priority": "stat",
        "code": codes.REVIEW_INFORMAL.concept,
        "focus": {"reference": f"ImagingStudy/{study['id']}"},
        "for": study["subject"],
        "requester": {"reference": LEAD},
        "owner": {"reference": ASKED},
    }

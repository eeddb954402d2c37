"""STOW-RS over a real socket: what is stored, what is refused, and what the sender hears."""

import asyncio
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import UID

from tests.dicom_bridge.build import a_series, an_instance, data_set_of, part10
from tests.dicom_bridge.conftest import found
from tests.dicom_bridge.dicomweb.conftest import BODY_LIMIT, STOW, Service, blocking, body

pytestmark = pytest.mark.anyio

REASON = "00081197"
FAILED = "00081198"
OTHER = "0008119A"
STORED = "00081199"
INSTANCE = "00081155"
URL = "00081190"


def items(answer: Any, sequence: str, tag: str) -> list[Any]:
    return [item[tag]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", ())]


async def held(service: Service) -> int:
    rows = await service.bridge.database.run("SELECT count(*)::bigint FROM instance")
    return int(rows[0][0])


@pytest.mark.standard("PS3.18 10.5.3")
async def test_stored_instances_are_listed_with_where_they_are(service: Service) -> None:
    study = a_series(2)

    answer = await service.client().post("/studies", content=body(*study), headers=STOW)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert set(items(answer, STORED, INSTANCE)) == {str(ds.SOPInstanceUID) for ds in study}
    base = f"{service.base}/studies/{study[0].StudyInstanceUID}"
    assert answer.json()[URL]["Value"] == [base]
    assert all(url.startswith(f"{base}/series/") for url in items(answer, STORED, URL))
    assert FAILED not in answer.json()


async def test_the_study_is_settled_when_the_answer_comes(service: Service) -> None:
    study = a_series(3)

    await service.client().post("/studies", content=body(*study), headers=STOW)

    (resource,) = await found(service.bridge, "ImagingStudy")
    assert resource["numberOfInstances"] == 3


async def test_a_foreign_client_stores_and_retrieves(service: Service) -> None:
    ds = dcmread(BytesIO(part10(an_instance())))
    client = service.foreign()

    stored = await blocking(client.store_instances, [ds])
    back = await blocking(client.retrieve_study, ds.StudyInstanceUID)

    assert stored.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == ds.SOPInstanceUID
    assert back[0].PixelData == ds.PixelData


async def test_what_was_stored_comes_back_byte_for_byte(service: Service) -> None:
    ds = an_instance(transfer_syntax="1.2.840.10008.1.2.2")
    client = service.client()

    await client.post("/studies", content=body(ds), headers=STOW)

    path = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
    answer = await client.get(
        f"{path}/instances/{ds.SOPInstanceUID}", headers={"Accept": "application/dicom"}
    )
    assert data_set_of(answer.content) == data_set_of(part10(ds))


async def test_the_same_instances_again_are_a_success(service: Service) -> None:
    payload = body(*a_series(2))
    client = service.client()

    await client.post("/studies", content=payload, headers=STOW)
    answer = await client.post("/studies", content=payload, headers=STOW)

    assert answer.status_code == 200
    assert await held(service) == 2


@pytest.mark.standard("PS3.18 10.5.3.1")
async def test_some_stored_and_some_refused_is_accepted_with_reasons(service: Service) -> None:
    ds = an_instance()
    other = an_instance(sop_uid=str(ds.SOPInstanceUID), study_uid=str(ds.StudyInstanceUID), pixel=9)
    unknown = an_instance()
    unknown.SOPClassUID = unknown.file_meta.MediaStorageSOPClassUID = UID("1.2.3.4")
    client = service.client()
    await client.post("/studies", content=body(ds), headers=STOW)

    answer = await client.post(
        "/studies", content=body(other, unknown, an_instance()), headers=STOW
    )

    assert answer.status_code == 202
    assert dict(
        zip(items(answer, FAILED, INSTANCE), items(answer, FAILED, REASON), strict=True)
    ) == {str(ds.SOPInstanceUID): 0x0111, str(unknown.SOPInstanceUID): 0x0122}
    assert len(items(answer, STORED, INSTANCE)) == 1


@pytest.mark.standard("PS3.18 10.5.3.1")
async def test_an_instance_of_another_study_than_the_addressed_is_a_conflict(
    service: Service,
) -> None:
    answer = await service.client().post(
        "/studies/1.2.3.4", content=body(an_instance()), headers=STOW
    )

    assert answer.status_code == 409
    assert items(answer, FAILED, REASON) == [0x0111]
    assert await held(service) == 0


async def test_one_instance_may_come_without_multipart(service: Service) -> None:
    answer = await service.client().post(
        "/studies", content=part10(an_instance()), headers={"Content-Type": "application/dicom"}
    )

    assert answer.status_code == 200


async def test_what_is_no_dicom_is_told_without_an_identity(service: Service) -> None:
    junk = b"--b-1\r\nContent-Type: application/dicom\r\n\r\n" + b"x" * 500 + b"\r\n--b-1--"

    answer = await service.client().post("/studies", content=junk, headers=STOW)

    assert answer.status_code == 409
    assert items(answer, OTHER, REASON) == [0xC000]
    assert FAILED not in answer.json()


async def test_a_body_that_breaks_off_loses_nothing_that_was_stored(service: Service) -> None:
    study = a_series(3)
    whole = body(*study)

    answer = await service.client().post("/studies", content=whole[:-200], headers=STOW)

    assert answer.status_code == 202
    assert len(items(answer, STORED, INSTANCE)) == 2
    assert items(answer, OTHER, REASON) == [0xA900]
    assert await held(service) == 2


MALFORMED = {
    "no boundary": ('multipart/related; type="application/dicom"', b"x", 400),
    "no part": (STOW["Content-Type"], b"--b-1--\r\n", 400),
    "no delimiter": (STOW["Content-Type"], b"x" * 100, 400),
    "cut off in a header": (STOW["Content-Type"], b"--b-1\r\nContent-Ty", 400),
    "huge header": (STOW["Content-Type"], b"--b-1\r\nX: " + b"a" * 20_000, 413),
    "header without colon": (STOW["Content-Type"], b"--b-1\r\nnonsense\r\n\r\nx\r\n--b-1--", 400),
    "wrong payload type": ("multipart/related; type=application/dicom+xml; boundary=x", b"", 415),
    "form": ("multipart/form-data; boundary=b-1", body(an_instance()), 415),
    "no type": ("", b"x", 415),
    "too large": (STOW["Content-Type"], bytes(BODY_LIMIT + 1), 413),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_request_is_a_problem_and_stores_nothing(
    service: Service, what: str
) -> None:
    kind, content, status = MALFORMED[what]

    answer = await service.client().post(
        "/studies", content=content, headers={"Content-Type": kind}
    )

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert await held(service) == 0
    assert not list(service.bridge.blobs.left())


async def test_a_compressed_payload_is_not_taken(service: Service) -> None:
    headers = {**STOW, "Content-Encoding": "gzip"}

    answer = await service.client().post("/studies", content=b"\x1f\x8b", headers=headers)

    assert answer.status_code == 415


async def test_however_a_request_is_damaged_the_answer_is_never_a_fault(service: Service) -> None:
    whole = body(*a_series(2, rows=2, columns=2))
    client = service.client()
    loop = asyncio.get_running_loop()

    async def post(content: bytes) -> int:
        return (await client.post("/studies", content=content, headers=STOW)).status_code

    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.integers(0, len(whole)), st.integers(0, 400), st.binary(max_size=60))
    def damage(at: int, length: int, junk: bytes) -> None:
        content = whole[:at] + junk + whole[at + length :]
        future = asyncio.run_coroutine_threadsafe(post(content), loop)
        assert future.result(20) < 500

    await asyncio.to_thread(damage)

    rows = await service.bridge.database.run("SELECT blob FROM instance")
    assert all(service.bridge.blobs.exists(blob) for (blob,) in rows)
    assert (await client.post("/studies", content=whole, headers=STOW)).status_code in {200, 202}


async def test_storing_needs_the_scope_to_create(service: Service) -> None:
    answer = await service.client(scope="system/ImagingStudy.rs").post(
        "/studies", content=body(an_instance()), headers=STOW
    )

    assert answer.status_code == 403
    assert await held(service) == 0


async def test_storing_is_audited_with_the_organisation(service: Service) -> None:
    await service.client().post("/studies", content=body(an_instance()), headers=STOW)

    rows = await service.bridge.database.run(
        "SELECT organization, outcome FROM audit WHERE interaction = 'STOW-RS'"
    )
    assert rows == [("lead", 0)]

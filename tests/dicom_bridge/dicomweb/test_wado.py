"""WADO-RS over a real socket: bytes as stored, whole or not at all."""

import re

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicom_bridge import layouts
from dicom_bridge.dicomweb import wado
from dicom_bridge.dicomweb.accept import media_type
from dicom_bridge.dicomweb.multipart import Begin, Reader
from dicom_bridge.frames import Layout, Run
from tests.dicom_bridge.build import a_series, an_instance, data_set_of, part10
from tests.dicom_bridge.dicomweb.conftest import Service, blocking

pytestmark = pytest.mark.anyio

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
ANY_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ANY_OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def path_of(ds) -> str:  # type: ignore[no-untyped-def]
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer: media type and content."""
    reader = Reader(media_type(answer.headers["content-type"]).parameters["boundary"])
    found: list[tuple[str, bytes]] = []
    for event in reader.feed(answer.content):
        if isinstance(event, Begin):
            found.append((event.headers["content-type"], b""))
        elif isinstance(event, bytes):
            found[-1] = (found[-1][0], found[-1][1] + event)
    reader.close()
    return found


def compressed(**attributes: object):  # type: ignore[no-untyped-def]
    ds = an_instance(transfer_syntax=JPEG_LS, frames=2, **attributes)  # type: ignore[arg-type]
    ds.PixelData = encapsulate([b"\xff\xd8first one!", b"\xff\xd8second"])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.standard("PS3.18 10.4.3")
async def test_a_study_comes_back_byte_for_byte_in_every_transfer_syntax(service: Service) -> None:
    first = an_instance(number=1)
    uid = str(first.StudyInstanceUID)
    study = [
        first,
        an_instance(study_uid=uid, transfer_syntax=IMPLICIT, number=2),
        an_instance(study_uid=uid, transfer_syntax=BIG_ENDIAN, number=3),
        an_instance(study_uid=uid, transfer_syntax=DEFLATED, number=4),
        compressed(study_uid=uid, number=5),
        an_instance("SR", study_uid=uid, number=6),
    ]
    await service.hold(*study)

    answer = await service.client().get(f"/studies/{uid}", headers={"Accept": ANY_DICOM})

    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    got = parts(answer)
    assert [data_set_of(content) for _, content in got] == [data_set_of(part10(ds)) for ds in study]
    assert [media_type(type).syntax for type, _ in got] == [
        str(ds.file_meta.TransferSyntaxUID) for ds in study
    ]


async def test_a_foreign_client_retrieves_study_series_instance_and_metadata(
    service: Service,
) -> None:
    study = a_series(3)
    await service.hold(*study)
    client = service.foreign()
    uids = (study[0].StudyInstanceUID, study[0].SeriesInstanceUID, study[0].SOPInstanceUID)

    whole = await blocking(client.retrieve_study, uids[0])
    series = await blocking(client.retrieve_series, *uids[:2])
    one = await blocking(client.retrieve_instance, *uids)
    metadata = await blocking(client.retrieve_study_metadata, uids[0])
    pixels = await blocking(client.retrieve_instance_frames, *uids, frame_numbers=[1])

    assert [ds.SOPInstanceUID for ds in whole] == [ds.SOPInstanceUID for ds in study]
    assert len(series) == 3
    assert one.PixelData == study[0].PixelData
    assert [row["00080018"]["Value"][0] for row in metadata] == [ds.SOPInstanceUID for ds in study]
    assert pixels == [study[0].PixelData]


async def test_one_instance_comes_alone_when_asked_so(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)

    answer = await service.client().get(path_of(ds), headers={"Accept": "application/dicom"})

    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert data_set_of(answer.content) == data_set_of(part10(ds))


@pytest.mark.standard("PS3.18 8.7.5")
@pytest.mark.parametrize(
    "accept",
    [
        f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_BASELINE}',
        "image/png",
        'multipart/related; type="application/dicom+xml"',
    ],
)
async def test_what_would_need_an_encoding_that_is_not_made_is_not_acceptable(
    service: Service, accept: str
) -> None:
    ds = an_instance()
    await service.hold(ds)

    answer = await service.client().get(path_of(ds), headers={"Accept": accept})

    assert answer.status_code == 406
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.standard("PS3.18 8.3.3.1")
async def test_the_accept_parameter_stands_in_for_the_header(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)

    answer = await service.client().get(path_of(ds), params={"accept": "application/dicom"})

    assert answer.headers["content-type"].startswith("application/dicom;")


@pytest.mark.standard("PS3.18 10.4.1.1.4")
async def test_native_frames_are_octets_in_the_order_asked_for(service: Service) -> None:
    ds = an_instance(rows=2, columns=2, frames=3)
    ds.PixelData = bytes(range(24))
    await service.hold(ds)

    answer = await service.client().get(path_of(ds) + "/frames/3,1", headers={"Accept": ANY_OCTETS})

    assert parts(answer) == [
        (f"application/octet-stream; transfer-syntax={EXPLICIT}", bytes(range(16, 24))),
        (f"application/octet-stream; transfer-syntax={EXPLICIT}", bytes(range(8))),
    ]


async def test_a_frame_is_a_range_of_the_file_that_was_found_when_it_came(service: Service) -> None:
    ds = an_instance(rows=2, columns=2, frames=2)
    ds.PixelData = bytes(range(16))
    await service.hold(ds)
    rows = await service.bridge.database.run("SELECT layout, blob FROM instance")
    where = layouts.unpacked(rows[0][0], rows[0][1], 1 << 20)
    assert where is not None
    start, length = where.frames[0][0]
    elsewhere = Layout([(Run(start + 1, length),), (Run(start + 3, length),)], 2)
    await service.bridge.database.run(
        "UPDATE instance SET layout = $1", (layouts.packed(elsewhere, rows[0][1]),)
    )

    answer = await service.client().get(path_of(ds) + "/frames/1", headers={"Accept": ANY_OCTETS})

    assert parts(answer)[0][1] == bytes(range(1, 9)), "nothing else looked where it is"


async def test_encapsulated_frames_leave_as_they_are(service: Service) -> None:
    ds = compressed()
    await service.hold(ds)
    client = service.client()

    by_type = await client.get(path_of(ds) + "/frames/2", headers={"Accept": "image/jls"})
    in_octets = await client.get(path_of(ds) + "/frames/1", headers={"Accept": ANY_OCTETS})
    decoded = await client.get(
        path_of(ds) + "/frames/1",
        headers={"Accept": 'multipart/related; type="application/octet-stream"'},
    )

    assert by_type.content.rstrip(b"\0") == b"\xff\xd8second"
    assert parts(in_octets)[0][1].rstrip(b"\0") == b"\xff\xd8first one!"
    assert decoded.status_code == 406


@pytest.mark.parametrize(
    ("frames", "status"), [("9", 404), ("0", 404), ("x", 400), ("1,,2", 400), ("-1", 400)]
)
async def test_frames_that_are_not_there_or_no_numbers(
    service: Service, frames: str, status: int
) -> None:
    ds = an_instance()
    await service.hold(ds)

    answer = await service.client().get(f"{path_of(ds)}/frames/{frames}")

    assert answer.status_code == status


@pytest.mark.standard("PS3.18 F.2.6")
async def test_bulk_data_of_the_metadata_can_be_fetched(service: Service) -> None:
    native, packed = an_instance(rows=32, columns=32, pixel=7), compressed()
    native.add_new(0x00420011, "OB", bytes(range(256)) * 8)
    await service.hold(native, packed)
    client = service.client()

    (one,) = (await client.get(f"{path_of(native)}/metadata")).json()
    (other,) = (await client.get(f"{path_of(packed)}/metadata")).json()
    pixels = await client.get(one["7FE00010"]["BulkDataURI"], headers={"Accept": ANY_OCTETS})
    document = await client.get(
        one["00420011"]["BulkDataURI"], headers={"Accept": "application/octet-stream"}
    )
    frames = await client.get(other["7FE00010"]["BulkDataURI"])
    nothing = await client.get(one["7FE00010"]["BulkDataURI"].replace("7FE00010", "00420012"))

    assert parts(pixels)[0][1] == native.PixelData
    assert document.content == bytes(range(256)) * 8
    assert [content.rstrip(b"\0") for _, content in parts(frames)] == [
        b"\xff\xd8first one!",
        b"\xff\xd8second",
    ]
    assert nothing.status_code == 404


@pytest.mark.standard("PS3.18 F.2.6")
async def test_each_bulk_data_value_of_several_items_can_be_fetched(service: Service) -> None:
    ds = an_instance()
    ds.WaveformSequence = Sequence([Dataset(), Dataset()])
    wanted = [bytes([number]) * 2048 for number in (1, 2, 3)]
    for item, octets in zip(ds.WaveformSequence, wanted, strict=False):
        item.add_new(0x54001010, "OB", octets)
    inner = Dataset()
    inner.add_new(0x54001010, "OB", wanted[2])
    ds.WaveformSequence[1].ChannelDefinitionSequence = Sequence([inner])
    await service.hold(ds)
    client = service.client()

    (found,) = (await client.get(f"{path_of(ds)}/metadata")).json()
    first, second = found["54000100"]["Value"]
    (third,) = second["003A0200"]["Value"]
    addresses = [item["54001010"]["BulkDataURI"] for item in (first, second, third)]
    as_octets = {"Accept": "application/octet-stream"}
    answers = [await client.get(address, headers=as_octets) for address in addresses]
    beyond = await client.get(addresses[0].replace(".1.", ".3."), headers=as_octets)

    assert [answer.content for answer in answers] == wanted
    assert len(set(addresses)) == 3
    assert beyond.status_code == 404


@pytest.mark.standard("PS3.18 10.4.1.1.2")
async def test_metadata_at_three_levels(service: Service) -> None:
    study = a_series(2)
    study += a_series(1, study_uid=str(study[0].StudyInstanceUID), series_number=2)
    await service.hold(*study)
    client = service.client()
    ds = study[0]

    counts = [
        len((await client.get(path)).json())
        for path in (
            f"/studies/{ds.StudyInstanceUID}/metadata",
            f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/metadata",
            f"{path_of(ds)}/metadata",
        )
    ]

    assert counts == [3, 2, 1]


@pytest.mark.standard("threats T1")
async def test_an_unrelated_organisation_is_told_that_nothing_is_there(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)
    uid = ds.StudyInstanceUID
    stranger = service.client("other")

    answers = [
        await stranger.get(path)
        for path in (
            f"/studies/{uid}",
            f"/studies/{uid}/series/{ds.SeriesInstanceUID}",
            path_of(ds),
            f"/studies/{uid}/metadata",
            f"{path_of(ds)}/metadata",
            f"{path_of(ds)}/frames/1",
            f"/studies/{uid}/bulk/{ds.SOPInstanceUID}/7FE00010",
        )
    ]

    assert [answer.status_code for answer in answers] == [404] * 7
    assert all(str(uid) not in answer.text for answer in answers)


async def test_an_instance_that_the_imaging_study_does_not_list_is_not_there(
    service: Service,
) -> None:
    ds, late = a_series(2)
    await service.hold(ds)
    await service.bridge.database.run(
        "INSERT INTO instance SELECT $1, study_uid, series_uid, sop_class, transfer_syntax, digest,"
        " size, dataset_offset, blob, patient_id, issuer, accession, accession_issuer, modality,"
        " series_number, number, frames, header, json, organization, peer, received FROM instance",
        (str(late.SOPInstanceUID),),
    )

    alone = await service.client().get(path_of(late))
    study = await service.client().get(f"/studies/{ds.StudyInstanceUID}")

    assert alone.status_code == 404
    assert len(parts(study)) == 1


async def test_a_study_that_lacks_a_file_is_not_half_a_success(service: Service) -> None:
    first, second = a_series(2)
    await service.hold(first, second)
    rows = await service.bridge.database.run(
        "SELECT blob FROM instance WHERE sop_uid = $1", (str(second.SOPInstanceUID),)
    )
    (await service.bridge.blobs.own(rows[0][0])).unlink()

    answer = await service.client().get(f"/studies/{first.StudyInstanceUID}")

    assert answer.status_code == 404


@pytest.mark.requirement("R014.1")
async def test_a_retrieval_is_audited_as_access_to_the_imaging_study(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)

    await service.client().get(path_of(ds))
    await service.client("other").get(path_of(ds))

    rows = await service.bridge.database.run(
        "SELECT organization, outcome, type, id IS NOT NULL FROM audit"
        " WHERE interaction = 'WADO-RS' ORDER BY n"
    )
    assert rows == [("lead", 0, "ImagingStudy", True), ("other", 4, "ImagingStudy", True)]


@pytest.mark.parametrize(
    "path",
    ["/studies/abc", "/studies/1.2/series/%2e%2e", "/studies/1.2.3/series/1..2/instances/1.2"],
)
async def test_what_is_no_uid_is_refused_before_anything_is_looked_up(
    service: Service, path: str
) -> None:
    answer = await service.client().get(path)

    assert answer.status_code == 400
    assert re.search("is not a UID", answer.json()["detail"])


@pytest.mark.standard("threats T11")
async def test_a_frame_list_names_no_frame_twice(service: Service) -> None:
    """A thousand times one large frame would be in memory at once."""
    ds = an_instance(rows=2, columns=2, frames=3)
    await service.hold(ds)

    answer = await service.client().get(path_of(ds) + "/frames/1,2,1")

    assert answer.status_code == 400


@pytest.mark.standard("threats T11")
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG_LS])
async def test_frames_that_are_many_octets_are_sent_as_they_are_read(
    service: Service, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = an_instance(rows=2, columns=2, frames=3)
    ds.PixelData = bytes(range(24))
    if syntax == JPEG_LS:
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        ds.PixelData = encapsulate([b"a" * 40, b"b" * 50, b"c" * 60], fragments_per_frame=2)
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    await service.hold(ds)
    kind = ANY_OCTETS if syntax == EXPLICIT else 'multipart/related; type="image/jls"'
    client, headers = service.client(), {"Accept": kind}
    at_once = await client.get(path_of(ds) + "/frames/3,1", headers=headers)
    monkeypatch.setattr(wado, "AT_HAND", 0)

    answer = await client.get(path_of(ds) + "/frames/3,1", headers=headers)

    assert answer.status_code == 200
    assert parts(answer) == parts(at_once)
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.standard("threats T15")
@pytest.mark.parametrize("place", ["/frames/1", "bulk"])
async def test_pixels_that_are_cut_off_are_no_error_of_the_server(
    service: Service, place: str
) -> None:
    ds = an_instance(rows=64, columns=64)
    stored = await service.client().post(
        "/studies", content=part10(ds)[:-1000], headers={"Content-Type": "application/dicom"}
    )
    path = path_of(ds) + place
    if place == "bulk":
        path = f"/studies/{ds.StudyInstanceUID}/bulk/{ds.SOPInstanceUID}/7FE00010"

    answer = await service.client().get(path)

    assert (stored.status_code, answer.status_code) == (200, 406)

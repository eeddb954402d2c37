"""Hostile query parameters: each is refused or finds nothing, and none is a fault of the server."""

import asyncio

import pytest

from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.dicomweb.conftest import Service
from tests.dicom_bridge.dicomweb.test_hostile import path_of

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T11, T19, F10")]

DEEP = "00400275." * 4000 + "00400007"
HEADER = "x%0d%0aSet-Cookie:%20stolen=1"
SEARCHES = {
    "an attribute within one that is no sequence": ("/studies?PatientID.StudyID=1", 204),
    "an attribute within a name": ("/studies?PatientName.StudyID=1", 204),
    "the first day there is": ("/studies?StudyDate=00010101", 204),
    "the last day there is": ("/studies?StudyDate=99991231", 204),
    "all days there are": ("/studies?StudyDate=00010101-99991231", 200),
    "all days that anybody was born": ("/studies?PatientBirthDate=00010101-99991231", 200),
    "days that end before they begin": ("/studies?StudyDate=20260401-20260301", 204),
    "a day that does not exist": ("/studies?StudyDate=20260231", 400),
    "sequences 4000 deep": (f"/studies?{DEEP}=1", 200),
    "sequences of workitems 4000 deep": (f"/workitems?{DEEP}=1", 400),
    "a parameter that would be a header": (f"/studies?{HEADER}=1", 200),
    "one of workitems that would be a header": (f"/workitems?{HEADER}=1", 204),
    "a name of 10,000 words": (f"/studies?PatientName=x%5E{'a%20' * 5000}", 204),
    "a name of 1000 words": (f"/studies?PatientName=x%5E{'%20'.join(map(str, range(1000)))}", 400),
    "a fuzzy name of 1000 words": (
        f"/studies?fuzzymatching=true&PatientName={'%20'.join(map(str, range(1000)))}", 400,
    ),
    "wildcards without end": (f"/studies?StudyID={'*?' * 15_000}", 204),
    "a pattern that fits in many ways": (f"/studies?StudyID={'*1' * 25}*2", 204),
    "6000 numbers": (f"/studies?StudyID={'%5C'.join(map(str, range(6000)))}", 400),
    "6000 UIDs": (f"/studies?StudyInstanceUID={','.join(f'1.{n}' for n in range(6000))}", 400),
    "a UID of 65 characters": (f"/studies?StudyInstanceUID=1.{'2' * 63}", 400),
    "a UID that climbs": ("/studies?StudyInstanceUID=../../etc/passwd", 400),
    "letters that are none": ("/studies?StudyID=%ed%a0%80&PatientName=%01%ff", 204),
    "a NUL": ("/studies?StudyID=%00", 400),
}  # fmt: skip
LOOKS = (
    "quality=0050" + "0" * 5000, "quality=00509999", "quality=-1", "quality=%EF%BC%95",
    "viewport=1e308,1e308", "viewport=-1,-1", "viewport=10,10,nan,0,1,1",
    "viewport=10,10,1e300,1e300,1e300,1e300", "viewport=10,10,-1e300,-1e300,-1e300,-1e300",
    "window=nan,1", "window=inf,1", "window=1,-1", "window=1e999,1", "window=1,1,NO_SUCH",
    "annotation=patient", "iccprofile=srgb", "presentationUID=1.2.3",
)  # fmt: skip
FINE = ("window=1e308,1e308", "window=-1e308,1e-300,linear-exact", "window=1e308,1e-300,sigmoid")
WADO = (
    "rows=-1", "rows=1000000000", "rows=0", "rows=1.5", "columns=" + "9" * 5000,
    "windowCenter=nan&windowWidth=1", "windowCenter=1&windowWidth=inf", "windowCenter=1",
    "windowCenter=1&windowWidth=-5", "region=0,0,2,2", "region=-1,0,1,1", "region=nan,0,1,1",
    "region=1,1,0,0", "region=0,0,1", "annotation=patient", "anonymize=yes", "imageQuality=0",
    "imageQuality=101", "frameNumber=0", "frameNumber=-1", "contentType=;;;",
    "contentType=image/jpeg&transferSyntax=1.2.840.10008.1.2.1", "rows=1&rows=2", "nosuch=1",
    "presentationUID=1.2.3", "presentationUID=..&presentationSeriesUID=..",
)  # fmt: skip
NOT_HAD = (
    "contentType=text/html", "contentType=a/b;c=%22",
    "contentType=application/dicom&transferSyntax=../../etc/passwd",
    "contentType=application/dicom&transferSyntax=1.2.3", "charset=no-such-set",
)  # fmt: skip


@pytest.mark.standard("PS3.18 8.3.4, 11.9")
async def test_no_word_of_a_search_is_a_fault_of_the_server(service: Service) -> None:
    ds = an_instance()
    ds.StudyID = "1" * 16
    await service.hold(ds)
    client = service.client()

    answers = {name: await client.get(address) for name, (address, _) in SEARCHES.items()}

    assert {name: one.status_code for name, one in answers.items()} == {
        name: status for name, (_, status) in SEARCHES.items()
    }
    assert not any("set-cookie" in one.headers for one in answers.values())


@pytest.mark.standard("PS3.18 8.3.5, 9.1.2")
async def test_no_word_about_a_picture_is_a_fault_of_the_server(service: Service) -> None:
    ds = an_instance(rows=8, columns=8)
    await service.hold(ds)
    client, rendered = service.client(), f"{path_of(ds)}/rendered"
    wado = (
        f"/wado?requestType=WADO&studyUID={ds.StudyInstanceUID}"
        f"&seriesUID={ds.SeriesInstanceUID}&objectUID={ds.SOPInstanceUID}"
    )
    asked = {f"{rendered}?{words}": 400 for words in LOOKS}
    asked |= {f"{rendered}?{words}": 200 for words in FINE}
    asked |= {f"{wado}&{words}": 400 for words in WADO}
    asked |= {f"{wado}&{words}": 406 for words in NOT_HAD}

    answers = {address: (await client.get(address)).status_code for address in asked}

    assert answers == asked


UIDS = (
    "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "1.2%00", "1." + "2" * 63, "１.２", "1..2", "1.2%0a",
    "1.2;a", "1.2%20", "1", "%ed%a0%80", "*", "1.2.3%5C1.2.4", "urn:oid:1.2.3",
)  # fmt: skip


@pytest.mark.standard("threats T12")
async def test_no_uid_of_an_address_leads_anywhere_else(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)
    client = service.client()
    study = f"/studies/{ds.StudyInstanceUID}"
    series = f"{study}/series/{ds.SeriesInstanceUID}"

    async def ask(method: str, place: str, uid: str) -> None:
        answer = await client.request(method, place)
        is_frame_one = "frames/01" in place and uid == "1"
        expected = {200} if is_frame_one else {400, 404, 405, 415, 426}
        assert answer.status_code in expected, (method, place, answer.status_code)

    for uid in UIDS:
        places = (
            ("GET", f"/studies/{uid}"),
            ("GET", f"/studies/{uid}/series"),
            ("GET", f"/studies/{uid}/metadata"),
            ("GET", f"/studies/{uid}/thumbnail"),
            ("POST", f"/studies/{uid}"),
            ("GET", f"{study}/series/{uid}"),
            ("GET", f"{series}/instances/{uid}/frames/1"),
            ("GET", f"{study}/bulk/{uid}/7FE00010"),
            ("GET", f"{study}/bulk/{ds.SOPInstanceUID}/{uid}"),
            ("GET", f"{series}/instances/{ds.SOPInstanceUID}/frames/0{uid}"),
            ("GET", f"/workitems/{uid}"),
            ("POST", f"/workitems/{uid}"),
            ("PUT", f"/workitems/{uid}/state"),
            ("POST", f"/workitems/{uid}/cancelrequest"),
            ("POST", f"/workitems/{uid}/subscribers/{uid}"),
            ("DELETE", f"/workitems/{uid}/subscribers/AE"),
            ("GET", f"/subscribers/{uid}"),
        )
        await asyncio.gather(*(ask(method, place, uid) for method, place in places))

"""The PACS of the organisation that works for the lead: Orthanc, with a scanner beside it.

The scanner asks us what there is to do, and stores what it makes in Orthanc; Orthanc sends it to
us. What is scheduled at the organisation brings studies to Orthanc, as on a worker of a served
installation. All of it goes over sockets.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import httpx
from pydicom.dataset import Dataset

from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.prefetch.work import Prefetch
from resources import codes
from tests.dicom_bridge import orthanc
from tests.dicom_bridge.build import a_series, part10
from tests.dicom_bridge.dimse.test_worklist import ask, keys
from tests.flows.clinic import Clinic
from tests.flows.ports import Port

Json = dict[str, Any]
Found = TypeVar("Found")
PATIENCE_SECONDS = 60.0
SETTINGS: Json = {
    "DicomAlwaysAllowFind": True, "DicomAlwaysAllowStore": True, "UnknownSopClassAccepted": False,
}  # fmt: skip


class Pacs(NamedTuple):
    """Orthanc as the PACS of the partner of a port, and the partner's scanner, CT2."""

    port: Port
    web: httpx.AsyncClient

    async def worklist(self) -> list[Dataset]:
        """What the scanner is told to do."""
        asked = keys()
        asked.PatientID = asked.PatientBirthDate = asked.RequestedProcedureDescription = ""
        return await self.port.archive.call(ask, self.port.archive, asked, "CT2")

    async def scan(self, item: Dataset, images: int = 2) -> list[Dataset]:
        """Make the images of an item of the worklist, and store them here."""
        made = a_series(
            images,
            study_uid=str(item.StudyInstanceUID),
            accession=str(item.AccessionNumber),
            patient_id=str(item.PatientID),
            birth_date=str(item.PatientBirthDate),
        )
        await self.store(*made)
        return made

    async def store(self, *instances: Dataset) -> None:
        for ds in instances:
            answer = await self.web.post("/instances", content=part10(ds))
            assert answer.status_code == 200, answer.text

    async def send(self, study: list[Dataset]) -> None:
        """Let Orthanc C-STORE a study to us; it is settled when this returns."""
        ids = await orthanc.studies(self.web, study)
        sent = await self.web.post("/modalities/isocentre/store", json={"Resources": ids})
        assert sent.status_code == 200, sent.text
        assert sent.json()["FailedInstancesCount"] == 0
        await self.port.archive.bridge.quiet.drained()

    async def holds(self) -> set[str]:
        """SOP Instance UIDs of what Orthanc says that it has."""
        found: list[Json] = (await self.web.get("/instances?expand")).json()
        return {one["MainDicomTags"]["SOPInstanceUID"] for one in found}

    async def until_held(self, instances: Iterable[Dataset]) -> None:
        """Wait until Orthanc says that it has some objects."""
        wanted = uids(instances)

        async def all_there() -> bool:
            return wanted <= await self.holds()

        await until(all_there)

    async def prefetched(self, trigger: Json) -> Json:
        """The one Task that has brought all that a step needs here, as the partner sees it."""
        of = f"Task?owner={self.port.partner.reference}&code={codes.IMAGING_STEP}|prefetch"

        async def ended() -> list[Json]:
            found = await asyncio.to_thread(self.port.partner.search, of)
            about = {"reference": f"Task/{trigger['id']}"}
            return [
                one
                for one in found
                if one["reasonReference"] == about and one["status"] in ("completed", "failed")
            ]

        (task,) = await until(ended)
        assert task["status"] == "completed", task
        return task


async def until(look: Callable[[], Awaitable[Found]]) -> Found:
    """Look again until there is something."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await look()):
            await asyncio.sleep(0.05)
    return found


def person(clinic: Clinic) -> dict[str, Any]:
    """What images say of the patient."""
    (number,) = clinic.get("gp", clinic.patient)["identifier"]
    return {"patient_id": number["value"], "birth_date": "19700101", "accession": ""}


def uids(instances: Iterable[Dataset]) -> set[str]:
    return {str(ds.SOPInstanceUID) for ds in instances}


@asynccontextmanager
async def opened(port: Port, place: tuple[int, str], base: str) -> AsyncIterator[Pacs]:
    """Make an Orthanc that runs the PACS of the partner of a port, and let studies be sent ahead.

    Parameters
    ----------
    place
        The DICOM port of Orthanc, and the address of its own API.
    base
        Address of the FHIR root.
    """
    bridge = port.archive.bridge
    peer = Peer(orthanc.AE, "127.0.0.1", place[0], port.partner.id, destination=True)
    ours = {"AET": "ISOCENTRE", "Host": "127.0.0.1", "Port": port.archive.port}
    await peers.add(bridge.database, peer)
    for table, column, left in (("follower", "name", "prefetch"), ("prefetch", "peer", peer.ae)):
        await bridge.database.run(f"DELETE FROM {table} WHERE {column} = $1", (left,))
    working = asyncio.create_task(Prefetch(bridge, base).run())
    try:
        async with httpx.AsyncClient(base_url=place[1], timeout=60) as web:
            (await web.put("/modalities/isocentre", json=ours)).raise_for_status()
            yield Pacs(port, web)
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await peers.remove(bridge.database, orthanc.AE)

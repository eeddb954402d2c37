"""Studies that the demonstration's patients have from the start: real small images of pydicom.

They come in as from a modality of the organisation, so each has its ImagingStudy. Their UIDs are
the same each time: loading twice is loading once.

References
----------
* pydicom's own test files: CT_small.dcm, MR_small.dcm
* PS3.5 Annex B.2 (a UID made of a UUID)
"""

import asyncio
import io
import uuid
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from demo import data
from demo.cranium import MANUFACTURER, without_patient
from demo.load import note_study
from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.peers import Peer
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.search import query


class Prior(NamedTuple):
    """A study made before: of whom, by whom, when, and the file that has its image."""

    patient: str
    organization: str
    accession: str
    day: str
    description: str
    file: str


PRIORS: Final = (
    Prior("brook", "northmoor", "ZZ901PRIOR1", "20250603", "CT head", "CT_small.dcm"),
    Prior("quist", "westvale", "ZZ902PRIOR1", "20250911", "MRI brain", "MR_small.dcm"),
)


async def load(bridge: Bridge, data_dir: Path) -> None:
    """Store the studies, and name in ``demo.json`` those that it does not name yet."""
    for prior in PRIORS:
        ds = instance(prior)
        peer = Peer("DEMO", "127.0.0.1", 104, prior.organization)
        spool = bridge.blobs.spool()
        spool.write(_part10(ds))
        one = await asyncio.to_thread(ingest.keep, bridge.blobs, spool)
        context = RequestContext(peer.principal, "C-STORE", "demo load")
        await ingest.receive(bridge, one, context)
        await ingest.settle(bridge, one.study_uid)
        note_study(data_dir, await _described(bridge, prior, one.study_uid))


def instance(prior: Prior) -> Dataset:
    """The one image of a prior study, under the name of its patient."""
    path: Any = get_testdata_file(prior.file, download=False)
    ds = without_patient(dcmread(path))
    who = next(one for one in data.PATIENTS if one.id == prior.patient)
    ds.PatientName = f"{who.family}^{who.given}"
    ds.PatientID, ds.IssuerOfPatientID = who.nhs_number, "NHS"
    ds.PatientBirthDate = who.born.replace("-", "")
    ds.PatientSex = who.gender[0].upper()
    ds.AccessionNumber = prior.accession
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = prior.day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.StudyID = "1"
    ds.StudyDescription = prior.description
    ds.Manufacturer = MANUFACTURER
    ds.StudyInstanceUID = _uid(prior, "study")
    ds.SeriesInstanceUID = _uid(prior, "series")
    ds.FrameOfReferenceUID = _uid(prior, "frame")
    ds.SOPInstanceUID = _uid(prior, "instance")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


async def _described(bridge: Bridge, prior: Prior, study_uid: str) -> dict[str, Any]:
    context = RequestContext(Principal.system("demo"), "search-type", "demo load")
    asked = [("identifier", f"urn:dicom:uid|urn:oid:{study_uid}")]
    page = await bridge.store.search(context, query.parse("ImagingStudy", asked, strict=True))
    (study,) = page.matches
    return {
        "id": study.id,
        "uid": study_uid,
        "accession": prior.accession,
        "patient": prior.patient,
        "instances": 1,
        "report": None,
    }


def _part10(ds: Dataset) -> bytes:
    file = io.BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def _uid(prior: Prior, of: str) -> UID:
    name = f"https://isocentre.example/demo/{prior.accession}/{of}"
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}")

"""The studies that the demonstration has from the start."""

import json
from pathlib import Path

import pytest
from pydicom.uid import UID

from demo import data, load, priors
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from fhir_server.access.principal import Principal
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.settings import Settings
from fhir_server.store.store import Store


@pytest.mark.anyio
async def test_loading_twice_leaves_one_version_of_each_study_under_its_own_patient(
    store: Store, database: Database, tmp_path: Path
) -> None:
    context = RequestContext(Principal.system("test"), "read")
    bridge = Bridge(database, store, Ledger(database), Blobs(tmp_path / "blobs"))
    try:
        for _ in range(2):
            path = await load.load(Settings(data_dir=tmp_path), database, store)
            await priors.load(bridge, tmp_path)
    finally:
        await bridge.quiet.drained()
        bridge.intake.close()

    said = json.loads(path.read_text())["studies"]
    assert [study["patient"] for study in said] == ["brook", "quist"]
    for study in said:
        stored = await store.read(context, "ImagingStudy", study["id"])
        assert stored.version == 1
        assert stored.json["status"] == "available"
        assert stored.json["subject"]["reference"] == f"Patient/{study['patient']}"
        assert stored.json["numberOfInstances"] == study["instances"] == 1


def test_a_prior_image_says_nothing_of_whom_it_was_taken_of() -> None:
    names = {f"{patient.family}^{patient.given}" for patient in data.PATIENTS}

    for prior in priors.PRIORS:
        ds = priors.instance(prior)
        assert str(ds.PatientName) in names
        assert UID(ds.StudyInstanceUID).is_valid
        assert "InstitutionName" not in ds
        assert "OtherPatientIDs" not in ds
        assert not [element for element in ds if element.tag.is_private]

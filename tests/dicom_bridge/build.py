"""DICOM instances for tests: a few pixels each, made here, of nobody."""

import io
import itertools
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.1618.9"
SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "SR": "1.2.840.10008.5.1.4.1.1.88.11",
}
_numbers = itertools.count(1)


def a_uid() -> str:
    """A UID that no other call of this run returned."""
    return f"{ROOT}.{next(_numbers)}"


def an_instance(
    modality: str = "CT",
    rows: int = 8,
    columns: int = 8,
    *,
    study_uid: str = "",
    series_uid: str = "",
    sop_uid: str = "",
    transfer_syntax: str = str(ExplicitVRLittleEndian),
    patient_id: str = "9000000009",
    issuer: str = "NHS",
    patient_name: str = "Test^Ann",
    birth_date: str = "19700101",
    sex: str = "F",
    accession: str = "A1",
    accession_issuer: str = "",
    study_date: str = "20260314",
    study_time: str = "101530",
    offset: str = "+0000",
    description: str = "CT Head",
    series_number: int = 1,
    number: int = 1,
    frames: int | None = None,
    institution: str = "",
    pixel: int = 0,
) -> Dataset:
    """One SOP Instance, as its modality would send it."""
    ds = Dataset()
    ds.SOPClassUID = SOP_CLASSES[modality]
    ds.SOPInstanceUID = sop_uid or a_uid()
    ds.StudyInstanceUID = study_uid or a_uid()
    ds.SeriesInstanceUID = series_uid or f"{ds.StudyInstanceUID}.{series_number}"
    ds.StudyDate, ds.StudyTime = study_date, study_time
    if offset:
        ds.TimezoneOffsetFromUTC = offset
    ds.AccessionNumber = accession
    if accession_issuer:
        item = Dataset()
        item.LocalNamespaceEntityID = accession_issuer
        ds.IssuerOfAccessionNumberSequence = Sequence([item])
    ds.Modality = modality
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = description
    ds.SeriesDescription = f"Series {series_number}"
    ds.PatientName, ds.PatientID = patient_name, patient_id
    if issuer:
        ds.IssuerOfPatientID = issuer
    ds.PatientBirthDate, ds.PatientSex = birth_date, sex
    ds.StudyID = "1"
    ds.SeriesNumber, ds.InstanceNumber = str(series_number), str(number)
    if institution:
        ds.InstitutionName = institution
    if modality != "SR":
        _with_pixels(ds, rows, columns, frames, pixel)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def a_series(count: int, **attributes: str | int) -> list[Dataset]:
    """So many instances of one series of one study."""
    study_uid = str(attributes.pop("study_uid", "") or a_uid())
    return [
        an_instance(study_uid=study_uid, number=number, **attributes)  # type: ignore[arg-type]
        for number in range(1, count + 1)
    ]


def part10(ds: Dataset) -> bytes:
    """The instance as a DICOM file (PS3.10)."""
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def data_set_of(file: bytes) -> bytes:
    """What follows the file meta information, by its group length alone."""
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]


def written(ds: Dataset, folder: Path) -> Path:
    """The instance as a file in `folder`."""
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    path.write_bytes(part10(ds))
    return path


def _with_pixels(ds: Dataset, rows: int, columns: int, frames: int | None, pixel: int) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    if frames is not None:
        ds.NumberOfFrames = str(frames)
    ds.PixelData = pixel.to_bytes(2, "little") * (rows * columns * (frames or 1))

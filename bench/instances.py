"""Synthetic DICOM for load: CT of 0.5 MB, CR of 8 MB, and one tiny CT a study for queries."""

import datetime as dt
import random
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

FAMILY = ("Adams", "Baker", "Clark", "Davis", "Evans", "Frank", "Ghosh", "Hills", "Irwin")
GIVEN = ("Anna", "Bert", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivan", "Jana", "Karl")


def _identity(ds: Dataset, seed: str, patient: int, study: int, series: int, number: int) -> None:
    rnd = random.Random(f"{seed}-{patient}")
    day = dt.date(2020, 1, 1) + dt.timedelta(days=study % 2000)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = day.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = f"{8 + study % 10:02d}{study % 60:02d}00"
    ds.AccessionNumber = f"A{study:08d}"
    ds.InstitutionName = "Test Hospital"
    ds.ReferringPhysicianName = "Ref^Doctor"
    ds.StudyDescription = f"{ds.Modality} {('CHEST', 'HEAD', 'ABDOMEN', 'KNEE')[study % 4]}"
    ds.SeriesDescription = f"Series {series}"
    ds.PatientName = f"{rnd.choice(FAMILY)}^{rnd.choice(GIVEN)}"
    ds.PatientID = f"P{patient:07d}"
    ds.PatientBirthDate = f"{1930 + rnd.randrange(80)}0{1 + rnd.randrange(9)}15"
    ds.PatientSex = rnd.choice("MF")
    ds.StudyInstanceUID = generate_uid(entropy_srcs=[seed, "study", str(study)])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=[seed, "series", str(study), str(series)])
    ds.SOPInstanceUID = generate_uid(
        entropy_srcs=[seed, "instance", str(study), str(series), str(number)]
    )
    ds.StudyID = str(study)
    ds.SeriesNumber = series
    ds.InstanceNumber = number


def _pixels(ds: Dataset, array: Any) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = array.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.add_new(0x7FE00010, "OW", array.astype("<u2").tobytes())


def _save(ds: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def ct(seed: str, patient: int, study: int, number: int, size: int, noise: Any) -> Dataset:
    """Make one CT slice of `size` x `size`."""
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"
    _identity(ds, seed, patient, study, 1 + (number > 100), number)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SliceThickness, ds.KVP, ds.PatientPosition = "1.0", "120", "HFS"
    ds.ImagePositionPatient = ["-250", "-250", str(float(number))]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing = [f"{500 / size:.6f}"] * 2
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = ((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1) * 1050 + 24
    _pixels(ds, np.clip(body + noise.normal(0, 12, (size, size)), 0, 4095))
    return ds


def cr(seed: str, number: int, noise: Any) -> Dataset:
    """Make one CR of 2048 x 2048."""
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = ComputedRadiographyImageStorage, "CR"
    _identity(ds, seed, 5000 + number, 5000 + number, 1, 1)
    y, x = np.mgrid[-1:1:2048j, -1:1:2048j]
    wave = 2000 + 1000 * np.cos(3 * x) * np.cos(2 * y)
    _pixels(ds, np.clip(wave + noise.normal(0, 20, (2048, 2048)), 0, 4095))
    return ds


def make(folder: Path, seed: str, studies: int = 4, slices: int = 200, crs: int = 8,
         tiny: int = 400) -> None:  # fmt: skip
    """Write ``ct/<study>/``, ``cr/`` and ``tiny/``; a new seed means new UIDs."""
    noise = np.random.default_rng(1)
    for study in range(studies):
        for number in range(1, slices + 1):
            path = folder / "ct" / str(study) / f"{number:04d}.dcm"
            _save(ct(seed, study, study, number, 512, noise), path)
    for number in range(crs):
        _save(cr(seed, number, noise), folder / "cr" / f"{number:03d}.dcm")
    for number in range(tiny):
        path = folder / "tiny" / f"{number:05d}.dcm"
        _save(ct(seed, 10000 + number // 2, 10000 + number, 1, 32, noise), path)

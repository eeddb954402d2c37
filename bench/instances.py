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


class Noise:
    """Grain for pictures; made once, and taken from another place for each."""

    def __init__(self) -> None:
        self._grain = np.random.default_rng(1).normal(0, 12, (2304, 2304))
        self._next = 0

    def __call__(self, size: int) -> Any:
        """Give a square of grain."""
        self._next = (self._next + 1) % (2304 - 2048)
        return self._grain[self._next : self._next + size, self._next : self._next + size]


def ct(seed: str, patient: int, study: int, number: int, size: int, noise: Noise) -> Dataset:
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
    _pixels(ds, np.clip(body + noise(size), 0, 4095))
    return ds


def cr(seed: str, number: int, noise: Noise) -> Dataset:
    """Make one CR of 2048 x 2048."""
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = ComputedRadiographyImageStorage, "CR"
    _identity(ds, seed, 5000 + number, 5000 + number, 1, 1)
    y, x = np.mgrid[-1:1:2048j, -1:1:2048j]
    wave = 2000 + 1000 * np.cos(3 * x) * np.cos(2 * y)
    _pixels(ds, np.clip(wave + noise(2048), 0, 4095))
    return ds


SLICES = 200
STUDIES = 2
CRS = 8
TINY = 200


def make(folder: Path, seed: str, round: int) -> Path:
    """Write ``ct/<study>/``, ``cr/`` and ``tiny/``; a new seed means new UIDs.

    Parameters
    ----------
    round
        0, 1, ...: patients of one round are none of another.
    """
    noise = Noise()
    first = round * 20_000
    for study in range(STUDIES):
        for number in range(1, SLICES + 1):
            path = folder / "ct" / str(study) / f"{number:04d}.dcm"
            _save(ct(seed, first + study, first + study, number, 512, noise), path)
    for number in range(CRS):
        _save(cr(seed, first + number, noise), folder / "cr" / f"{number:03d}.dcm")
    for number in range(TINY):
        path = folder / "tiny" / f"{number:05d}.dcm"
        patient, study = first + 10_000 + number // 2, first + 10_000 + number
        _save(ct(seed, patient, study, 1, 32, noise), path)
    return folder

"""A real head CT for the demonstration: a volume that Debian ships, as 108 CT instances.

`Cranium.inv3` of the package invesalius-examples is a gzip tar with a volume of Hounsfield units
and no word about a patient. Where the package is not to be had, a CT slice of pydicom's own test
files stands in. The instances that `slices` makes belong to nobody: patient, accession number and
study come from the worklist when they are "acquired" (`acquired`).

This module plays a modality, so it speaks DICOM itself: it is outside the server.

References
----------
* PS3.3 Section A.3 (CT Image IOD), C.7.6.2 (Image Plane), C.8.2.1 (CT Image)
* Debian package invesalius-examples 3.1 (GPL-2): the volume; 256 x 256 x 108 voxels of
  0.957 x 0.957 x 1.5 mm
"""

import copy
import plistlib
import shutil
import sys
import tarfile
import uuid
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

SOURCE: Final = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")
ASSETS: Final = Path(__file__).resolve().parent.parent / ".assets"
MANUFACTURER: Final = "Isocentre demonstration"


def prepare(folder: Path = ASSETS / "cranium", source: Path = SOURCE) -> int:
    """Convert the volume once; how many instances there are then.

    A second call finds them and does nothing, unless all that was found before was the slice
    that stands in, and the volume is there now.
    """
    known = sorted(folder.glob("*.dcm"))
    if len(known) > 1 or (known and not source.exists()):
        return len(known)
    draft = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    draft.mkdir(parents=True)
    count = 0
    for count, ds in enumerate(slices(source), 1):
        dcmwrite(draft / f"{count:03d}.dcm", ds, enforce_file_format=True)
    if folder.is_dir():
        shutil.rmtree(folder)
    draft.rename(folder)
    return count


def slices(source: Path = SOURCE) -> Iterator[Dataset]:
    """CT instances without patient, order or study, feet first."""
    if not source.exists():
        yield _stand_in()
        return
    with tarfile.open(source) as archive:
        members = {Path(member.name).name: member for member in archive}
        plan = plistlib.loads(_bytes(archive, members["main.plist"]))
        volume = _bytes(archive, members["matrix.dat"])
    depth, rows, columns = plan["matrix"]["shape"]
    across, down, apart = plan["spacing"]
    size = rows * columns * 2
    for number in range(depth):
        plane = volume[number * size : (number + 1) * size]
        yield _slice(
            number,
            _upright(plane, columns),
            rows=rows,
            columns=columns,
            spacing=(down, across, apart),
        )


def acquired(
    files: Sequence[Path], fill: Callable[[Dataset], None], folder: Path, when: Dataset
) -> list[Path]:
    """Copies of the instances as a modality sends them: under the worklist's names.

    Parameters
    ----------
    fill
        Puts into each data set what the worklist item says.
    folder
        Where the copies go.
    when
        Date and time attributes of the acquisition, taken over as they are.
    """
    series, frame = new_uid(), new_uid()
    written = []
    for number, file in enumerate(files, 1):
        ds = dcmread(file)
        ds.update(copy.deepcopy(when))
        ds.SeriesInstanceUID = series
        ds.FrameOfReferenceUID = frame
        ds.SOPInstanceUID = new_uid()
        ds.InstanceNumber = number
        fill(ds)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        path = folder / f"{number:03d}.dcm"
        dcmwrite(path, ds, enforce_file_format=True)
        written.append(path)
    return written


def new_uid() -> str:
    """A UID that nobody has had (PS3.5 Annex B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise FileNotFoundError(member.name)
    with file:
        return file.read()


def _upright(plane: bytes, columns: int) -> bytes:
    """The rows turned over: the volume has the face at the bottom, a CT image has it on top."""
    width = columns * 2
    return b"".join(plane[at : at + width] for at in range(len(plane) - width, -1, -width))


def _slice(
    number: int, pixels: bytes, *, rows: int, columns: int, spacing: tuple[float, float, float]
) -> Dataset:
    down, across, apart = spacing
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = UID(new_uid())
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.SOPClassUID = CTImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality = "CT"
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = "Cranium"
    ds.StationName = "CT1"
    ds.SeriesDescription = "Head, axial"
    ds.BodyPartExamined = "HEAD"
    ds.PatientPosition = "HFS"
    ds.SeriesNumber = 2
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = number + 1
    ds.KVP = "120"
    ds.SliceThickness = f"{apart:.4g}"
    ds.SpacingBetweenSlices = f"{apart:.4g}"
    ds.PixelSpacing = [f"{down:.8g}", f"{across:.8g}"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    left, front = -across * columns / 2, -down * rows / 2
    ds.ImagePositionPatient = [f"{left:.8g}", f"{front:.8g}", f"{number * apart:.8g}"]
    ds.SliceLocation = f"{number * apart:.8g}"
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "80"
    values = array("h", pixels)
    ds.SmallestImagePixelValue, ds.LargestImagePixelValue = min(values), max(values)
    ds.PixelData = pixels
    return ds


def _stand_in() -> Dataset:
    """One CT slice of pydicom's test files, stripped of the patient it names."""
    path: Any = get_testdata_file("CT_small.dcm")
    ds = without_patient(dcmread(path))
    ds.SOPInstanceUID = UID(new_uid())
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def without_patient(ds: Dataset) -> Dataset:
    """Take from an image whom it is of, who ordered and made it, and what is private."""
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "PatientWeight",
        "OtherPatientIDs",
        "OtherPatientIDsSequence",
        "AccessionNumber",
        "StudyID",
        "InstitutionName",
        "ReferringPhysicianName",
        "DataSetTrailingPadding",
    ):
        if keyword in ds:
            del ds[keyword]
    ds.remove_private_tags()
    return ds


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS / "cranium"
    print(f"{prepare(place)} CT instances in {place}")

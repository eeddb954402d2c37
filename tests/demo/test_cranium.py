"""The head CT of the demonstration."""

import io
import plistlib
import tarfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from demo.cranium import acquired, prepare, slices


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume of 3 planes of 2 rows and 2 columns, as InVesalius keeps it."""
    values = b"".join(n.to_bytes(2, "little", signed=True) for n in range(-6, 6))
    plan = {
        "matrix": {"shape": [3, 2, 2], "dtype": "int16", "filename": "matrix.dat"},
        "spacing": [0.5, 0.25, 1.5],
    }
    path = tmp_path / "Small.inv3"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("main.plist", plistlib.dumps(plan)), ("matrix.dat", values)):
            member = tarfile.TarInfo(f"tmp/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_each_plane_is_an_image_with_the_face_on_top(volume: Path) -> None:
    first, second, _ = slices(volume)

    assert first.pixel_array.tolist() == [[-4, -3], [-6, -5]]
    assert second.pixel_array.tolist() == [[0, 1], [-2, -1]]
    assert [float(x) for x in first.PixelSpacing] == [0.25, 0.5]
    assert second.ImagePositionPatient[2] - first.ImagePositionPatient[2] == 1.5
    assert not {"PatientID", "AccessionNumber", "StudyInstanceUID"} & set(first.dir())


def test_preparing_twice_converts_once(volume: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cranium"

    assert prepare(folder, volume) == 3
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert prepare(folder, volume) == 3
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_without_the_package_one_slice_stands_in_until_the_package_is_there(
    volume: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cranium"

    assert prepare(folder, tmp_path / "none") == 1
    (file,) = folder.iterdir()
    assert "PatientName" not in dcmread(file)
    assert prepare(folder, volume) == 3


def test_acquiring_makes_new_objects_of_one_series(volume: Path, tmp_path: Path) -> None:
    folder, target = tmp_path / "cranium", tmp_path / "out"
    prepare(folder, volume)
    target.mkdir()

    def fill(ds: Dataset) -> None:
        ds.PatientID, ds.AccessionNumber, ds.StudyInstanceUID = "1", "A1", "1.2.3"

    files = acquired(sorted(folder.iterdir()), fill, target, Dataset())

    made = [dcmread(file) for file in files]
    assert {one.AccessionNumber for one in made} == {"A1"}
    assert len({one.SeriesInstanceUID for one in made}) == 1
    assert len({one.SOPInstanceUID for one in made}) == 3
    for one in made:
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID

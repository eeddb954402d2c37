"""Reading identity and header of an instance, and refusing what is none."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicom_bridge import instance
from dicom_bridge.instance import Instance
from dicom_bridge.spool import PREAMBLE, FileMeta, Spool, made_meta, read_meta
from resources.errors import Invalid, NotDicom, Unsupported
from tests.dicom_bridge.build import an_instance, data_set_of, part10


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Instance]:
    def read(file: bytes, piece: int = 1000, announced: tuple[str, str] | None = None) -> Instance:
        spool = Spool(tmp_path / "spooled")
        spool.announced = announced
        try:
            for at in range(0, len(file), piece):
                spool.write(file[at : at + piece])
            return instance.read(spool)
        finally:
            spool.discard()

    return read


def meta_of(ds: Dataset, transfer_syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    return made_meta(ds.SOPClassUID, ds.SOPInstanceUID, transfer_syntax)


@pytest.mark.parametrize("piece", [1, 131, 4096])
def test_the_digest_is_that_of_the_data_set_whatever_the_pieces(
    read: Callable[..., Instance], piece: int
) -> None:
    ds = an_instance()
    file = part10(ds)

    one = read(file, piece)

    assert one.sop_uid == ds.SOPInstanceUID
    assert one.size == len(data_set_of(file))
    assert file[one.dataset_offset :] == data_set_of(file)


@pytest.mark.standard("threats T11")
def test_file_meta_information_is_not_read_again_for_each_octet(
    read: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = an_instance()
    file = part10(ds)
    private = struct.pack("<HH2sH", 2, 0x0200, b"UL", 0) * 2000
    at = 144 + int.from_bytes(file[140:144], "little")
    lengths: list[int] = []

    def noted(head: bytes) -> FileMeta | None:
        lengths.append(len(head))
        return read_meta(head)

    monkeypatch.setattr("dicom_bridge.spool.read_meta", noted)

    one = read(file[:at] + private + file[at:], 1)

    assert one.sop_uid == ds.SOPInstanceUID
    assert len(lengths) < 30


def test_another_file_meta_information_makes_no_other_digest(read: Callable[..., Instance]) -> None:
    ds = an_instance()
    file = part10(ds)
    by_association = meta_of(ds) + data_set_of(file)

    assert by_association != file
    assert read(by_association).digest == read(file).digest


def test_the_header_keeps_what_imagingstudy_needs(read: Callable[..., Instance]) -> None:
    ds = an_instance(accession="A7", accession_issuer="ZZ901", frames=5, number=3)

    one = read(part10(ds))

    assert (one.accession, one.accession_issuer, one.frames, one.number) == ("A7", "ZZ901", 5, 3)
    assert one.header["PatientName"] == "Test^Ann"
    assert "PixelData" not in one.header


@pytest.mark.standard("PS3.5 6.1.2.4")
def test_names_are_read_in_their_character_set(read: Callable[..., Instance]) -> None:
    ds = an_instance(patient_name="Müller^Jürgen")
    ds.SpecificCharacterSet = "ISO_IR 100"

    assert read(part10(ds)).header["PatientName"] == "Müller^Jürgen"


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "JPEG2000.dcm",
        "JPEG-LL.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "image_dfl.dcm",
        "examples_ybr_color.dcm",
        "rtplan.dcm",
        "reportsi.dcm",
        "liver_1frame.dcm",
        "waveform_ecg.dcm",
    ],
)
def test_files_of_every_kind_are_read(read: Callable[..., Instance], name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert path is not None, "pydicom-data is among the packages that tests need"
    expected = pydicom.dcmread(path, stop_before_pixels=True, force=True)

    one = read(Path(str(path)).read_bytes())

    assert one.sop_uid == expected.SOPInstanceUID
    assert one.study_uid == expected.StudyInstanceUID
    assert one.transfer_syntax == expected.file_meta.TransferSyntaxUID
    assert one.modality == expected.get("Modality", "")


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n" * 20,
        bytes(PREAMBLE) + b"DICM",
        bytes(PREAMBLE) + b"DICM" + b"\xff" * 64,
        bytes(5000),
        part10(an_instance())[:400],
        meta_of(an_instance()) + b"\x00" * 3,
        meta_of(an_instance()) + b"\x10\x00\x20\x00LO\xff\xff" * 40,
    ],
    ids=["nothing", "a banner", "no meta", "noise", "zeros", "cut off", "stub", "lies"],
)
def test_what_is_no_instance_is_refused(read: Callable[..., Instance], file: bytes) -> None:
    with pytest.raises(Invalid):
        read(file)


def nested(depth: int) -> bytes:
    """Items of undefined length within items, and never an end."""
    opening = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return opening * depth


def test_endless_nesting_is_refused(read: Callable[..., Instance]) -> None:
    with pytest.raises(NotDicom):
        read(meta_of(an_instance()) + nested(5000))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2.3/4", "1..2", "1." * 40 + "1", "a.b"])
def test_a_uid_is_a_uid(read: Callable[..., Instance], keyword: str, uid: str) -> None:
    ds = an_instance()
    announced = meta_of(ds)
    ds[keyword]._value = UID(uid, validation_mode=0)
    buffer = io.BytesIO()
    pydicom.filewriter.write_dataset(pydicom.filebase.DicomFileLike(buffer), as_explicit(ds))

    with pytest.raises(Invalid):
        read(announced + buffer.getvalue())


def as_explicit(ds: Dataset) -> Dataset:
    ds._read_implicit, ds._read_little = False, True
    return ds


def test_an_identity_that_is_not_the_one_announced_is_refused(
    read: Callable[..., Instance],
) -> None:
    ds, other = an_instance(), an_instance()

    with pytest.raises(Invalid, match="not the one announced"):
        read(part10(ds), announced=(ds.SOPClassUID, other.SOPInstanceUID))


def test_a_sop_class_that_is_no_storage_is_unsupported(read: Callable[..., Instance]) -> None:
    ds = an_instance()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.31")

    with pytest.raises(Unsupported):
        read(part10(ds))


def test_an_unknown_transfer_syntax_is_unsupported(read: Callable[..., Instance]) -> None:
    ds = an_instance()

    with pytest.raises(Unsupported):
        read(meta_of(ds, "1.2.3.4") + data_set_of(part10(ds)))


def test_a_preamble_that_is_no_tiff_is_zeroed(tmp_path: Path) -> None:
    file = part10(an_instance())
    for preamble, kept in ((b"MZ" * 64, bytes(128)), (b"II*\0" * 32, b"II*\0" * 32)):
        spool = Spool(tmp_path / "spooled")
        spool.write(preamble + file[PREAMBLE:])

        assert spool.path.read_bytes() == kept + file[PREAMBLE:]
        spool.discard()


def test_only_mapped_attributes_of_sequence_items_are_kept(read: Callable[..., Instance]) -> None:
    ds = an_instance()
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "A scan"
    item.MappingResource = "DCMR"
    ds.ProcedureCodeSequence = Sequence([item])

    held = read(part10(ds)).header["ProcedureCodeSequence"]

    assert held == [{"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "A scan"}]

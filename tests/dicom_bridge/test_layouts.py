"""Where frames are, kept when an instance is taken in: the same as looking it up in the file."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless

from dicom_bridge import frames, holdings, layouts
from dicom_bridge.bridge import Bridge
from dicom_bridge.frames import Layout, Run
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import take_in

BLOB, OTHER = "ab" * 32, "cd" * 32
ENOUGH = 1 << 60
"""Octets of a file that is long enough."""
runs = st.builds(Run, st.integers(0, 1 << 50), st.integers(0, 1 << 40))
some_frames = st.lists(st.lists(runs, max_size=4).map(tuple), min_size=1, max_size=20)


@given(some_frames)
def test_a_layout_that_was_kept_is_the_one_that_was_found(each: list[tuple[Run, ...]]) -> None:
    where = Layout(each, len(each))

    assert layouts.unpacked(layouts.packed(where, BLOB), BLOB, ENOUGH) == where
    assert layouts.unpacked(layouts.packed(where, BLOB), OTHER, ENOUGH) is None


@given(st.integers(0, 1 << 40), st.integers(1, 1 << 30), st.integers(1, 50))
def test_frames_of_one_size_are_kept_as_the_first(start: int, size: int, number: int) -> None:
    where = Layout([(Run(start + i * size, size),) for i in range(number)], number)

    kept = layouts.packed(where, BLOB)

    assert layouts.unpacked(kept, BLOB, ENOUGH) == where
    assert len(kept) == layouts.HEAD.size + layouts.RUN.size


def test_frames_that_begin_within_an_octet_are_kept_too() -> None:
    where = Layout([(Run(500, 12),)], 7, 13)

    assert layouts.unpacked(layouts.packed(where, BLOB), BLOB, ENOUGH) == where


def test_nothing_that_was_kept_is_no_layout() -> None:
    assert layouts.unpacked(None, BLOB, ENOUGH) is None
    assert layouts.unpacked(b"", BLOB, ENOUGH) is None


@pytest.mark.parametrize(
    "where",
    [
        Layout([(Run(100, 8),), (Run(108, 8),), (Run(116, 8),)], 3),
        Layout([(Run(116, 8), Run(101, 3)), (Run(104, 2),)], 2),
        Layout([(Run(120, 90),)], 4, 8),
        Layout([(Run(119, 90),)], 3, 11),
    ],
    ids=["even", "of pieces", "of bits", "that end within an octet"],
)
def test_frames_that_reach_beyond_their_file_are_no_layout(where: Layout) -> None:
    kept = layouts.packed(where, BLOB)

    assert layouts.unpacked(kept, BLOB, 124) == where
    assert layouts.unpacked(kept, BLOB, 123) is None


def native() -> Dataset:
    return an_instance(transfer_syntax=str(ExplicitVRLittleEndian))


def encapsulated(*fragments: bytes, number: int) -> Dataset:
    ds = an_instance(transfer_syntax=str(JPEGLSLossless), frames=number)
    ds.PixelData = encapsulate(list(fragments))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.anyio
@pytest.mark.standard("PS3.5 A.4")
@pytest.mark.parametrize(
    "ds",
    [
        native(),
        encapsulated(b"one!", b"and two.", b"three", number=3),
        encapsulated(b"all of it", number=1),
    ],
)
async def test_what_is_kept_when_a_study_is_settled_is_what_the_file_says(
    bridge: Bridge, ds: Dataset
) -> None:
    one = (await take_in(bridge, ds)).instance
    await bridge.quiet.drained()

    (held,) = await holdings.instances(bridge.database, ds.StudyInstanceUID, None, one.sop_uid)
    file = BytesIO((await bridge.blobs.own(held.blob)).read_bytes())

    looked_up = frames.layout(file, held.dataset_offset, held.transfer_syntax)
    assert layouts.unpacked(held.layout, held.blob, held.length) == looked_up


@pytest.mark.anyio
async def test_a_deflated_instance_has_no_frames_that_are_runs_of_its_file(bridge: Bridge) -> None:
    ds = an_instance(transfer_syntax=str(DeflatedExplicitVRLittleEndian))
    one = (await take_in(bridge, ds)).instance
    await bridge.quiet.drained()

    (held,) = await holdings.instances(bridge.database, ds.StudyInstanceUID, None, one.sop_uid)

    assert held.layout is None


@pytest.mark.anyio
async def test_the_frames_of_a_corrected_instance_are_looked_up_again(bridge: Bridge) -> None:
    ds = native()
    one = (await take_in(bridge, ds)).instance
    await bridge.quiet.drained()

    (held,) = await holdings.instances(bridge.database, ds.StudyInstanceUID, None, one.sop_uid)

    assert layouts.unpacked(held.layout, held.blob, held.length) is not None
    assert layouts.unpacked(held.layout, OTHER, held.length) is None

"""Scrubbing: what has changed on the disk is found in its turn, told, and never served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_bridge import scrub
from dicom_bridge.bridge import Bridge
from resources.errors import NotFound
from tests.dicom_bridge.build import a_series, an_instance, part10
from tests.dicom_bridge.conftest import found, take_in
from tests.dicom_bridge.test_blobs import permit

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R012.1")]

DAYS = 1
SLICES = DAYS * 24 * 60 + 1


async def a_round(bridge: Bridge) -> int:
    """All slices, fewer at a time: one of the day's minutes would do where it falls."""
    return sum([await scrub.scrub(bridge, minute, DAYS) for minute in range(SLICES)])


async def test_a_flipped_bit_is_found_and_that_instance_served_no_more(bridge: Bridge) -> None:
    whole, damaged = [(await take_in(bridge, ds)).instance for ds in a_series(2)]
    await bridge.quiet.drained()
    path = await bridge.blobs.own(damaged.digest)
    content = bytearray(path.read_bytes())
    content[damaged.dataset_offset + 20] ^= 1
    path.write_bytes(content)

    assert await a_round(bridge) == 1

    assert await bridge.blobs.own(whole.digest)
    with pytest.raises(NotFound):
        await bridge.blobs.path(damaged.digest, permit("ImagingStudy"))
    assert (bridge.blobs.folder / "damaged" / damaged.digest).read_bytes() == bytes(content)
    (task,) = await found(bridge, "Task", code="instance-damaged")
    (study,) = await found(bridge, "ImagingStudy")
    assert task["owner"] == {"reference": "Organization/lead"}
    assert task["focus"] == {"reference": f"ImagingStudy/{study['id']}"}
    assert damaged.sop_uid in task["description"]
    assert whole.sop_uid not in task["description"]
    assert await a_round(bridge) == 0, "it is told once"


async def test_an_instance_that_was_damaged_is_whole_when_it_is_sent_again(bridge: Bridge) -> None:
    ds = an_instance()
    one = (await take_in(bridge, ds)).instance
    (await bridge.blobs.own(one.digest)).write_bytes(b"\0" * 400)
    assert await a_round(bridge) == 1

    again = await take_in(bridge, ds)

    assert again.already
    assert (await bridge.blobs.own(one.digest)).read_bytes() == part10(ds)


async def test_a_file_meta_information_that_says_another_transfer_syntax_is_damage(
    bridge: Bridge,
) -> None:
    one = (await take_in(bridge, an_instance())).instance
    path = await bridge.blobs.own(one.digest)
    content = path.read_bytes()
    assert content.count(b"1.2.840.10008.1.2.1\0") == 1
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"))

    assert await a_round(bridge) == 1


async def test_what_is_whole_is_left_alone_and_nobody_told(bridge: Bridge) -> None:
    for ds in a_series(5):
        await take_in(bridge, ds)

    assert await a_round(bridge) == 0
    assert await found(bridge, "Task") == []
    assert await scrub.scrub(bridge, 0, 0) == 0


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(1, 4000))
def test_every_name_has_its_turn_once_in_a_round(name: str, days: int) -> None:
    slices = days * 24 * 60 + 1
    turn = int(name[:16], 16) * slices >> 64
    turns = [
        one
        for one in range(max(turn - 2, 0), min(turn + 3, slices))
        if scrub._name(one, slices) < name < scrub._name(one + 1, slices)
    ]
    assert len(turns) == 1

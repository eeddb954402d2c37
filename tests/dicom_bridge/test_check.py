"""What `isocentre check` finds when blobs, rows and resources no longer agree."""

import pytest

from dicom_bridge import check, holdings
from dicom_bridge.bridge import Bridge
from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.conftest import found, take_in, write

pytestmark = pytest.mark.anyio


async def test_what_was_taken_in_agrees(bridge: Bridge) -> None:
    for ds in a_series(3):
        await take_in(bridge, ds)
    await bridge.quiet.drained()

    assert await check.problems(bridge, deep=True, grace_seconds=0) == []


async def test_a_row_without_its_blob_is_found(bridge: Bridge) -> None:
    ds = an_instance()
    one = (await take_in(bridge, ds)).instance
    (await bridge.blobs.own(one.digest)).unlink()

    found_problems = await check.problems(bridge)

    assert found_problems == [f"the bytes of instance {ds.SOPInstanceUID} are gone"]


async def test_changed_bytes_are_found_by_a_deep_check(bridge: Bridge) -> None:
    ds = an_instance()
    one = (await take_in(bridge, ds)).instance
    with (await bridge.blobs.own(one.digest)).open("ab") as file:
        file.write(b"\0")

    assert await check.problems(bridge) == []
    assert await check.problems(bridge, deep=True) == [
        f"the bytes of instance {ds.SOPInstanceUID} have changed"
    ]


async def test_a_blob_without_a_row_is_found_once_it_is_old_and_swept(bridge: Bridge) -> None:
    one = (await take_in(bridge, an_instance())).instance
    await bridge.database.run("delete from instance")

    assert await check.problems(bridge) == []
    assert await check.problems(bridge, grace_seconds=-1) == [
        f"blob {one.digest} belongs to no instance"
    ]
    assert await check.sweep(bridge.database, bridge.blobs, grace_seconds=-1) == 1
    assert not bridge.blobs.exists(one.digest)


async def test_a_study_that_lists_less_than_is_held_is_found(bridge: Bridge) -> None:
    series = a_series(2)
    for ds in series:
        await take_in(bridge, ds)
    await bridge.quiet.drained()
    (study,) = await found(bridge, "ImagingStudy")
    study["series"][0]["instance"].pop()
    await write(bridge, {name: value for name, value in study.items() if name != "meta"})

    problems = await check.problems(bridge)

    (held, _) = await holdings.instances(bridge.database, series[0].StudyInstanceUID)
    assert problems == [
        f"ImagingStudy/{study['id']} does not list what is held of study {held.study_uid}"
    ]

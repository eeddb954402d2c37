"""``isocentre demo play --pathway``: each of the workflows on real images, on one whole server."""

import os
from collections.abc import Iterator

import pytest

from demo.play import PATHWAYS
from tests.flows.installation import Installation


@pytest.fixture(scope="module")
def played_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    place = Installation(tmp_path_factory.mktemp("plays"))
    place.settings = {
        **os.environ,
        "ISOCENTRE_HTTP": f"127.0.0.1:{place.http}",
        "ISOCENTRE_DICOM": f"127.0.0.1:{place.dicom}",
    }
    place.start()
    place.command("demo", "load")
    yield place
    place.stop()


def test_there_is_a_play_of_each_figure() -> None:
    assert len(PATHWAYS) == 6


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("outsourced-acquisition", marks=pytest.mark.requirement("W2")),
        pytest.param("outsourced-reporting", marks=pytest.mark.requirement("W3")),
        pytest.param("outsourced-acquisition-and-reporting", marks=pytest.mark.requirement("W4")),
        pytest.param("review-informal", marks=pytest.mark.requirement("W5")),
        pytest.param("review-formal", marks=pytest.mark.requirement("W6")),
        pytest.param("primary", marks=pytest.mark.requirement("W1")),
    ],
)
def test_a_workflow_is_played_to_its_end_on_real_images(played_on: Installation, name: str) -> None:
    steps = PATHWAYS[name].steps

    told = played_on.command("demo", "play", "--pathway", name)

    assert f"{steps} of {steps} done and read back" in told


@pytest.mark.slow
@pytest.mark.peer
def test_what_is_played_twice_is_played_to_its_end_again(played_on: Installation) -> None:
    for name in ("outsourced-reporting", "review-formal"):
        assert "done and read back" in played_on.command("demo", "play", "--pathway", name)

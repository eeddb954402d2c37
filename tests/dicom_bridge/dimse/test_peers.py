"""Peers: found by AE title, acting for their organisation."""

import pytest

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.peers import Peer
from resources.errors import Invalid
from tests.dicom_bridge.conftest import CT1

pytestmark = pytest.mark.anyio


async def test_a_peer_is_found_by_its_ae_title(bridge: Bridge) -> None:
    assert await peers.find(bridge.database, " CT1 ") == CT1
    assert await peers.find(bridge.database, "CT9") is None
    assert [peer.ae for peer in await peers.every(bridge.database)] == ["CT1", "CT2"]


async def test_adding_a_peer_again_changes_it(bridge: Bridge) -> None:
    moved = Peer("CT1", "127.0.0.1", 104, "other")

    await peers.add(bridge.database, moved)

    assert await peers.find(bridge.database, "CT1") == moved


def test_a_peer_acts_for_its_organisation() -> None:
    principal = CT1.principal

    assert (principal.subject, principal.organization, principal.role) == (
        "Peer/CT1",
        "lead",
        "device",
    )


@pytest.mark.standard("PS3.5 6.2 AE")
@pytest.mark.parametrize("ae", ["", "A" * 17, "A\\B", "A\nB", " A", "Ä"])
async def test_what_is_no_ae_title_is_refused(bridge: Bridge, ae: str) -> None:
    with pytest.raises(Invalid):
        await peers.add(bridge.database, Peer(ae, "127.0.0.1", 104, "lead"))

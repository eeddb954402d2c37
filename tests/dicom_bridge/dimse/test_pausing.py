"""Who waits for an answer is the only one who takes it: the reactor stands still meanwhile."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_bridge.dimse.pausing import Checkpoint
from dicom_bridge.dimse.reactor import ApplicationEntity

MOMENT = 0.0005


def taken_by_the_reactor(made: Any, times: int = 60) -> int:
    """How often a reactor that loops as pynetdicom's goes on while somebody waits."""
    association = SimpleNamespace(_is_paused=False, is_waiting=False)
    association.dul = SimpleNamespace(idle_timer_expired=lambda: False)
    checkpoint = made(association)
    checkpoint.set()
    over = threading.Event()
    taken = 0

    def reactor() -> None:
        nonlocal taken
        while not over.is_set():
            association._is_paused = True
            checkpoint.wait()
            time.sleep(MOMENT)  # another thread's turn
            association._is_paused = False
            taken += association.is_waiting

    thread = threading.Thread(target=reactor)
    thread.start()
    for _ in range(times):
        checkpoint.clear()
        while not association._is_paused:
            time.sleep(MOMENT / 10)
        association.is_waiting = True
        time.sleep(3 * MOMENT)
        association.is_waiting = False
        checkpoint.set()
        time.sleep(MOMENT)
    over.set()
    checkpoint.set()
    thread.join(10)
    assert not thread.is_alive()
    return taken


@pytest.mark.standard("PS3.7 7.2")
def test_the_reactor_takes_no_answer_that_somebody_waits_for() -> None:
    assert taken_by_the_reactor(Checkpoint) == 0


def test_without_the_checkpoint_it_does() -> None:
    assert taken_by_the_reactor(lambda association: threading.Event()) > 0


def test_what_we_ask_a_peer_is_answered_each_time_on_an_association_that_has_one() -> None:
    other = AE("OTHER")
    other.add_supported_context(Verification)
    server = other.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        ours = ApplicationEntity("ISOCENTRE")
        ours.add_requested_context(Verification)
        association: Any = ours.associate("127.0.0.1", server.server_address[1])
        assert isinstance(association._reactor_checkpoint, Checkpoint)
        assert [association.send_c_echo().Status for _ in range(50)] == [0] * 50
        association.release()
        assert association.is_released
    finally:
        server.shutdown()

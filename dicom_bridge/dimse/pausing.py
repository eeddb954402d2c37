"""Pausing: an answer to what we asked a peer goes to who waits for it, and to nobody else.

pynetdicom's reactor of an association stands still while somebody waits for an answer on it. It
says so by a flag that it takes back a moment after it has gone on; who asks in that moment believes
that it stands, and the reactor takes the answer for a request and drops it.

References
----------
* PS3.7 Section 7.2 (who invokes an operation waits for its response)
"""

import threading
from typing import Any, Final

MET_SECONDS: Final = 1.0
"""How long we wait for the reactor to come by; it does every few milliseconds."""


class Checkpoint(threading.Event):
    """Where the reactor stands still: going on and saying so are one."""

    def __init__(self, association: Any) -> None:
        super().__init__()
        self._association = association
        self._passing = threading.Lock()
        self.is_met = threading.Event()
        """The reactor has come by."""
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Stand still as long as it is clear."""
        self.is_met.set()
        while super().wait(timeout):
            with self._passing:
                if self.is_set():
                    # One that has been idle for too long releases the association itself, and
                    # believes for that that it stands still.
                    if not self._association.dul.idle_timer_expired():
                        self._association._is_paused = False
                    return True
        return False

    def clear(self) -> None:
        """Let it stand still from now on: it has gone on before and said so, or does not go on."""
        with self._passing:
            super().clear()


def guarded(association: Any) -> Any:
    """Give an association that we requested its checkpoint, before anything is asked on it."""
    if association.is_established:
        checkpoint = Checkpoint(association)
        association._reactor_checkpoint = checkpoint
        checkpoint.is_met.wait(MET_SECONDS)
    return association

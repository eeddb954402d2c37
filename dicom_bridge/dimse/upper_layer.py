"""Upper layer: pynetdicom's DUL provider, made to sleep until something happens.

The state machine is pynetdicom's own. What changes is how its thread waits (`poll` instead of a
sleep of a millisecond) and, only while an association is established and nobody listens to PDU
events, how P-DATA-TF passes: from the receive buffer to the message without PDU objects, and out
of the calling thread in one write. In every other state the original code runs.

References
----------
* PS3.8 Section 9.2 (State machine), 9.3.5 (P-DATA-TF PDU), Annex E.2 (Message Control Header)
"""

import logging
import queue
import struct
import threading
from collections.abc import Sequence
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ

from dicom_bridge.dimse.transport import BUFFER, MOST_PDU, PDU_HEADER, BufferedSocket
from dicom_bridge.dimse.waking import Waker, WakingQueue, WakingTimer

ESTABLISHED: Final = "Sta6"
IDLE: Final = "Sta1"
P_DATA_TF: Final = 4
PDV_HEADER: Final = struct.Struct(">LBB")
LAST: Final = 2
"""Bit of the Message Control Header: the last fragment."""
UNCONNECTED_SECONDS: Final = 0.05
WATCHED: Final = (evt.EVT_DATA_RECV, evt.EVT_PDU_RECV, evt.EVT_FSM_TRANSITION)
WATCHED_SENDING: Final = (evt.EVT_DATA_SENT, evt.EVT_PDU_SENT, evt.EVT_FSM_TRANSITION)

_log = logging.getLogger(__name__)


class UpperLayer(DULServiceProvider):
    """The DUL provider of one association."""

    socket: BufferedSocket | None

    def __init__(self, assoc: Any) -> None:
        self._wake = Waker()
        self._quit = False
        self.is_done = False
        """The thread has ended, or is about to."""
        self._machine = threading.RLock()
        super().__init__(assoc)
        self.event_queue = WakingQueue(self._wake)
        self.to_provider_queue = WakingQueue(self._wake)
        self.to_user_queue = WakingQueue(assoc.wake)
        self.artim_timer: WakingTimer = WakingTimer(30, self._wake)
        self.daemon = True

    @property
    def assoc(self) -> Any:
        """The association; an `AcceptedAssociation`."""
        return self._assoc

    @property
    def _kill_thread(self) -> bool:
        return self._quit

    @_kill_thread.setter
    def _kill_thread(self, value: bool) -> None:
        self._quit = value
        self._wake()

    def run_reactor(self) -> None:
        """Serve the connection until the association is over."""
        self._idle_timer.start()
        self._wake.open()
        try:
            self.assoc._dul_ready.set()
            while not self._quit:
                self._step()
        except Exception as error:
            # Before there is an association it is what the peer sent; afterwards it is our fault.
            was_established = self.state_machine.current_state == ESTABLISHED
            trace = error if was_established else None
            _log.warning("an association ends: %s", type(error).__name__, exc_info=trace)
            self._fail()
        finally:
            self.is_done = True
            self._wake.close()
            self.assoc.dimse.abandon()
            if self.assoc.requestor.primitive is None:
                self.to_user_queue.put(None)  # nobody need wait for a request that will not come
            self.assoc.wake()

    def stop_dul(self) -> bool:
        """End the thread if the state machine is idle; says whether it did."""
        if self.state_machine.current_state != IDLE:
            return False
        self._kill_thread = True
        if threading.current_thread() is not self and self.is_alive():
            self.join()
        return True

    def send_now(self, buffers: Sequence[bytes | memoryview]) -> bool:
        """Send whole PDUs from the calling thread; False where the state machine must do it."""
        if self._is_watched(WATCHED_SENDING):
            return False
        with self._machine:
            connection = self.socket
            established = self.state_machine.current_state == ESTABLISHED
            if not established or self.to_provider_queue.queue or connection is None:
                return False
            try:
                connection.send_all(buffers)
            except OSError:
                self.event_queue.put("Evt17")
            return True

    def _step(self) -> None:
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        if not self._process_recv_primitive() and self._is_transport_event():
            self._idle_timer.restart()
        try:
            event = self.event_queue.get(block=False)
        except queue.Empty:
            self._sleep()
            return
        with self._machine:
            self.state_machine.do_action(event)
        if event not in ("Evt9", "Evt10"):
            self.assoc.wake()
        if self.state_machine.current_state == IDLE and self.assoc.requestor.primitive is None:
            self.to_user_queue.put(None)  # the peer is gone: nobody need wait for its request

    def _sleep(self) -> None:
        """Sleep until the socket is readable, something is queued, or the ARTIM timer ends."""
        self._wake.armed = True
        try:
            if self._quit or self.event_queue.queue or self.to_provider_queue.queue:
                return
            transport = self.socket
            connection = transport.socket if transport and transport._is_connected else None
            if connection is not None and transport is not None and transport.has_buffered:
                return
            seconds = max(0.0, self.artim_timer.remaining) if self.artim_timer.is_running else None
            if connection is None:
                seconds = min(UNCONNECTED_SECONDS, seconds or UNCONNECTED_SECONDS)
            self._wake.wait(connection, seconds)
        except (OSError, ValueError):
            _log.debug("the socket was closed meanwhile")
        finally:
            self._wake.armed = False

    def _is_transport_event(self) -> bool:
        """Read what came, if anything did.

        In state 13 we wait for the peer to close, as PS3.8 Section 9.2 says, until the ARTIM
        timer ends: closing at once would let it miss our last word.
        """
        connection = self.socket
        if connection is None or not connection.ready:
            return False
        self._read_pdu_data()
        return True

    def _fail(self) -> None:
        abort = A_ABORT_RQ()
        abort.source, abort.reason_diagnostic = 2, 0
        if self.socket is not None and self.socket.socket is not None:
            self.socket.send(abort.encode())
            self.socket.close()
        self.assoc.is_aborted, self.assoc.is_established = True, False
        self.assoc._kill = self._quit = True

    def _read_pdu_data(self) -> None:
        """Read what came: P-DATA from the buffer while established, else the original way."""
        connection = self.socket
        if connection is None:
            return
        established = self.state_machine.current_state == ESTABLISHED
        try:
            header = connection.peek(PDU_HEADER.size)
            if header is not None and PDU_HEADER.unpack(header)[1] > MOST_PDU:
                _log.warning("a PDU of more than %d bytes was announced", MOST_PDU)
                connection.lose_place()
                self.event_queue.put("Evt19")
            elif header is None:
                self.event_queue.put("Evt17")
            elif established and not self._is_watched(WATCHED) and header[0] == P_DATA_TF:
                self._read_messages(connection)
            else:
                super()._read_pdu_data()
        except OSError:
            self.event_queue.put("Evt17")

    def _read_messages(self, connection: BufferedSocket) -> None:
        """Pass on P-DATA-TF PDUs as long as the buffer holds any."""
        while True:
            header = connection.peek(PDU_HEADER.size)
            if header is None:
                self.event_queue.put("Evt17")
                return
            kind, length = PDU_HEADER.unpack(header)
            if kind != P_DATA_TF or length > MOST_PDU:
                return
            connection.skip(PDU_HEADER.size)
            problem = self._read_fragments(connection, length)
            if problem:
                connection.lose_place()
                self.event_queue.put(problem)
                return
            pending = self.event_queue.queue or self.to_provider_queue.queue
            if self._quit or pending or not connection.has_buffered:
                return

    def _read_fragments(self, connection: BufferedSocket, left: int) -> str:
        """Pass on the PDVs of one PDU; an event if the peer is gone or talks nonsense.

        A PDU holds at least one PDV, and a PDV at least its header: what is shorter would have us
        wait for octets that belong to the next one.
        """
        if not left:
            return "Evt19"
        while left:
            if left < PDV_HEADER.size:
                return "Evt19"
            header = connection.peek(PDV_HEADER.size)
            if header is None:
                return "Evt17"
            length, context_id, control = PDV_HEADER.unpack(header)
            left -= 4 + length
            if length < 2 or left < 0:
                return "Evt19"
            connection.skip(PDV_HEADER.size)
            length -= 2
            while True:
                count = min(length, BUFFER)
                fragment = connection.peek(count)
                if fragment is None:
                    return "Evt17"
                length -= count
                whole = control if not length else control & ~LAST
                if not self.assoc.dimse.take(context_id, whole, fragment):
                    return "Evt19"
                connection.skip(count)
                if not length:
                    break
        return ""

    def _is_watched(self, events: Sequence[Any]) -> bool:
        handlers = self.assoc._handlers
        return any(handlers.get(event) for event in events)

"""Association: pynetdicom's acceptor, made to sleep until there is something to do.

References
----------
* PS3.8 Section 7 (OSI Upper Layer Service), 9.1.4 (ARTIM timer)
* PS3.7 Section 7 (Confirmed and notification services)
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from dicom_bridge.dimse import manners
from dicom_bridge.dimse.messages import Messages, StoredInstance, discard
from dicom_bridge.dimse.sending import send_stored
from dicom_bridge.dimse.transport import BufferedSocket
from dicom_bridge.dimse.upper_layer import UpperLayer
from dicom_bridge.dimse.waking import WakingEvent

HANG_UP_SECONDS: Final = 1.0
"""How long a peer has to close its side before we do."""

_log = logging.getLogger(__name__)


class AcceptedAssociation(Association):
    """An association that a peer requested.

    Parameters
    ----------
    ae
        Our AE; its `open_spool` receives stored data sets.
    """

    dul: UpperLayer
    dimse: Messages
    _server: Any

    def __init__(self, ae: Any) -> None:
        self._something = threading.Condition()
        self._dead = self._is_parked = self._is_serving_elsewhere = False
        self._serving = threading.Lock()
        super().__init__(ae, "acceptor")
        self.dul = UpperLayer(self)
        self.dimse = Messages(self, ae.open_spool)
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout
        self._reactor_checkpoint = WakingEvent(self.wake)
        self.daemon = True

    def accept(self, server: Any, connection: BufferedSocket, local: Any, remote: Any) -> None:
        """Take the connection of a peer; as pynetdicom's RequestHandler does."""
        self._server = server
        self.name = f"AcceptorThread@{datetime.now(UTC):%Y%m%d%H%M%S}"
        self.set_socket(connection)
        ae = self.ae
        self.acceptor.maximum_length = ae.maximum_pdu_size
        self.acceptor.ae_title = server.ae_title
        self.acceptor.address_info = local
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        self.acceptor.supported_contexts = server.contexts
        self.requestor.address_info = remote
        for event, handlers in server._handlers.items():
            pairs = [handlers] if event.is_intervention else handlers
            for handler in pairs:
                if handler[0] is not None:
                    self.bind(event, *handler)

    def wake(self) -> None:
        """Let the association's thread look whether there is something to do."""
        with self._something:
            self._something.notify_all()

    def run_reactor(self) -> None:
        """Serve the peer from its request to the end, then give back its place."""
        try:
            super().run_reactor()
        except Exception as error:  # whatever comes of a request for an association that is none
            _log.warning("an association ends: %s", type(error).__name__)
            self.abort()
        finally:
            while self.dimse.msg_queue.queue:
                discard(self.dimse.msg_queue.get()[1])
            self._server.leave(self)

    def kill(self) -> None:
        """End the association's threads; a peer that does not close is hung up on."""
        self._reactor_checkpoint.set()
        self._kill = True
        self.is_established = False
        self._is_paused = True
        since = time.monotonic()
        while self.dul.is_alive() and not self.dul.stop_dul():
            if threading.current_thread() is self.dul:
                return
            if time.monotonic() - since > HANG_UP_SECONDS and self.dul.socket is not None:
                self.dul.socket.hang_up()
            time.sleep(0.005)

    def abort(self, block: bool = True) -> None:
        """Abort; never waits for the thread that would have to do it."""
        super().abort(block and threading.current_thread() is not self.dul)

    def serve_now(self, serve: Callable[[], None]) -> bool:
        """Serve a request in the thread that read it; False if others stand before it."""
        free = (
            self.is_established
            and threading.current_thread() is self.dul
            and not self.dimse.msg_queue.queue
            and self._reactor_checkpoint.is_set()
            and self._serving.acquire(blocking=False)
        )
        if not free:
            return False
        try:
            serve()
        finally:
            self._serving.release()
            if self._has_something_to_do():
                self.wake()
        return True

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Serve a request; whatever becomes of it, the data set it brought is not left behind."""
        try:
            sender = getattr(self, "sender", None)
            if sender is not None and not sender.is_current:
                _log.info("an association ends: its user has to prove anew who it is")
                self.abort()
            elif not msg.is_valid_request:
                _log.warning("an association ends: a message that asks for nothing")
                self.abort()
            elif manners.fits(msg, self._accepted_cx.get(context_id)):
                super()._serve_request(msg, context_id)
            elif isinstance(msg, C_STORE):
                self.dimse.send_msg(manners.refused(msg), context_id)
            else:
                _log.warning("an association ends: a request on another's presentation context")
                self.abort()
        finally:
            discard(msg)

    def send_c_store(
        self,
        dataset: Any,
        msg_id: int = 1,
        priority: int = 2,
        originator_aet: str | None = None,
        originator_id: int | None = None,
    ) -> Dataset:
        """Send an instance on this association, from its file if it is a `StoredInstance`."""
        send = send_stored if isinstance(dataset, StoredInstance) else Association.send_c_store
        return send(self, dataset, msg_id, priority, originator_aet, originator_id)

    def _run_reactor(self) -> None:
        """Serve requests until the association is released, aborted, broken or idle too long."""
        if self.dul.socket is not None:
            self.dul.socket.be_patient(self.network_timeout)
        while not self._kill:
            self._park()
            if not self._reactor_checkpoint.is_set() and not self._kill:
                continue
            self._serve_next()
            if self._is_over():
                self.kill()

    def _park(self) -> None:
        """Wait for something to do; then for whoever uses the association to be done with it."""
        self._is_parked = True
        with self._something:
            while not self._has_something_to_do():
                timer = self.dul._idle_timer
                limit = None if timer.timeout is None else max(0.05, timer.remaining + 0.001)
                self._something.wait(limit)
        self._reactor_checkpoint.wait()
        self._is_parked = False

    def _has_something_to_do(self) -> bool:
        return bool(
            self._kill
            or self.dimse.msg_queue.queue
            or self.dul.to_user_queue.queue
            or self.dul.is_done
            or self._sent_abort
            or (self.dul.idle_timer_expired() and not self._serving.locked())
        )

    def _serve_next(self) -> None:
        with self._serving:
            context_id, message = self.dimse.get_msg(block=False)
            if message is not None:
                self._serve_request(message, int(context_id or 0))

    def _is_over(self) -> bool:
        """Whether the association has ended, and the words that are due then."""
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
            evt.trigger(self, evt.EVT_RELEASED, {})
            return True
        if self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.is_aborted, self.is_established = True, False
            evt.trigger(self, evt.EVT_ABORTED, {})
            return True
        if self.dul.is_done or self._sent_abort:
            return True
        if self.dul.idle_timer_expired() and not self.dimse.msg_queue.queue:
            _log.info("an association was idle for too long")
            self.abort()
            return True
        return False

    @property
    def _kill(self) -> bool:
        return self._dead

    @_kill.setter
    def _kill(self, value: bool) -> None:
        self._dead = value
        self.wake()

    @property
    def _is_paused(self) -> bool:
        """Whether another thread may use the association: ours waits, or is serving a request."""
        return self._is_parked or self._is_serving_elsewhere

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        self._is_serving_elsewhere = value

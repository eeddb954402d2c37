"""Mover: sends what a Task names, and ends the Task when every object of it has arrived.

Each destination is called once at a time. What it took is kept as it takes it, so an attempt goes
on where the one before it ended, whoever ended that. Only what the destination itself says that it
holds has arrived; what has not is tried again after growing pauses, and then the Task has failed
and says what is missing.

References
----------
* R003.2, R012.2, R013.2 of the requirements; docs/adr/0048
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers, retrieve, scu
from dicom_bridge.dimse.calls import Calls
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.holdings import Held
from dicom_bridge.prefetch import ending, manifest, over_dimse, over_http, queue
from dicom_bridge.prefetch.manifest import Share
from dicom_bridge.prefetch.queue import Due
from fhir_server.context import RequestContext, now
from resources import prefetch
from resources.errors import Forbidden, NotFound, Refusal

LOOK_SECONDS: Final = 5.0
"""How often it is looked for Tasks that another process has left."""

_log = logging.getLogger(__name__)


class Mover:
    """Transfers of one process; several may share the work.

    Parameters
    ----------
    fhir_base
        Address of the FHIR root.
    """

    def __init__(self, bridge: Bridge, fhir_base: str) -> None:
        self._bridge = bridge
        self._ending = ending.Ending(bridge, fhir_base)
        self._ae = scu.entity(bridge)
        self._calls = Calls(
            "studies are not sent ahead",
            lambda busy: queue.take(bridge.database, now(), busy),
            self._serve,
            lambda one: one.peer,
            lambda busy: queue.next_due(bridge.database, busy),
            LOOK_SECONDS,
        )

    async def run(self) -> None:
        """Send what is due until cancelled."""
        await self._calls.run()

    def hurry(self) -> None:
        """Look at once."""
        self._calls.hurry()

    async def _serve(self, one: Due) -> None:
        """Do a Task as far as it can be done now."""
        peer = await peers.find(self._bridge.database, one.peer)
        task = await self._ending.begun(one, peer)
        if task is None or peer is None:
            await self._bridge.database.run(queue.DONE, (one.task,))
            return
        outputs: list[Any] = []
        told: list[str] = []
        hopeless = True
        ids = prefetch.studies(task)
        for number, id in enumerate(ids):
            try:
                share = await manifest.share(self._bridge, _reading(peer), id)
            except (NotFound, Forbidden):
                told.append(f"ImagingStudy/{id} is not there for the recipient any more")
                continue
            lacking, failures = await self._bring(one, peer, share, (number, len(ids)))
            context = RequestContext(peer.principal, "prefetch", origin=peer.host)
            await self._ending.note(context, peer, share, lacking)
            if not lacking and not failures:
                versioned = f"ImagingStudy/{id}/_history/{share.study.version}"
                outputs.append(prefetch.delivered(versioned, share.manifest))
            else:
                told += manifest.reasons(share, lacking, failures)
                hopeless = hopeless and manifest.only_refused(failures, lacking)
        if not ids:
            told.append("no study is named")
        if not told:
            await self._ending.completed(one, outputs)
        elif hopeless or one.is_last:
            await self._ending.failed(one, outputs, told)
        else:
            await self._ending.waits(one, told)
            await queue.again(self._bridge.database, one, now())

    async def _bring(
        self, one: Due, peer: Peer, share: Share, place: tuple[int, int]
    ) -> tuple[frozenset[str], dict[str, int]]:
        """Send what a peer lacks of a study; what has not arrived, and what went wrong."""
        failures: dict[str, int] = {}
        link = over_http.client_of() if peer.dicomweb else None
        try:
            held = await self._held(peer, share, link)
            lacks = await manifest.to_send(self._bridge, share, peer, held)
            sent = 0
            for part in manifest.parts(lacks):
                statuses = await self._send(peer, share, part, link)
                pairs = list(zip(part, statuses, strict=True))
                failures |= {each.sop_uid: status for each, status in pairs if _is_wrong(status)}
                taken = [each for each, status in pairs if not _is_wrong(status)]
                await manifest.note(self._bridge, peer, taken)
                await queue.renew(self._bridge.database, one, now())
                sent += len(part)
                done = (place[0] + sent / len(lacks)) / place[1]
                await self._ending.said(one, int(done * 100))
            if lacks:
                held = await self._held(peer, share, link)
                failures = await manifest.still_wrong(self._bridge, failures, held)
        except Refusal as refusal:
            _log.warning("%s is not sent a study: %s", peer.ae, refusal.reason)
            return share.listed, {**failures, "": manifest.BROKEN}
        except Exception:  # whatever a peer does, the Task says that it did not end well
            _log.exception("%s is not sent a study", peer.ae)
            return share.listed, {**failures, "": manifest.BROKEN}
        finally:
            if link is not None:
                link.close()
        return manifest.missing(share, held), failures

    async def _held(self, peer: Peer, share: Share, link: Any) -> set[str]:
        if link is not None:
            return await self._calls.call(over_http.held, link, peer, share.study_uid)
        return await self._calls.call(
            over_dimse.held, self._ae, peer, share.study_uid, share.series
        )

    async def _send(
        self, peer: Peer, share: Share, part: Sequence[Held], link: Any
    ) -> Sequence[int]:
        """Send some objects; the status of each."""
        found = share.found._replace(instances=part)
        try:
            stored = await retrieve.stored(self._bridge, found, None)
        except NotFound:
            if len(part) == 1:
                return [manifest.UNREADABLE]
            return [(await self._send(peer, share, [each], link))[0] for each in part]
        if link is not None:
            return await self._calls.call(over_http.store, link, peer, stored)
        return await self._calls.call(over_dimse.store, self._ae, peer, stored)


def _reading(peer: Peer) -> RequestContext:
    return RequestContext(peer.principal, "read", origin="worker")


def _is_wrong(status: int) -> bool:
    """Whether a status says that an object was not taken (PS3.4 Table B.2-1; B000: a warning)."""
    return status != 0 and status & 0xF000 != scu.WARNING

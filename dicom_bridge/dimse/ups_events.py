"""UPS events over DIMSE: peers that subscribe are called and told, in order, until they have it.

Several processes may share the work: a row is told from under a lease, as subscriptions are. A peer
that cannot be reached is called again and again for about an hour; then what has waited for it is
given up, since a UPS can be asked for (N-GET) and a queue without end helps nobody.

References
----------
* PS3.4 Section CC.2.4 (N-EVENT-REPORT), CC.2.4.3 (SCP behaviour); PS3.7 Section 10.1.1
"""

import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role
from pynetdicom.presentation import build_context

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.calls import Calls
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.ups import EVENT
from dicom_bridge.mapping.return_keys import character_set_for
from dicom_bridge.mapping.ups import PUSH
from dicom_bridge.ups import events
from dicom_bridge.ups.events import Report
from fhir_server.context import now
from resources.errors import Refusal
from subscriptions.events import COLUMNS, Subscriber

LOOK_SECONDS: Final = 0.5
"""How often it is looked for something to tell."""
MOST: Final = 100
"""Events that are told on one association."""
LEASE_SECONDS: Final = 120
BEGIN_SECONDS: Final = 20.0
"""So long after it was taken another report is begun: that may wait a minute for its answer, and
the peer may take its time to pick up and to hang up, before the lease ends."""
SECOND: Final = 1_000_000
RETRIES: Final = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds until a peer that could not be told is called again; after the last it is given up."""
NOT_NOW: Final = frozenset({0x0110, 0x0213})
"""Answers after which it is told again: processing failure, resource limitation (PS3.7 Annex C).
Whatever else a peer says, it has heard, and says the same again."""

_WAITS: Final = ", ".join(str(int(seconds * SECOND)) for seconds in RETRIES)
WAITS: Final = f"""
coalesce(s.lease_until, 0) >= $1 and s.lease_until <= $1 + case
  when s.holder <> '' then {2 * LEASE_SECONDS * SECOND}
  else coalesce((array[{_WAITS}]::bigint[])[s.attempts], 0) end
"""
"""A lease, or a time to try again, that ends later than any can: a clock that was ahead set it."""
CLAIM: Final = f"""
update subscription set lease_until = $2, holder = $3
where id = (
  select s.id from subscription as s
  join peer as p on p.ae = s.endpoint and p.organization = s.organization
  where s.channel = 'ups' and s.status = 'active' and s.events > s.delivered
    and not coalesce({WAITS}, false)
  order by s.lease_until nulls first limit 1 for update of s skip locked
)
returning {COLUMNS}
"""
TOLD: Final = """
update subscription set delivered = greatest(delivered, $3), attempts = 0, lease_until = null,
  holder = '', last_sent = $4, last_error = null
where id = $1 and holder = $2
"""
FAILED: Final = """
update subscription set delivered = greatest(delivered, $3), attempts = attempts + 1,
  lease_until = $4, holder = '', last_error = 'The peer could not be told.'
where id = $1 and holder = $2
"""

_log = logging.getLogger(__name__)


class UpsEvents:
    """Events of one process.

    Parameters
    ----------
    ae
        Our AE, for associations of our own.
    begin_seconds
        How long reports are begun under one lease.
    """

    def __init__(self, bridge: Bridge, ae: Any, begin_seconds: float = BEGIN_SECONDS) -> None:
        self._begin_seconds = begin_seconds
        self._bridge = bridge
        self._ae = ae
        self._holder = secrets.token_hex(8)
        self._calls = Calls(
            "steps are not told of",
            lambda _: self._claimed(),
            self._serve,
            lambda subscriber: subscriber.id,
            _unknown,
            LOOK_SECONDS,
        )

    async def run(self) -> None:
        """Tell what happens until cancelled."""
        await self._calls.run()

    async def work(self, most: int = MOST) -> int:
        """Tell those that there is something for; give how many were told something."""
        count = 0
        for _ in range(most):
            subscriber = await self._claimed()
            if subscriber is None:
                break
            count += await self._serve(subscriber)
        return count

    async def _claimed(self) -> Subscriber | None:
        instant = now()
        values = (instant, instant + LEASE_SECONDS * SECOND, self._holder)
        rows = await self._bridge.database.run(CLAIM, values)
        return Subscriber(*rows[0]) if rows else None

    async def _serve(self, subscriber: Subscriber) -> bool:
        """Tell one peer what has waited for it; whether it has understood what it was told."""
        until = time.monotonic() + self._begin_seconds
        peer = await peers.find(self._bridge.database, subscriber.endpoint)
        waiting = await events.waiting(self._bridge, subscriber, MOST)
        last = waiting[-1].number if waiting else subscriber.events
        due: list[tuple[int, Report]] = []
        for event in waiting:
            made = await events.reports(self._bridge, subscriber, event)
            due += [(event.number, report) for report in made]
        told, has_failed = last, False
        if peer is not None and due:
            reports = [one for _, one in due]
            try:
                number, has_failed = await self._calls.call(self._call, peer, reports, until)
            except (OSError, RuntimeError, ValueError, Refusal) as error:
                _log.warning("%s cannot be told of steps: %s", peer.ae, type(error).__name__)
                number, has_failed = 0, True
            told = last if number == len(due) else due[number][0] - 1
        database, holder = self._bridge.database, self._holder
        if told == last or (told > subscriber.delivered and not has_failed):
            await database.run(TOLD, (subscriber.id, holder, told, now()))
            return True
        if subscriber.attempts >= len(RETRIES):
            _log.error("%s is not told of steps any more", subscriber.endpoint)
            await database.run(TOLD, (subscriber.id, holder, subscriber.events, now()))
            return False
        again = now() + int(RETRIES[subscriber.attempts] * SECOND)
        await database.run(FAILED, (subscriber.id, holder, told, again))
        return False

    def _call(self, peer: Peer, reports: list[Report], until: float) -> tuple[int, bool]:
        """Tell on an association of our own; how many reports were heard, and whether one was not.

        What is not begun in time is told under another lease.
        """
        context = build_context(EVENT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        role = build_role(EVENT, scu_role=True, scp_role=True)
        association = self._ae.call(peer, [context], ext_neg=[role])
        if not association.is_established:
            return 0, True
        count = 0
        try:
            for report in reports:
                if count and time.monotonic() >= until:
                    return count, False
                if not _tell(association, report):
                    return count, True
                count += 1
        finally:
            with suppress(RuntimeError):
                association.release()
        return count, False


async def _unknown(_: Sequence[str]) -> None:
    """Nobody knows when something happens."""


def _tell(association: Any, report: Report) -> bool:
    """Tell one report; whether the peer has heard it."""
    ds = report.information
    if (character_set := character_set_for(ds)) is not None:
        ds.SpecificCharacterSet = character_set
    status, _ = association.send_n_event_report(ds, report.kind, PUSH, report.uid, meta_uid=EVENT)
    answer = getattr(status, "Status", None)
    return answer is not None and answer not in NOT_NOW

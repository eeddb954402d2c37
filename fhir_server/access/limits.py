"""Limits: how much may be asked, by each client for each person, within a time.

Each process counts by itself, in memory and without a question to anybody: a limit is per process.
Three things are counted: requests to FHIR and DICOMweb; lookups of a person that find nobody, which
is what guessing looks like; and what is asked of the authorisation server. That it begins to be too
much is audited, once; that it goes on is not.

RFC 6585 Section 4 (429 Too Many Requests); OWASP ASVS 5.0 V2.4 (anti-automation). The counting is
the generic cell rate algorithm (ITU-T I.371): one number for each asker.
"""

import ipaddress
import math
import time
from collections.abc import Hashable
from typing import Final

from fhir_server.access.principal import Principal
from resources.errors import Throttled

REQUESTS_BURST_SECONDS: Final = 20
"""For so many seconds' worth of requests somebody who was quiet may ask at once."""
QUIET_SECONDS: Final = 60.0
"""After so long without a refusal, the next one begins something new."""
MOST_KNOWN: Final = 50_000
"""Askers remembered; those that have not asked for a while are forgotten first."""


class Rate:
    """So many in a time, and so many at once.

    Parameters
    ----------
    number
        How many; 0 for as many as one likes.
    seconds
        In how long.
    burst
        How many at once after a quiet time.
    """

    def __init__(self, number: int, seconds: float, burst: int) -> None:
        self._each = seconds / number if number else 0.0
        self._slack = self._each * burst
        self._paid: dict[Hashable, float] = {}
        self._refused: dict[Hashable, float] = {}

    def take(self, asker: Hashable) -> None:
        """Count one.

        Raises
        ------
        Throttled
            It is one too many.
        """
        if not self._each:
            return
        at = time.monotonic()
        paid = max(self._paid.get(asker, 0.0), at) + self._each
        if paid - at > self._slack:
            raise self._refusal(asker, at, paid - self._slack - at)
        if len(self._paid) >= MOST_KNOWN:
            self._forget(at)
        self._paid[asker] = paid

    def check(self, asker: Hashable) -> None:
        """Count none, and refuse where one more would be too many."""
        if self._each and (paid := self._paid.get(asker)) is not None:
            at = time.monotonic()
            if (over := paid + self._each - self._slack - at) > 0:
                raise self._refusal(asker, at, over)

    def _refusal(self, asker: Hashable, at: float, wait: float) -> Throttled:
        begins = at - self._refused.get(asker, -math.inf) > QUIET_SECONDS
        if begins and len(self._refused) >= MOST_KNOWN:
            self._refused.clear()
        self._refused[asker] = at
        return Throttled("Too much was asked. Wait, and ask again.", wait, begins=begins)

    def _forget(self, at: float) -> None:
        """Forget who owes nothing; if that is nobody, those that were seen first."""
        owing = {asker: paid for asker, paid in self._paid.items() if paid > at}
        if len(owing) >= MOST_KNOWN:
            owing = dict(list(owing.items())[MOST_KNOWN // 2 :])
        self._paid = owing


class Limits:
    """What is counted in one process.

    Parameters
    ----------
    requests
        Requests to FHIR and DICOMweb a second, of one client for one person.
    lookups
        Lookups of a person that find nobody, a minute, of one client for one person.
    tokens
        Requests to each address of the authorisation server a minute, of one client, and of one
        network address.
    """

    def __init__(self, requests: int = 0, lookups: int = 0, tokens: int = 0) -> None:
        self._requests = Rate(requests, 1, requests * REQUESTS_BURST_SECONDS)
        self._lookups = Rate(lookups, 60, lookups)
        self._tokens = Rate(tokens, 60, tokens)

    def admit(self, principal: Principal) -> None:
        """Count a request.

        Raises
        ------
        Throttled
            It is one too many; so below.
        """
        self._requests.take((principal.client, principal.subject))

    def check_lookup(self, principal: Principal) -> None:
        """Refuse to look for a person where too often nobody was found."""
        self._lookups.check((principal.client, principal.subject))

    def found_nobody(self, principal: Principal) -> None:
        """Count a lookup that found nobody; it is answered all the same."""
        try:
            self._lookups.take((principal.client, principal.subject))
        except Throttled:
            return

    def admit_client(self, at: str, client: str) -> None:
        """Count what a client asks of an address of the authorisation server."""
        self._tokens.take((at, client))

    def admit_address(self, at: str, origin: str) -> None:
        """Count what a network address asks of an address of the authorisation server."""
        self._tokens.take((at, _network(origin)))


def _network(origin: str) -> str:
    """The address, of IPv6 its network: who has one address has all of these.

    Examples
    --------
    >>> _network("192.0.2.7"), _network("2001:db8:1:2:3:4:5:6"), _network("")
    ('192.0.2.7', '2001:db8:1:2::', '')
    """
    if ":" not in origin:
        return origin
    address = ipaddress.IPv6Address(origin.partition("%")[0])
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))

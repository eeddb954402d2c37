"""The syslog feed: every row of the ledger, in order, to a receiver that may be away for a while.

A cursor in the database says how far a receiver has got. It moves when a batch has been taken: over
TCP and TLS we say that we are done and wait for the receiver to close as well, which it does when
it has read all; a reset means that the batch is sent again. So each row is sent at least once, and
in the order of the chain; a receiver knows one again by the id of its AuditEvent, which stands in
the message. UDP has no answer: there a row is sent once.

References
----------
* IHE ITI-20 (Record Audit Event): ATX over TLS and UDP; PRI 85, MSGID ``IHE+RFC-3881``
* RFC 5424 (message), RFC 5425 (TLS), RFC 5426 (UDP), RFC 6587 Section 3.4.1 (TCP, octet counting)
"""

import asyncio
import errno
import fcntl
import logging
import os
import socket
import ssl
import sys
import termios
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from fhir_server.audit import atna, render, seal
from fhir_server.audit.line import Line
from fhir_server.audit.participants import SERVER_HOST
from fhir_server.postgres.database import Database, Transaction
from resources.errors import Invalid, Refusal

PORTS: Final = {"udp": 514, "tcp": 601, "tls": 6514}
"""RFC 5426 Section 3.3, RFC 6587 Section 3.4 (syslog-conn, RFC 3195), RFC 5425 Section 4.1."""

FACILITY: Final = 10
"""Security/authorization messages (ITI-20)."""
SEVERITIES: Final = {"0": 5, "4": 4, "8": 3, "12": 2}
"""AuditEvent.outcome -> severity; ITI-20 wants notice, or warning and worse where that is right."""
MSGID: Final = "IHE+RFC-3881"
APP_NAME: Final = "isocentre"
NIL: Final = "-"

BATCH: Final = 500
"""Rows that are sent before the cursor moves."""
IDLE_SECONDS: Final = 1.0
"""How often it is looked for new rows."""
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""How long a receiver that is away is left alone: the first, second, ... time in a row."""
TIMEOUT_SECONDS: Final = 15.0
"""How long a receiver may take to connect, to read, and to close."""

_log = logging.getLogger(__name__)

_PLACE: Final = "log, xid::text::bigint, n"

BEGIN: Final = """
insert into syslog_cursor(receiver, log, xid, n) values ($1, 0, '0'::xid8, 0) on conflict do nothing
"""
TAKE: Final = f"select {_PLACE} from syslog_cursor where receiver = $1 for update skip locked"
MOVE: Final = "update syslog_cursor set log = $2, xid = $3::text::xid8, n = $4 where receiver = $1"


class Receiver(NamedTuple):
    """Where the feed goes."""

    scheme: str
    host: str
    port: int

    @classmethod
    def read(cls, url: str) -> "Receiver":
        """Read ``tcp://host:port``, ``udp://...`` or ``tls://...``; the port may be left out.

        Examples
        --------
        >>> Receiver.read("tls://audit.example")
        Receiver(scheme='tls', host='audit.example', port=6514)

        Raises
        ------
        Invalid
            It is none of these.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        bare = parts.path in ("", "/") and not parts.query and parts.username is None
        if parts.scheme not in PORTS or not parts.hostname or port == 0 or not bare:
            raise Invalid(
                "A syslog receiver is tcp://host:port, udp://host:port or tls://host:port."
            )
        return cls(parts.scheme, parts.hostname, port or PORTS[parts.scheme])

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def written(line: Line) -> bytes:
    """Write a row of the ledger as a syslog message (RFC 5424 Section 6)."""
    event = render.stored(line).json
    priority = FACILITY * 8 + SEVERITIES.get(str(event.get("outcome")), 5)
    head = (
        f"<{priority}>1 {event['meta']['lastUpdated']} {SERVER_HOST} {APP_NAME}"
        f" {os.getpid()} {MSGID} {NIL} "
    )
    return head.encode() + atna.message(event)


async def follow(database: Database, receiver: Receiver, trusted: str | None = None) -> None:
    """Send every row as soon as it is settled, for ever.

    Parameters
    ----------
    trusted
        PEM file of the certificates that a TLS receiver's is checked with; None: the system's.
    """
    failures = 0
    while True:
        try:
            sent = await feed(database, receiver, trusted)
        except (OSError, Refusal) as error:
            wait = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            failures += 1
            _log.warning("syslog: %s is away: %s", receiver, type(error).__name__)
        except Exception:  # the feed ends with the process, and not before
            wait = RETRY_SECONDS[-1]
            _log.exception("syslog: the feed failed")
        else:
            failures, wait = 0, 0.0 if sent == BATCH else IDLE_SECONDS
        await asyncio.sleep(wait)


async def feed(database: Database, receiver: Receiver, trusted: str | None = None) -> int:
    """Send the next rows and move the cursor; give their number.

    Raises
    ------
    OSError
        The receiver did not take them; the cursor has not moved.
    """
    await database.run(BEGIN, (str(receiver),))
    async with database.transaction() as transaction:
        place = await transaction.run(TAKE, (str(receiver),))
        if not place:  # another worker is at it
            return 0
        rows = await _rows(transaction, place[0])
        if rows:
            messages = [written(Line(row[2], *row[3:])) for row in rows]
            await asyncio.to_thread(send, receiver, messages, trusted)
            log, xid, n = rows[-1][:3]
            await transaction.run(MOVE, (str(receiver), log, str(xid), n))
        return len(rows)


async def _rows(transaction: Transaction, place: Sequence[Any]) -> list[tuple[Any, ...]]:
    log, xid, n = place
    return await transaction.run(seal.UNSEALED, (log, str(xid), n, BATCH))


def send(receiver: Receiver, messages: Iterable[bytes], trusted: str | None = None) -> None:
    """Send messages, and return when the receiver has taken them all.

    Raises
    ------
    OSError
        It cannot be reached, or went away while it was being told.
    """
    if receiver.scheme == "udp":
        _send_datagrams(receiver, messages)
        return
    with ExitStack() as stack:
        line = socket.create_connection((receiver.host, receiver.port), TIMEOUT_SECONDS)
        stack.callback(line.close)
        if receiver.scheme == "tls":
            context = ssl.create_default_context(cafile=trusted)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            line = stack.enter_context(context.wrap_socket(line, server_hostname=receiver.host))
        for message in messages:
            line.sendall(b"%d %b" % (len(message), message))
        _await_close(line)


def _await_close(line: socket.socket) -> None:
    """Say that all is said, and wait until the receiver has heard it."""
    if isinstance(line, ssl.SSLSocket):
        with suppress(ssl.SSLError):  # many close without saying so first; a reset is an OSError
            line.unwrap()
            return
    else:
        line.shutdown(socket.SHUT_WR)
    try:
        while line.recv(4096):
            pass
    except TimeoutError:
        # It does not close before we do. That its system has all of it is all there is to know.
        if int.from_bytes(fcntl.ioctl(line, termios.TIOCOUTQ, bytes(4)), sys.byteorder):
            raise


def _send_datagrams(receiver: Receiver, messages: Iterable[bytes]) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        receiver.host, receiver.port, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind, protocol) as line:
        line.connect(address)
        for message in messages:
            try:
                line.send(message)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                _log.error("syslog: a message of %d octets does not go over UDP", len(message))

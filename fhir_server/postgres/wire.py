"""A wire: one connection to PostgreSQL, driven by the event loop in libpq's pipeline mode.

psycopg connects, adapts values and names errors; the wire only sends and reads. What an exchange
carries (preparing, running, a whole transaction) goes out at once and ends with a sync, so it costs
one round trip however many statements it has. Without ``begin`` an exchange is a transaction of its
own: PostgreSQL commits at the sync what came before it, or undoes all of it.

References
----------
* PostgreSQL documentation: "Pipeline Mode" and "Asynchronous Command Processing" (libpq);
  "Message Flow", "Pipelining"
* epoll(7): an epoll file descriptor is itself pollable; poll(2), "POLLERR"
* psycopg 3 documentation: "psycopg.pq", `psycopg.adapt.Transformer`
"""

import asyncio
import contextlib
import os
import select
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format
from psycopg.pq.abc import PGcancel, PGresult
from psycopg.rows import tuple_row

Row: TypeAlias = tuple[Any, ...]
Statement: TypeAlias = tuple[str, Sequence[Any]]

MOST_PREPARED: Final = 100
"""Statements kept prepared on one connection; the one used longest ago makes room."""

PATIENCE_SECONDS: Final = 45.0
"""How long a database may say nothing at all to who waits; a statement ends before (30 s)."""

Key: TypeAlias = tuple[str, tuple[int, ...]]
_Encoded: TypeAlias = tuple[Key, Sequence[Buffer | None], Sequence[Format]]


class _Exchange:
    """What was sent up to one sync: for each command what it was, and what has come back.

    A command that prepares is noted as the key it prepares, one that runs as True, any other as
    False.
    """

    __slots__ = ("answer", "commands", "error", "rows")

    def __init__(self, answer: "asyncio.Future[list[list[Row]]]") -> None:
        self.answer = answer
        self.commands: deque[Key | bool] = deque()
        self.rows: list[list[Row]] = []
        self.error: Exception | None = None


class Wire:
    """One connection; who has it from the pool has it alone.

    The loop watches an epoll of its own for each socket. A socket that is in error (POLLERR), as
    one whose other side ended without reading all, is shown by uvloop once and never again, even
    if there is more to read; an epoll is readable for as long as there is.

    Parameters
    ----------
    patience
        As `PATIENCE_SECONDS`.
    """

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], patience: float = PATIENCE_SECONDS
    ) -> None:
        self._connection = connection  # it would complain of being forgotten
        self._pgconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._values = Transformer(connection)
        self._prepared: dict[Key, bytes] = {}
        self._names = count()
        self._exchanges: deque[_Exchange] = deque()
        self._writing = False
        self._socket = os.dup(self._pgconn.socket)  # libpq closes its own when it is lost
        self._epoll = select.epoll()
        self._epoll.register(self._socket, select.EPOLLIN)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self.made = self._heard = self._loop.time()
        self._patience = patience
        self._watch: asyncio.TimerHandle | None = None
        self._pgconn.enter_pipeline_mode()
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    async def run(self, statements: Iterable[Statement]) -> list[list[Row]]:
        """Run statements in one exchange, and give the rows of each.

        Whoever stops waiting gives the wire up: it is closed, and the server is told to stop.

        Raises
        ------
        psycopg.Error
            Of the class that the SQLSTATE says. None of the statements has been done, unless the
            connection was lost, after which nobody knows.
        """
        encoded = [self._encoded(sql, params) for sql, params in statements]
        exchange = _Exchange(self._loop.create_future())
        try:
            self._send(exchange, encoded)
            return await exchange.answer
        except asyncio.CancelledError:
            self.give_up()
            raise

    def is_alive(self) -> bool:
        """Whether it can be used: not closed here, nor by the server while nobody used it."""
        if self._socket >= 0 and self._poll.poll(0):
            self._read()
        return self._socket >= 0

    def close(self) -> None:
        """Hang up."""
        self._end(psycopg.OperationalError("the connection was closed"))

    def give_up(self) -> None:
        """Hang up, and have the server stop what it is doing for us."""
        if self._socket < 0:
            return
        cancel = self._pgconn.get_cancel()
        self.close()
        with contextlib.suppress(RuntimeError):  # the loop's threads have been sent home
            self._loop.run_in_executor(None, _cancelled, cancel)

    def _encoded(self, sql: str, params: Sequence[Any]) -> _Encoded:
        values = self._values
        data = values.dump_sequence(params, [PyFormat.AUTO] * len(params))
        return (sql, tuple(values.types or ())), data, values.formats or ()

    def _send(self, exchange: _Exchange, encoded: Iterable[_Encoded]) -> None:
        pgconn, prepared, commands = self._pgconn, self._prepared, exchange.commands
        try:
            for key, data, formats in encoded:
                name = prepared.pop(key, None)
                if name is None:
                    name = b"s%d" % next(self._names)
                    if len(prepared) >= MOST_PREPARED:
                        pgconn.send_close_prepared(prepared.pop(next(iter(prepared))))
                        commands.append(False)
                    pgconn.send_prepare(name, key[0].encode(), key[1])
                    commands.append(key)
                prepared[key] = name
                pgconn.send_query_prepared(name, data, formats, Format.BINARY)
                commands.append(True)
            pgconn.pipeline_sync()
            if not self._exchanges:
                self._heard = self._loop.time()
            self._exchanges.append(exchange)
            self._write()
            if self._watch is None and self._socket >= 0:
                self._watch = self._loop.call_later(self._patience, self._look)
        except psycopg.OperationalError as error:
            self._end(error)
            if not exchange.answer.done():
                exchange.answer.set_exception(error)

    def _write(self) -> None:
        """Send what libpq holds, the rest as soon as the socket takes it."""
        try:
            left = self._pgconn.flush()
        except psycopg.OperationalError as error:
            self._end(error)
            return
        if bool(left) is not self._writing:
            self._writing = bool(left)
            wanted = select.EPOLLIN | select.EPOLLOUT if left else select.EPOLLIN
            self._epoll.modify(self._socket, wanted)

    def _ready(self) -> None:
        self._read()
        if self._writing and self._socket >= 0:
            self._write()

    def _read(self) -> None:
        """Take what has come. The socket is readable, or the server is gone."""
        pgconn = self._pgconn
        self._heard = self._loop.time()
        try:
            pgconn.consume_input()
            while self._exchanges and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is not None:
                    self._take(result)
                elif pgconn.status == ConnStatus.BAD:
                    raise psycopg.OperationalError("the connection was lost")
        except psycopg.OperationalError as error:
            self._end(error)

    def _look(self) -> None:
        """Give a database up that hangs: whoever waits is told, and the connection is replaced."""
        self._watch = None
        if not self._exchanges:
            return
        left = self._heard + self._patience - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._end(psycopg.OperationalError("the database does not answer"))

    def _take(self, result: PGresult) -> None:
        exchange, status = self._exchanges[0], result.status
        if status == ExecStatus.PIPELINE_SYNC:
            self._exchanges.popleft()
            if exchange.answer.done():
                return
            if exchange.error is not None:
                exchange.answer.set_exception(exchange.error)
            else:
                exchange.answer.set_result(exchange.rows)
            return
        command = exchange.commands.popleft() if exchange.commands else False
        if status == ExecStatus.TUPLES_OK:
            try:
                self._values.set_pgresult(result, format=Format.BINARY)
                exchange.rows.append(self._values.load_rows(0, result.ntuples, tuple))
            except Exception as error:  # a value that cannot be read: its asker's, not the wire's
                exchange.error = exchange.error or error
        elif status == ExecStatus.COMMAND_OK:
            if command is True:
                exchange.rows.append([])
        else:
            if isinstance(command, tuple):
                self._prepared.pop(command, None)
            if status != ExecStatus.PIPELINE_ABORTED and exchange.error is None:
                exchange.error = named(result)

    def _end(self, error: Exception) -> None:
        """Close, and tell who still waits."""
        if self._socket < 0:
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        if self._watch is not None:
            self._watch.cancel()
        os.close(self._socket)
        self._socket = -1
        self._pgconn.finish()
        for exchange in self._exchanges:
            if not exchange.answer.done():
                exchange.answer.set_exception(exchange.error or error)
        self._exchanges.clear()


def named(result: PGresult) -> Exception:
    """Name an error. What has no SQLSTATE is said by libpq itself: the connection was lost."""
    if result.error_field(DiagnosticField.SQLSTATE) is None:
        return psycopg.OperationalError("the connection was lost")
    return errors.error_from_result(result)


def _cancelled(cancel: PGcancel) -> None:
    with contextlib.suppress(psycopg.Error):
        cancel.cancel()


async def connected(url: str, **how: Any) -> psycopg.AsyncConnection[Any]:
    """Connect as psycopg does; the connection is then to be made a `Wire`."""
    return await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=tuple_row, **how)

"""A line to the database for threads: whoever runs a statement waits for it where they are.

The pool belongs to the event loop. A thread that only waits for one statement would go there and
back for it, which costs more than the statement; it takes a line of its own instead, one thread at
a time. As on a `Wire`, psycopg connects, adapts values and names errors, and what is sent goes out
in libpq's pipeline mode.

References
----------
* PostgreSQL documentation: "Pipeline Mode" and "Asynchronous Command Processing" (libpq)
"""

import select
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.rows import TupleRow

from fhir_server.postgres import database
from fhir_server.postgres.database import Row, as_refusal
from fhir_server.postgres.wire import Key, named

CONNECT_SECONDS: Final = 5
PATIENCE_SECONDS: Final = database.STATEMENT_SECONDS + 15.0
"""How long a database may say nothing at all before the line to it is given up."""


class Line:
    """One connection, made when it is first used and again when it was lost.

    Parameters
    ----------
    url
        As libpq takes it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[TupleRow] | None = None
        self._prepared: dict[Key, bytes] = {}
        self._names = count()

    def run(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run one statement in a transaction of its own; what it wrote is durable on return.

        Raises
        ------
        Exhausted
            The database is away, full or too slow.
        """
        with as_refusal():
            self._connect()
            try:
                return self._run(sql, params)
            except psycopg.OperationalError:
                self.close()
                raise

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._prepared.clear()

    def _run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        values, line = self._values, self._pgconn
        data = values.dump_sequence(params, [PyFormat.AUTO] * len(params))
        key = (sql, tuple(values.types or ()))
        name = self._prepared.get(key)
        if name is None:
            name = b"s%d" % next(self._names)
            line.send_prepare(name, sql.encode(), key[1])
        line.send_query_prepared(name, data, values.formats or (), Format.BINARY)
        line.pipeline_sync()
        while line.flush():
            self._wait(select.POLLIN | select.POLLOUT)
        rows = self._received()
        self._prepared[key] = name
        return rows

    def _received(self) -> list[Row]:
        """Read all answers up to the sync; the rows of the one that has any."""
        line, rows = self._pgconn, list[Row]()
        error: Exception | None = None
        while True:
            while line.is_busy():
                self._wait(select.POLLIN)
            result = line.get_result()
            if result is None:
                if line.status == ConnStatus.BAD:
                    raise psycopg.OperationalError("the connection was lost")
            elif result.status == ExecStatus.PIPELINE_SYNC:
                break
            elif result.status == ExecStatus.TUPLES_OK:
                try:
                    self._values.set_pgresult(result, format=Format.BINARY)
                    rows = self._values.load_rows(0, result.ntuples, tuple)
                except Exception as unreadable:  # what comes behind it is still to be read
                    error = error or unreadable
            elif result.status not in (ExecStatus.COMMAND_OK, ExecStatus.PIPELINE_ABORTED):
                error = error or named(result)
        if error is not None:
            raise error
        return rows

    def _wait(self, wanted: int) -> None:
        """Wait until the socket is ready for it, and take what has come."""
        self._poll.modify(self._pgconn.socket, wanted)
        found = self._poll.poll(PATIENCE_SECONDS * 1000)
        if not found:
            raise psycopg.OperationalError("the database does not answer")
        if found[0][1] & ~select.POLLOUT:
            self._pgconn.consume_input()

    def _connect(self) -> None:
        if self._connection is None or self._has_ended():
            self.close()
            made = psycopg.Connection.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                options=database.OPTIONS,
                application_name="isocentre",
            )
            database.adapt(made)
            self._connection, self._pgconn = made, made.pgconn
            self._values = Transformer(made)
            self._poll = select.poll()
            self._poll.register(made.pgconn.socket, select.POLLIN)
            self._pgconn.enter_pipeline_mode()

    def _has_ended(self) -> bool:
        """Whether the other side closed it: then there is something to read while it is idle."""
        self._poll.modify(self._pgconn.socket, select.POLLIN)
        return bool(self._poll.poll(0))

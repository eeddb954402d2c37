"""A line to the database for threads: whoever runs a statement waits for it where they are.

The pool belongs to the event loop. A thread that only waits for one statement would go there and
back for it, which costs more than the statement; it takes a line of its own instead, one thread at
a time.

References
----------
* psycopg 3 documentation: "Connection classes", `Connection.wait`
* PostgreSQL documentation: "Asynchronous Command Processing"
"""

import select
from collections.abc import Generator, Sequence
from typing import Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from fhir_server.postgres import database
from fhir_server.postgres.database import Row, as_refusal

CONNECT_SECONDS: Final = 5
PATIENCE_SECONDS: Final = database.STATEMENT_SECONDS + 15.0
"""How long a database may say nothing at all before the line to it is given up."""
LOOK_SECONDS: Final = 1.0

Answer = TypeVar("Answer")


class _Connection(psycopg.Connection[Row]):
    """A connection that does not wait for ever for a database that hangs."""

    def wait(
        self,
        gen: Generator[Any, Any, Answer],
        interval: float = LOOK_SECONDS,
        timeout: float | None = None,
    ) -> Answer:
        """Go through what libpq waits for."""
        return super().wait(gen, interval, timeout or PATIENCE_SECONDS)


class Line:
    """One connection, made when it is first used and again when it was lost.

    Parameters
    ----------
    url
        As libpq takes it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: _Connection | None = None

    def run(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run one statement in a transaction of its own; what it wrote is durable on return.

        Raises
        ------
        Exhausted
            The database is away, full or too slow.
        """
        with as_refusal():
            connection = self._connected()
            try:
                cursor = connection.cursor(binary=True).execute(sql, params)
                return cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    connection.close()
                    raise psycopg.OperationalError("the database does not answer") from error
                raise

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> _Connection:
        if self._connection is None or _has_ended(self._connection):
            self.close()
            made = _Connection.connect(
                self._url,
                autocommit=True,
                prepare_threshold=0,
                cursor_factory=psycopg.RawCursor,
                connect_timeout=CONNECT_SECONDS,
                options=database.OPTIONS,
                application_name="isocentre",
            )
            database.adapt(made)
            self._connection = made
        return self._connection


def _has_ended(connection: _Connection) -> bool:
    """Whether it was closed, here or there: then there is something to read while it is idle."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))

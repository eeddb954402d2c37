"""The pool: one PostgreSQL, statements prepared once, rows as plain tuples.

Statements are SQL text with ``$1`` placeholders, kept as constants in the modules that own
them. The first use on a connection prepares a statement; later uses only bind values. Nothing
else knows the database URL.

Integers travel as ``bigint`` and bytes as they are. `Texts`, `Integers` and `Blobs` are arrays
for ``unnest``: what one statement writes for many requests.

References
----------
* PostgreSQL documentation: "Extended Query", "Client Connection Defaults"
* psycopg 3 documentation: "Prepared statements", "Connection pools"
"""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from struct import Struct
from typing import Any, ClassVar, Final

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from fhir_server.postgres.wire import Row as Row
from fhir_server.postgres.wire import Statement as Statement
from fhir_server.postgres.wire import Wire, connected
from fhir_server.postgres.wires import Wires
from resources.errors import Exhausted

STATEMENT_SECONDS: Final = 30
"""No statement runs longer; a waiting request is told that there is no room."""

WAIT_SECONDS: Final = 4
"""Nobody waits longer for a connection: a caller that is told so soon can come back."""

OPEN_SECONDS: Final = 10
"""How long the database may take to answer when we start."""

IDLE_SECONDS: Final = 60
"""No transaction stays open longer without a statement: it would hold back those who follow."""

UNABLE: Final = (
    psycopg.OperationalError,
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.UndefinedTable,
    errors.InvalidCatalogName,
    errors.IdleInTransactionSessionTimeout,
    errors.DataCorrupted,
)
"""What says that the database cannot do its work, whatever was asked: nobody's request is at fault,
and it may be asked again when an operator has seen to it."""

OPTIONS: Final = (
    f"-c statement_timeout={STATEMENT_SECONDS}s"
    f" -c idle_in_transaction_session_timeout={IDLE_SECONDS}s -c timezone=UTC"
)

_log = logging.getLogger(__name__)


class Texts(list[str | None]):
    """A ``text[]`` parameter."""


class Integers(list[int | None]):
    """A ``bigint[]`` parameter."""


class Blobs(list[bytes | None]):
    """A ``bytea[]`` parameter."""


def unnest(*kinds: str, first: int = 1) -> str:
    """Write the ``unnest(...)`` of array parameters of these types, from number `first` on.

    Each parameter is behind a ``select``, which hides the number of its elements from the planner.
    A plan for just these values would seem cheaper than the one that serves all, and the statement
    would be planned anew each time, which takes longer than to run it.

    Examples
    --------
    >>> unnest("text[]", "bigint[]")
    'unnest((select $1::text[]), (select $2::bigint[]))'
    """
    return f"unnest({', '.join(f'(select ${first + i}::{kind})' for i, kind in enumerate(kinds))})"


class Database:
    """One PostgreSQL database and the connections to it.

    Parameters
    ----------
    url
        As libpq takes it: ``postgresql://user@host/name?...``.
    size
        Most connections held open.
    """

    def __init__(self, url: str, *, size: int = 10) -> None:
        self.url = url
        self.size = size
        self._wires = Wires(self._connected, size, WAIT_SECONDS)

    async def open(self, within_seconds: float = OPEN_SECONDS) -> None:
        """Connect, or raise `Exhausted` when the database does not answer in time."""
        with as_refusal():
            self._wires.give(await self._wires.take(within_seconds))

    async def close(self) -> None:
        """Close every connection, those in use as soon as they come back."""
        self._wires.close()

    async def run(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run one statement in a transaction of its own; what it wrote is durable on return.

        Raises
        ------
        Exhausted
            The database is away, full or too slow.
        """
        with as_refusal():
            wire = await self._wires.take()
            try:
                return (await wire.run(((sql, params),)))[0]
            finally:
                self._wires.give(wire)

    async def run_all(self, statements: Iterable[Statement]) -> None:
        """Run statements as one transaction and with one round trip; nobody needs their rows."""
        with as_refusal():
            wire = await self._wires.take()
            try:
                await wire.run(statements)
            finally:
                self._wires.give(wire)

    @asynccontextmanager
    async def transaction(self) -> "AsyncIterator[Transaction]":
        """Run several statements as one; READ COMMITTED. An exception undoes them all."""
        with as_refusal():
            wire = await self._wires.take()
            transaction = Transaction(wire)
            try:
                yield transaction
                await transaction.end(_COMMIT)
            except BaseException:
                await transaction.end(_ROLLBACK)
                raise
            finally:
                self._wires.give(wire)

    async def _connected(self) -> Wire:
        connection = await connected(self.url, options=OPTIONS, application_name="isocentre")
        adapt(connection)
        return Wire(connection)


class Transaction:
    """Statements of one transaction, which begins with the first of them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._open = False

    async def run(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; what it wrote is durable when the transaction's block is left."""
        return (await self._run([(sql, params)]))[-1]

    async def run_all(self, statements: Iterable[Statement]) -> None:
        """Run statements whose rows nobody needs, with one round trip for all of them."""
        await self._run(list(statements))

    async def end(self, how: Statement) -> None:
        """Commit or undo what was done, if anything was."""
        if self._open:
            self._open = False
            if self._wire.is_alive():
                await self._wire.run((how,))
            elif how is _COMMIT:
                raise psycopg.OperationalError("the connection was lost before the commit")

    async def _run(self, statements: list[Statement]) -> list[list[Row]]:
        if not self._open:
            self._open = True
            statements.insert(0, _BEGIN)
        return await self._wire.run(statements)


class as_refusal:  # noqa: N801 - reads as a clause
    """Turn "the database is away, full or too slow" into `Exhausted`, and log the cause."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UNABLE):
            _log.error("database: %s", error)
            raise Exhausted("The database cannot do this now; try again later.") from error


class _BigintDumper(Dumper):
    """Every int as bigint, so that one statement is prepared once and not once a magnitude."""

    format = Format.BINARY
    oid = psycopg.adapters.types["int8"].oid

    def dump(self, obj: int) -> Buffer:
        return _INT8.pack(obj)


class _ArrayDumper(Dumper):
    """A one-dimensional array in binary: dimensions, flags, element type; then the elements."""

    format = Format.BINARY
    element: ClassVar[str]
    element_oid: ClassVar[int]

    def __init_subclass__(cls) -> None:
        info = psycopg.adapters.types[cls.element]
        cls.element_oid = info.oid
        cls.oid = info.array_oid

    def joined(self, values: Sequence[bytes | None]) -> bytes:
        """Put elements, each in binary, together."""
        if not values:
            return _HEADER.pack(0, 0, self.element_oid)
        length = _LENGTH.pack
        parts = [
            _HEADER.pack(1, int(None in values), self.element_oid),
            _BOUNDS.pack(len(values), 1),
        ]
        for each in values:
            if each is None:
                parts.append(_NULL)
            else:
                parts.append(length(len(each)))
                parts.append(each)
        return b"".join(parts)


class _TextsDumper(_ArrayDumper):
    element = "text"

    def dump(self, obj: Sequence[str | None]) -> Buffer:
        return self.joined([None if value is None else value.encode() for value in obj])


class _IntegersDumper(_ArrayDumper):
    element = "int8"

    def dump(self, obj: Sequence[int | None]) -> Buffer:
        if not obj or len(obj) > _FEW or None in obj:
            return self.joined([None if value is None else _INT8.pack(value) for value in obj])
        elements = [8] * (2 * len(obj))
        elements[1::2] = obj  # type: ignore[assignment]
        return _few(len(obj)).pack(1, 0, self.element_oid, len(obj), 1, *elements)


class _BlobsDumper(_ArrayDumper):
    element = "bytea"

    def dump(self, obj: Sequence[bytes | None]) -> Buffer:
        return self.joined(obj)


@cache
def _few(number: int) -> Struct:
    """Lay out an array of so many integers, none of them null."""
    return Struct("!iiIii" + "iq" * number)


_BEGIN: Final[Statement] = ("begin", ())
_COMMIT: Final[Statement] = ("commit", ())
_ROLLBACK: Final[Statement] = ("rollback", ())

_HEADER: Final = Struct("!iiI")
_BOUNDS: Final = Struct("!ii")
_LENGTH: Final = Struct("!i")
_INT8: Final = Struct("!q")
_NULL: Final = _LENGTH.pack(-1)

_FEW: Final = 64
"""Elements of an array that is laid out as a whole."""


def adapt(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Have a connection take parameters as this module says."""
    connection.adapters.register_dumper(int, _BigintDumper)
    connection.adapters.register_dumper(Texts, _TextsDumper)
    connection.adapters.register_dumper(Integers, _IntegersDumper)
    connection.adapters.register_dumper(Blobs, _BlobsDumper)

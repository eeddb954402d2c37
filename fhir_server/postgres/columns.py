"""Column types that the tables of every package share."""

from typing import Final

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType


class KeyText(Text):
    """Text that is a key or part of one: compared byte by byte."""

    def __init__(self, length: int | None = None, collation: str = "C") -> None:
        super().__init__(length, collation)


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id: it does not start again while a cluster lives."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The name of the type in DDL."""
        return "xid8"


ischema_names.setdefault("xid8", Xid8)

BY_MONTH: Final[dict[str, str]] = {"postgresql_partition_by": "RANGE (instant)"}
"""Partitioned by month of the instant, and a default partition: see `partitions`."""

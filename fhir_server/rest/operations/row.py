"""What a row of the table of operations says.

References
----------
* FHIR R4 OperationDefinition: name, system, type, instance, parameter
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given


class Result(NamedTuple):
    """An answer, and what the ledger is told of it: about whom it was, how much it gave."""

    answer: Answer
    patient: str | None = None
    hits: int | None = None


class Taken(NamedTuple):
    """One parameter that an operation takes or gives: its FHIR type, how often it may be there.

    One that is made of parts has no type.
    """

    name: str
    type: str
    min: int = 0
    max: str = "1"
    parts: "tuple[Taken, ...]" = ()


class Operation(NamedTuple):
    """One operation.

    Parameters
    ----------
    levels
        Some of ``system``, ``type``, ``instance``.
    types
        The resource types it is for; None for all, or for the system alone.
    needs
        Letter and type that the gate is asked for before it begins; the type may be ``*``, for the
        one that the address names.
    definition
        Canonical URL of its OperationDefinition.
    formats
        Names of media types that it also answers in, beside FHIR JSON.
    gives
        What comes out; one parameter ``return`` is the answer itself.
    affects_state
        It writes, and is asked for with POST alone.
    use
        What it looks at the record for: a key of `access.roles.USES`.
    """

    name: str
    levels: tuple[str, ...]
    types: frozenset[str] | None
    needs: tuple[str, str] | None
    takes: tuple[Taken, ...]
    answer: Callable[[Server, Request, Given], Awaitable[Result]]
    definition: str
    title: str
    formats: frozenset[str] = frozenset()
    gives: tuple[Taken, ...] = ()
    affects_state: bool = False
    use: str = ""

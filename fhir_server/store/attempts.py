"""Attempts: what was asked of the store and refused, told to the ledger.

References
----------
* IHE BALP: a refusal is recorded too
* FHIR Security, "Access Denied Response Handling": 404 keeps the existence private
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from resources.errors import Exhausted, Forbidden, NotFound, Refusal


class Attempts:
    """The way to note an attempt that failed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @asynccontextmanager
    async def noted(
        self, context: RequestContext, type: str | None, id: str | None, version: int | None = None
    ) -> AsyncIterator[None]:
        """Leave an audit row for a refusal inside, and hide what the asker may not know of."""
        try:
            yield
        except Exception as error:
            await self.note(context, error, type, id, version)
            if isinstance(error, Forbidden) and error.step == "relationship":
                raise NotFound(f"There is no {type}/{id}.") from error
            raise

    async def note(
        self,
        context: RequestContext,
        error: Exception,
        type: str | None,
        id: str | None,
        version: int | None = None,
    ) -> None:
        """Tell the ledger of an attempt that failed, and why.

        Where the ledger cannot be reached, the first error is still the one to be told.
        """
        cause = error.__cause__ if isinstance(error.__cause__, Forbidden) else error
        step = cause.step if isinstance(cause, Forbidden) else ""
        refused = isinstance(error, Refusal)
        with suppress(Exhausted):
            await self._ledger.append(
                ledger.entry(
                    context,
                    outcome=ledger.MINOR_FAILURE if refused else ledger.SERIOUS_FAILURE,
                    type=type,
                    id=id,
                    version=version,
                    detail=f"{cause.__class__.__name__} {step}".strip(),
                )
            )

"""batch and transaction: many interactions in one Bundle (FHIR http, "batch/transaction")."""

import asyncio
from dataclasses import replace
from typing import Final

from fhir_server.rest import entries, negotiate
from fhir_server.rest.batch import batch
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.incoming import LONG, require_type
from fhir_server.rest.transaction import transaction
from resources import content
from resources.errors import Invalid

KINDS: Final = {"batch": batch, "transaction": transaction}

MOST_ENTRIES: Final = 5000
"""Entries of one Bundle."""


async def bundle(server: Server, request: Request) -> Answer:
    """Answer a Bundle of type batch or transaction."""
    negotiate.check_content(request.headers.get("content-type"))
    if len(request.body) >= LONG:
        kind, listed = await asyncio.to_thread(opened, request.body)
    else:
        kind, listed = opened(request.body)
    request.context = replace(request.context, interaction=kind)
    return await KINDS[kind](server, request, listed)


def opened(raw: bytes) -> tuple[str, list[entries.Entry]]:
    """Read a Bundle: its kind and its entries, whose resources are not checked yet."""
    read = content.read(raw)
    require_type(read, "Bundle")
    kind = read.json.get("type")
    if kind not in ("batch", "transaction"):
        raise Invalid("A batch or a transaction is answered here.", "Bundle.type", code="value")
    listed = entries.read(read)
    if len(listed) > MOST_ENTRIES:
        raise Invalid(
            f"A Bundle may have {MOST_ENTRIES} entries.", "Bundle.entry", code="too-costly"
        )
    return kind, listed

"""batch: each entry is answered as if it had come by itself (FHIR http, "batch/transaction").

"For a batch, there SHALL be no interdependencies between the different entries": so a few are
under way at the same time, and each is a unit of work of its own.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from fhir_server.rest import bundles, outcomes
from fhir_server.rest.entries import Entry
from fhir_server.rest.exchange import Answer, Request, Server
from resources.errors import Refusal, Unsupported

AT_ONCE: Final = 8
"""Entries of one batch under way at the same time."""


async def batch(server: Server, request: Request, listed: Sequence[Entry]) -> Answer:
    """Answer every entry, in the order of the request; the whole is 200 whatever they say."""
    answers: list[bytes] = [b""] * len(listed)
    waiting = iter(enumerate(listed))

    async def work() -> None:
        for position, entry in waiting:
            answers[position] = bundles.response(await _answer(server, request, entry))
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(listed)))))
    return Answer(200, bundles.bundle(b"batch-response", answers))


async def _answer(server: Server, request: Request, entry: Entry) -> Answer:
    try:
        method, url = entry.asked(server.base_url)
        address, _, query = url.partition("?")
        if method == "POST" and not address.strip("/"):
            raise Unsupported("A batch within a batch is not answered.", f"{entry.at}.request.url")
    except Refusal as refusal:
        return outcomes.answer(refusal)
    return await server.dispatch(server, entry.as_request(request, method, query), address)

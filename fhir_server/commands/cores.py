"""Cores: everything wired, for the commands that ask the store."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fhir_server import installation
from fhir_server.core import Core, opened
from fhir_server.settings import Settings

Answer = TypeVar("Answer")


def with_core(settings: Settings, work: Callable[[Core], Awaitable[Answer]]) -> Answer:
    """Do something with the record of the data folder, brought to the present schema."""

    async def run(url: str) -> Answer:
        async with opened(settings, url) as core:
            return await work(core)

    with installation.migrated(settings) as url:
        return asyncio.run(run(url))

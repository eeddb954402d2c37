"""Portal: the one bridge from association threads to the event loop."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from resources.errors import Exhausted

Answer = TypeVar("Answer")

PATIENCE_SECONDS: Final = 60.0
"""How long an association thread waits for the core; a peer waits no longer either."""


class Portal:
    """Where association threads hand a coroutine to the loop and wait for what it answers.

    Parameters
    ----------
    loop
        The running loop of the process, on which the database lives.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def call(
        self, coroutine: Coroutine[Any, Any, Answer], patience_seconds: float = PATIENCE_SECONDS
    ) -> Answer:
        """Run a coroutine on the loop, from another thread, and wait for it.

        Raises
        ------
        Exhausted
            It took too long, or the server is stopping.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError as error:
            coroutine.close()
            raise Exhausted("the server is stopping") from error
        try:
            return future.result(patience_seconds)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError) as error:
            future.cancel()
            raise Exhausted("the server is busy") from error

    def tell(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine on the loop, from another thread, and do not wait."""
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()

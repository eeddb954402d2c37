"""Work: what the worker does about prefetch: it plans as things change, and sends what is due.

References
----------
* R003.3 of the requirements: as soon as practicable after scheduling
"""

import asyncio
import logging
from typing import Final

from dicom_bridge.bridge import Bridge
from dicom_bridge.prefetch.mover import Mover
from dicom_bridge.prefetch.planning import Planner
from resources import priors
from resources.errors import Refusal
from resources.priors import Rules

LOOK_SECONDS: Final = 1.0
"""How often it is looked for what was scheduled."""

_log = logging.getLogger(__name__)


class Prefetch:
    """Planner and mover of one process; several may share the work.

    Parameters
    ----------
    fhir_base
        Address of the FHIR root.
    rules
        Which priors matter.
    """

    def __init__(self, bridge: Bridge, fhir_base: str, rules: Rules = priors.DEFAULT) -> None:
        self._planner = Planner(bridge, fhir_base, rules)
        self._mover = Mover(bridge, fhir_base)

    async def run(self) -> None:
        """Plan and send until cancelled."""
        moving = asyncio.create_task(self._mover.run())
        try:
            while True:
                if await self._plan():
                    self._mover.hurry()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            moving.cancel()

    async def _plan(self) -> int:
        try:
            return await self._planner.work()
        except Refusal as refusal:
            _log.warning("nothing is prefetched: %s", refusal.reason)
        except Exception:  # whatever comes of one look, there is another
            _log.exception("nothing is prefetched")
        return 0

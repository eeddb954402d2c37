"""RequestContext: who asks, what for, from where and when. Nothing is done without one."""

import time
import uuid
from dataclasses import dataclass, field

from fhir_server.access.principal import Principal


def now() -> int:
    """The present instant in microseconds since 1970 UTC, whole milliseconds."""
    return time.time_ns() // 1_000_000 * 1000


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request of one principal.

    Parameters
    ----------
    principal
        Who is asking.
    interaction
        What for, as a key of `audit.events.EVENTS`: ``read``, ``create``, ``C-STORE``, ...
    origin
        Network address of the caller, or the name of the process for the server's own work.
    request_id
        X-Request-Id of the caller if it sent one, else ours.
    instant
        Microseconds since 1970 UTC; taken once, the `lastUpdated` of all that is written.
    use
        What an operation looks at the record for, as a key of `access.roles.USES`; empty: to show
        it to who asks.
    """

    principal: Principal
    interaction: str
    origin: str = ""
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    instant: int = field(default_factory=now)
    use: str = ""

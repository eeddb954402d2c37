"""Bridge: what every way in and out of DICOM works with, put together once by `main`."""

from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from dicom_bridge.blobs import Blobs
from dicom_bridge.counting import Counting
from dicom_bridge.intake import Intake
from dicom_bridge.pixels.crew import Crew
from dicom_bridge.quiet import Quiet
from dicom_bridge.tls import Files
from fhir_server.audit.ledger import Ledger
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store


@dataclass
class Bridge:
    """The store, the blobs, and what is under way between them.

    Parameters
    ----------
    executor
        Where DICOM JSON is made; None: threads of the loop.
    ae_title
        Our own AE title.
    tls
        With what peers are met over TLS; None: they are not.
    identify
        Says who somebody is who gives a login and a passcode, or a token (`dimse.identity`); None:
        whoever associates is only the peer.
    """

    database: Database
    store: Store
    ledger: Ledger
    blobs: Blobs
    ae_title: str = "ISOCENTRE"
    executor: Executor | None = None
    tls: Files | None = None
    identify: Callable[[str, str, str, str], Coroutine[Any, Any, Any]] | None = None
    counting: Counting = field(default_factory=Counting)
    crew: Crew = field(default_factory=Crew)
    intake: Intake = field(init=False)
    quiet: Quiet = field(init=False)

    def __post_init__(self) -> None:
        self.intake = Intake(self.database)
        self.quiet = Quiet()

"""What must hold: the bars each measurement is compared with.

FHIR: Medplum 5 on a two-core machine like this one, client included (requests per second, and CPU
milliseconds of server and database per request), measured earlier, so a ratio's digits are not to
be quoted across machines. DICOM: Orthanc, measured in the same minute where it is installed.
"""

from typing import NamedTuple


class FhirBar(NamedTuple):
    """Medplum's rate and CPU for a work, and how many times its rate must be reached.

    The bar for CPU is half of Medplum's for every work.
    """

    per_second: float
    cpu_ms: float
    times: float


FHIR = {
    "read":      FhirBar(3200, 0.46, 1.2),
    "search":    FhirBar( 690, 2.25, 2.0),
    "include":   FhirBar( 845, 1.88, 2.0),
    "create_sr": FhirBar( 577, 2.55, 3.0),
    "create_is": FhirBar( 397, 4.45, 3.0),
    "tx4":       FhirBar(28.8, 53.0, 4.0),
    "tx16":      FhirBar(34.8, 53.0, 4.0),
}  # fmt: skip

DICOM = {
    "c-store ct over 4 associations": 1.0,
    "c-store cr": 1.5,
    "c-get 200 ct": 0.6,
    "qido 50 studies": 5.0,
    "metadata of 200 instances": 5.0,
    "frame": 1.0,
    "rendered frame": 1.0,
    "whole study": 1.0,
}
"""Times Orthanc (index on SQLite, TCP_NODELAY=1)."""

FIND_MS = 5
"""A C-FIND that answers two rows."""

IDLE_SHARE = 0.02
"""Of a core, for 200 associations on which nothing happens."""

MEMORY_MB = 400
"""Each role under load stays below this."""

"""What a child that decodes pixels may take, and what it may answer with beside pictures."""

from collections.abc import Mapping
from typing import Final

from resources.errors import Exhausted, Invalid, NotFound, Refusal, Unsupported

MEMORY: Final = 2 << 30
"""Octets of address space; libraries alone take some hundred millions of it."""
SECONDS: Final = 15
"""Seconds of processor time of a task that answers with pictures or frames."""
SECONDS_WHOLE: Final = 60
"""Seconds of processor time for an instance in another transfer syntax."""
OCTETS_WHOLE: Final = 5 << 30
"""Octets of a file that a child may write."""
MOST_SAMPLES: Final = 1 << 27
"""Samples of one frame: four times the largest detectors."""
MOST_FRAMES: Final = 500
"""Frames of a moving picture."""
REFUSALS: Final[Mapping[str, type[Refusal]]] = {
    kind.__name__: kind for kind in (Exhausted, Invalid, NotFound, Unsupported)
}

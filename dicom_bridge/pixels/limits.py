"""What a child that decodes pixels may take, and what it may answer with beside pictures."""

from collections.abc import Mapping
from typing import Final

from resources.errors import Invalid, NotFound, Refusal, Unsupported

MEMORY: Final = 2 << 30
"""Octets of address space; libraries alone take some hundred millions of it."""
SECONDS: Final = 15
"""Seconds of processor time of one task."""
MOST_FRAMES: Final = 500
"""Frames of a moving picture."""
REFUSALS: Final[Mapping[str, type[Refusal]]] = {
    kind.__name__: kind for kind in (Invalid, NotFound, Unsupported)
}

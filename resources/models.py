"""The one import surface for fhir.resources; fixes the FHIR release.

The server speaks R4 (4.0.1) on the wire. fhir.resources has no R4 tree; its R4B tree accepts what
R4 says in every resource used here. The models are slow to import and to run, so they are a second
opinion, not the way in: see `resources.validate`.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

FHIR_VERSION: Final = "4.0.1"

DEFINITIONS: Final = Path(__file__).parent / "structure_definitions"

ABSTRACT: Final = frozenset({"Resource", "DomainResource"})

TYPES: Final = frozenset(p.stem for p in (DEFINITIONS / "resources").glob("*.json")) - ABSTRACT
"""The resource types of R4 that R4B still knows: all that this server stores."""

DATATYPES: Final = frozenset(p.stem for p in (DEFINITIONS / "datatypes").glob("*.json"))


@cache
def model(name: str) -> Any:
    """Import one R4B model class, such as ``ImagingStudy`` or ``Coding``.

    Raises
    ------
    KeyError
        Not a type of this release.
    """
    if name not in TYPES | DATATYPES:
        raise KeyError(name)
    return getattr(import_module(f"fhir.resources.R4B.{name.lower()}"), name)

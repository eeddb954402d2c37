"""Transfer syntaxes: which pixels we can decode, and which we can encode without loss.

What is not here is not refused for good: it is what the free libraries of this release can do.
JPEG Extended is decoded with 8 bits a sample only; nothing is ever encoded with loss.

References
----------
* PS3.5 Section 8.2 and Annex A (transfer syntaxes); PS3.6 Annex A
* PS3.18 Tables 8.7.3-2 and 8.7.3-5
"""

from typing import Final

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000: Final = "1.2.840.10008.1.2.4.90"
RLE: Final = "1.2.840.10008.1.2.5"

NATIVE: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG})
"""Their pixels are not encapsulated."""
LITTLE: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE})
LOSSY_JPEG: Final = frozenset({JPEG_BASELINE, JPEG_EXTENDED})

DECODED: Final = NATIVE | {
    JPEG_BASELINE,
    JPEG_EXTENDED,
    "1.2.840.10008.1.2.4.57",   # JPEG Lossless, Process 14
    "1.2.840.10008.1.2.4.70",   # JPEG Lossless, Process 14, Selection Value 1
    JPEG_LS,
    "1.2.840.10008.1.2.4.81",   # JPEG-LS Near-Lossless
    JPEG_2000,
    "1.2.840.10008.1.2.4.91",   # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000, lossless
    "1.2.840.10008.1.2.4.202",  # the same, with RPCL
    "1.2.840.10008.1.2.4.203",  # the same, lossy
    RLE,
}  # fmt: skip
ENCAPSULATED: Final = frozenset({JPEG_LS, JPEG_2000, RLE})
ENCODED: Final = LITTLE | ENCAPSULATED
"""What instances can be turned into; frames into these but Implicit VR Little Endian."""


def convertible(stored: str, wanted: str) -> bool:
    """Tell whether pixels of one transfer syntax can be given out in another.

    Examples
    --------
    >>> convertible(JPEG_BASELINE, JPEG_LS), convertible(JPEG_LS, JPEG_BASELINE)
    (True, False)
    """
    return stored == wanted or (stored in DECODED and wanted in ENCODED)

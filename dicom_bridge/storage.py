"""Which SOP classes and transfer syntaxes are taken in: all that belong to a study.

Computed from the UID dictionaries of pydicom and pynetdicom (PS3.6 Annex A), so that a new
release of the standard arrives with a new release of either.

References
----------
* PS3.4 Annex B.5 (Standard SOP Classes of the Storage Service Class)
* PS3.5 Section 10 and Annex A (Transfer Syntaxes)
"""

from typing import Final

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.presentation import AllStoragePresentationContexts

NOT_OF_A_STUDY: Final = (
    "1.2.840.10008.1.",  # media directory, storage commitment
    "1.2.840.10008.5.1.1.",  # print management
    "1.2.840.10008.5.1.4.1.1.200.",  # procedure protocols
    "1.2.840.10008.5.1.4.1.1.201.",  # inventories
    "1.2.840.10008.5.1.4.38.",  # hanging protocols
    "1.2.840.10008.5.1.4.39.",  # colour palettes
    "1.2.840.10008.5.1.4.43.",  # implant templates
    "1.2.840.10008.5.1.4.44.",
    "1.2.840.10008.5.1.4.45.",
)
"""SOP classes of PS3.4 Annex GG (Non-Patient Object Storage) and others without a study."""

NOT_A_DATA_SET: Final = (
    "1.2.840.10008.1.2.6.",  # MIME, XML
    "1.2.840.10008.1.2.7.",  # SMPTE ST 2110: real-time video flows
    "1.2.840.10008.1.20",  # Papyrus 3
)
"""Transfer syntaxes under which no file of PS3.10 is made."""


def _uids(kind: str, excluded: tuple[str, ...]) -> frozenset[str]:
    return frozenset(
        uid
        for uid, row in UID_dictionary.items()
        if row[1] == kind and not uid.startswith(excluded)
    )


SOP_CLASSES: Final[frozenset[str]] = frozenset(
    {uid for uid in _uids("SOP Class", NOT_OF_A_STUDY) if "Storage" in UID_dictionary[uid][0]}
    | {
        str(context.abstract_syntax)
        for context in AllStoragePresentationContexts
        if not str(context.abstract_syntax).startswith(NOT_OF_A_STUDY)
    }
)

TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    str(ExplicitVRLittleEndian),
    str(ImplicitVRLittleEndian),
    *sorted(
        _uids("Transfer Syntax", NOT_A_DATA_SET) - {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
    ),
)

DEFLATED: Final[frozenset[str]] = frozenset(
    {
        str(DeflatedExplicitVRLittleEndian),
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    }
)
"""PS3.5 Section A.5: the whole data set is one deflate stream."""

IMPLICIT_VR: Final[frozenset[str]] = frozenset({str(ImplicitVRLittleEndian)})
BIG_ENDIAN: Final[frozenset[str]] = frozenset({str(ExplicitVRBigEndian)})

IMAGELESS: Final = (
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports, key object selection
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, fiducials
)
"""SOP classes whose instances are no images, whatever else they hold."""

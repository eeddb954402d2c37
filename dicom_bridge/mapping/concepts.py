"""FHIR CodeableConcepts as DICOM says them: a text, or a code sequence.

References
----------
* PS3.3 Section 8.8 (Standard Attribute Sets for Code Sequence); PS3.16 Table 8-1
"""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.mapping.demographics import dataset
from resources import codes

# FHIR system -> PS3.16 Table 8-1, Coding Scheme Designator.
DESIGNATOR: Final = {
    codes.SNOMED: "SCT", codes.LOINC: "LN", codes.DCM: "DCM", codes.NICIP: "99NICIP",
}  # fmt: skip


def shown(concept: Mapping[str, Any]) -> str:
    """The text of a concept, or else the first display of its codings."""
    displays = (coding.get("display", "") for coding in concept.get("coding", ()))
    return str(concept.get("text") or next(filter(None, displays), ""))


def coded(concept: Mapping[str, Any]) -> list[Dataset]:
    """Write codings as code sequence items (PS3.3 Section 8.8); unknown schemes are left out."""
    items = []
    for coding in concept.get("coding", ()):
        code = str(coding.get("code", ""))
        if coding.get("system") not in DESIGNATOR or not code:
            continue
        ds = dataset(
            CodingSchemeDesignator=DESIGNATOR[coding["system"]],
            CodeMeaning=coding.get("display") or concept.get("text") or code,
        )
        setattr(ds, "CodeValue" if len(code) <= 16 else "LongCodeValue", code)
        items.append(ds)
    return items

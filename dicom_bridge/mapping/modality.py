"""Which modality a requested procedure is for: FHIR R4 has no element that says so.

References
----------
* PS3.16 CID 29 (Acquisition Modality); PS3.3 Section C.4.10 (Modality of a scheduled step)
* National Interim Clinical Imaging Procedure (NICIP) code set: the first letter of a short code
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from resources import codes

Resource = Mapping[str, Any]

# NICIP short codes begin with the kind of examination; longer beginnings come first.
NICIP_MODALITY: Final = (
    ("XMAM", "MG"),
    ("C",    "CT"),
    ("F",    "RF"),
    ("I",    "XA"),
    ("M",    "MR"),
    ("N",    "NM"),
    ("U",    "US"),
    ("X",    "DX"),
)  # fmt: skip

# How procedures of the SNOMED CT imaging subset are named, against PS3.16 CID 29.
NAMED_MODALITY: Final = (
    (r"positron emission|\bPET\b",                              "PT"),
    (r"computed tomograph|computerised tomograph|\bCT\b|\bCTA\b", "CT"),
    (r"magnetic resonance|\bMRI\b|\bMRA\b|\bMR\b",              "MR"),
    (r"ultraso|doppler|echocardiogra",                          "US"),
    (r"mammogra",                                               "MG"),
    (r"dual energy|bone densitometry|\bDEXA\b|\bDXA\b",         "BMD"),
    (r"scintigra|radionuclide|nuclear medicine|isotope",        "NM"),
    (r"angiogra|venogra|embolis",                               "XA"),
    (r"fluoroscop|barium|swallow",                              "RF"),
    (r"plain|radiogra|x-ray|\bXR\b",                            "DX"),
)  # fmt: skip

UNKNOWN_MODALITY: Final = "OT"


def modality_of(request: Resource, task: Resource, study: Resource) -> str:
    """Say for which modality a step is scheduled.

    What somebody stated wins: the modality of the registered study, a DICOM code among the
    order details or the performers asked for. Else the procedure tells: its NICIP code by its
    first letter, or its name. FHIR R4 has no element for it.
    """
    stated = [
        *study.get("modality", ()),
        *(
            coding
            for concept in (
                *request.get("orderDetail", ()),
                *task.get("performerType", ()),
            )
            for coding in concept.get("coding", ())
        ),
    ]
    for coding in stated:
        if coding.get("system") == codes.DCM and _MODALITY.fullmatch(coding.get("code", "")):
            return str(coding["code"])
    procedure = request.get("code", {})
    for coding in procedure.get("coding", ()):
        if coding.get("system") == codes.NICIP:
            code = str(coding.get("code", "")).upper()
            found = next((m for start, m in NICIP_MODALITY if code.startswith(start)), None)
            if found:
                return found
    names = [
        procedure.get("text", ""),
        *(c.get("display", "") for c in procedure.get("coding", ())),
    ]
    return next(
        (m for p, m in NAMED_MODALITY if any(re.search(p, n, re.IGNORECASE) for n in names)),
        UNKNOWN_MODALITY,
    )


_MODALITY: Final = re.compile(r"[A-Z]{2,8}")

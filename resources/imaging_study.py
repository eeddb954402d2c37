"""ImagingStudy: folding what arrives into what is known, counting, and the reporting status.

A study grows: it is registered when the examination is scheduled, it becomes available with its
first image, and series come after years. Every fold is a union: nothing that was there is lost,
the same instance twice is one instance.

References
----------
* FHIR R4 ImagingStudy
* docs/representation.md, "Reports" (images are not instances), "Provenance and evidence" (the
  manifest of what was available to a reporter)
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from resources import codes, elements

IMAGELESS: Final = (
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports, key object selections
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, segmentations, fiducials
    "1.2.840.10008.5.1.4.1.1.67",  # real world value mapping
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT dose
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT structure set
    "1.2.840.10008.5.1.4.1.1.481.5",  # RT plan
    "1.2.840.10008.5.1.4.34.",  # procedure steps
)
"""PS3.4 Table B.5-1: prefixes of the storage SOP classes whose objects are not images."""

ISSUED: Final = frozenset({"final", "amended", "corrected", "appended"})
DRAFTED: Final = frozenset({"partial", "preliminary"})


class Manifest(NamedTuple):
    """What a study held at one version: how many instances, and the digest of their names."""

    instances: int
    sha256: str


def uid(identifier: str | None) -> str:
    """A DICOM UID without the ``urn:oid:`` that FHIR puts before it.

    Examples
    --------
    >>> uid("urn:oid:1.2.3"), uid("1.2.3"), uid(None)
    ('1.2.3', '1.2.3', '')
    """
    return (identifier or "").removeprefix("urn:oid:")


def instance_uids(study: Mapping[str, Any]) -> list[str]:
    """SOP Instance UIDs of all instances listed, sorted."""
    return sorted(
        uid(instance.get("uid"))
        for series in study.get("series", ())
        for instance in series.get("instance", ())
    )


def manifest(study: Mapping[str, Any]) -> Manifest:
    """Count and SHA-256 of the sorted SOP Instance UIDs, one to a line.

    Examples
    --------
    >>> manifest({}).instances
    0
    """
    uids = instance_uids(study)
    return Manifest(len(uids), hashlib.sha256("\n".join(uids).encode()).hexdigest())


def is_image(sop_class: str) -> bool:
    """Whether objects of a storage SOP class are images a person would count."""
    return not uid(sop_class).startswith(IMAGELESS)


def number_of_images(study: Mapping[str, Any]) -> int:
    """Images of a study; each frame of a multi-frame object is one."""
    return sum(
        elements.extension_value(instance, codes.NUMBER_OF_FRAMES) or 1
        for series in study.get("series", ())
        for instance in series.get("instance", ())
        if is_image(instance.get("sopClass", {}).get("code", ""))
    )


def reporting_status(statuses: Iterable[str]) -> str:
    """What the statuses of a study's reports make it: unreported, preliminary or reported.

    Examples
    --------
    >>> reporting_status([]), reporting_status(["preliminary"]), reporting_status(["final"])
    ('unreported', 'preliminary', 'reported')
    """
    known = set(statuses)
    if known & ISSUED:
        return "reported"
    return "preliminary" if known & DRAFTED else "unreported"


def with_reporting_status(study: Mapping[str, Any], status: str) -> dict[str, Any]:
    """The study with its reporting status set."""
    return elements.with_extension(study, codes.REPORTING_STATUS_EXTENSION, {"valueCode": status})


def merged(known: Mapping[str, Any] | None, found: Mapping[str, Any]) -> dict[str, Any]:
    """Fold a study as it was found in DICOM objects into the study as it is known.

    Parameters
    ----------
    known
        The ImagingStudy held, or None. What it says about the patient, the request and the
        people wins: it came from the order, not from a console.
    found
        An ImagingStudy made of some or all instances of the same Study Instance UID. Its
        series and instances win over those known under the same UID.

    Returns
    -------
    :
        Series ordered by number, instances by number, everything counted again; available as
        soon as there is one instance, unless it was cancelled or entered in error.
    """
    known = known or {}
    study = {**found, **known}
    study["series"] = _union(known.get("series", ()), found.get("series", ()), _merged_series)
    study["identifier"] = _identifiers(known.get("identifier", ()), found.get("identifier", ()))
    if not study["series"]:
        del study["series"]
    if not study["identifier"]:
        del study["identifier"]
    return counted(study)


def counted(study: Mapping[str, Any]) -> dict[str, Any]:
    """The study with its counts, modalities, status and house extensions as its series say."""
    study = dict(study)
    series = [_counted_series(one) for one in study.get("series", ())]
    instances = sum(one["numberOfInstances"] for one in series)
    if series:
        study["series"] = series
        study["modality"] = list(
            {one["modality"].get("code"): one["modality"] for one in series}.values()
        )
    study["numberOfSeries"] = len(series)
    study["numberOfInstances"] = instances
    if instances and study.get("status") in (None, "registered", "available"):
        study["status"] = "available"
    study.setdefault("status", "registered")
    study = elements.with_extension(
        study, codes.NUMBER_OF_IMAGES, {"valueUnsignedInt": number_of_images(study)}
    )
    if elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION) is None:
        study = with_reporting_status(study, "unreported")
    return study


def _counted_series(series: Mapping[str, Any]) -> dict[str, Any]:
    return {**series, "numberOfInstances": len(series.get("instance", ()))}


def _merged_series(known: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    series = {**known, **found}
    series["instance"] = _union(known.get("instance", ()), found.get("instance", ()), _newer)
    return series


def _newer(known: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    return {**known, **found}


def _union(
    known: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]], fold: Any
) -> list[dict[str, Any]]:
    """Items of both, by UID, in the order of their numbers."""
    items: dict[str, dict[str, Any]] = {uid(item.get("uid")): dict(item) for item in known}
    for item in found:
        name = uid(item.get("uid"))
        items[name] = fold(items[name], item) if name in items else dict(item)
    return sorted(items.values(), key=lambda item: (item.get("number", 1 << 31), uid(item["uid"])))


def _identifiers(
    known: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Identifiers of both, once each; the fuller one, which is the one known, stays."""
    identifiers: dict[tuple[Any, Any], dict[str, Any]] = {}
    for identifier in (*known, *found):
        key = (identifier.get("system"), identifier.get("value"))
        identifiers.setdefault(key, dict(identifier))
    return list(identifiers.values())

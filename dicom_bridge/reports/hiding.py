"""Taking back the documents that were made of a report that others may not see any more.

Who may read the images may read what is in their study. So a report that is labelled for its
writers alone, or deleted, has no documents: those that were made are taken out of the study. So are
those in a study that was found to be of another patient than the report. The versions of the report
are the evidence, not its copies.

References
----------
* docs/representation.md, "Reports for DICOM workstations"
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from resources import content, imaging_study

MADE: Final = """
SELECT r.sop_uid, s.study_uid, s.imaging_study
FROM report_object r JOIN instance i ON i.sop_uid = r.sop_uid
JOIN study s ON s.study_uid = i.study_uid
WHERE r.report = $1 AND r.kind IN ('sr', 'pdf')
"""
REMOVE: Final = "DELETE FROM instance WHERE sop_uid = ANY($1)"
FORGET: Final = "DELETE FROM report_object WHERE sop_uid = ANY($1)"
EMPTY: Final = """
DELETE FROM series WHERE study_uid = $1
  AND series_uid NOT IN (SELECT series_uid FROM instance WHERE study_uid = $1)
"""
MARK: Final = """
INSERT INTO unsettled (study_uid, mark, folded, since, organization) VALUES ($1, 1, 0, $2, '')
ON CONFLICT (study_uid) DO UPDATE SET mark = unsettled.mark + 1
"""


async def hide(bridge: Bridge, report: str, kept: Collection[str] = ()) -> int:
    """Take the documents of a report out of their studies; say how many there were.

    Parameters
    ----------
    kept
        Ids of the ImagingStudies in which they stay.
    """
    studies: dict[tuple[str, str], set[str]] = {}
    for sop_uid, study_uid, id in await bridge.database.run(MADE, (report,)):
        if id not in kept:
            studies.setdefault((study_uid, id), set()).add(sop_uid)
    for (study_uid, id), gone in studies.items():
        context = RequestContext(Principal.system("reports"), "settle", origin="worker")
        async with bridge.store.begin(context) as work:
            known = await work.read("ImagingStudy", id, lock=True)
            changed = content.made(without(known.json, gone))
            await work.update("ImagingStudy", id, changed, known.version)
            uids = Texts(sorted(gone))
            work.add(REMOVE, (uids,))
            work.add(FORGET, (uids,))
            work.add(EMPTY, (study_uid,))
            work.add(MARK, (study_uid, work.context.instant))
        await ingest.settle(bridge, study_uid)
    return sum(map(len, studies.values()))


async def shown_in(bridge: Bridge, report: str) -> set[str]:
    """The ImagingStudies (ids) that have documents of a report."""
    return {str(id) for _, _, id in await bridge.database.run(MADE, (report,))}


def without(study: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    """Give an ImagingStudy without some of its instances, counted again.

    Examples
    --------
    >>> series = {"uid": "1.2", "modality": {"code": "SR"}, "instance": [{"uid": "1.3"}]}
    >>> without({"series": [series]}, {"1.3"})["numberOfInstances"]
    0
    """
    kept = []
    for series in study.get("series", ()):
        left = [one for one in series.get("instance", ()) if one.get("uid") not in gone]
        if left:
            kept.append({**series, "instance": left})
    rest = {name: value for name, value in study.items() if name not in ("meta", "series")}
    return imaging_study.counted({**rest, **({"series": kept} if kept else {})})

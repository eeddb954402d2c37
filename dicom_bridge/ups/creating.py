"""Creating: a UPS that is pushed to us is a Task of who pushed it.

The patient is who the header speaks of, found as for images and performed steps; one that nobody
told us of yet is made. Of a patient that is known here, nobody is given work by who has nothing to
do with them.

References
----------
* PS3.4 Section CC.2.5 (N-CREATE); PS3.18 Section 11.4 (Create Workitem)
* docs/representation.md, "Unified Procedure Steps"
"""

import uuid
from typing import Final

from pydicom.dataset import Dataset

from dicom_bridge import orders
from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import patient as patients
from dicom_bridge.mapping import reconciling, ups_tasks
from dicom_bridge.mapping.demographics import patient_module
from dicom_bridge.mapping.matching import text
from dicom_bridge.orders import Belonging, Sender
from dicom_bridge.ups import keeping, performers, requirements, statuses
from dicom_bridge.ups.keeping import Kept
from dicom_bridge.ups.statuses import Warned, refused
from fhir_server.access import gate
from fhir_server.context import RequestContext
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import content
from resources.content import written_instant
from resources.errors import Conflict, Forbidden, NotFound, Stale

NAMES_SOMEBODY: Final = ("PatientID", "PatientName")
DEMOGRAPHICS: Final = ("PatientID", "PatientBirthDate", "PatientSex")
"""What is told of as modified where the Patient says it otherwise."""


class _First(Conflict):
    """There is a Task of this UID already."""


async def create(bridge: Bridge, context: RequestContext, uid: str, ds: Dataset) -> Warned:
    """Make the Task of a UPS.

    Raises
    ------
    Refused
        It does not begin as a UPS does, or there is one of this UID.
    Forbidden
        The asker may give no work about this patient.
    """
    try:
        return await _create(bridge, context, uid, ds)
    except (Stale, _First):  # somebody else was quicker
        raise refused(statuses.DUPLICATE, "SOPInstanceUID") from None


async def _create(bridge: Bridge, context: RequestContext, uid: str, ds: Dataset) -> Warned:
    organization = context.principal.organization
    async with bridge.store.begin(context) as work:
        work.attempted = "Task", None
        gate.reach(context, "c", "Task")
        if organization is None:
            raise Forbidden("work is given by an organisation", step="relationship")
        requirements.check_made(ds)
        with work.as_server():
            await _require_new(work, uid)
            of = await orders.sender(work, organization)
            belonging = await _belonging(work, ds, of)
        patient = belonging.patient
        if patient is None and any(text(ds.get(keyword)) for keyword in NAMES_SOMEBODY):
            made = patients.made(
                ups_tasks.header_of(ds), of.ods, of.id, contested=belonging.contested
            )
            patient = await work.create(content.made(made))
        request = belonging.request
        json = ups_tasks.made(
            uid,
            ds,
            patient=patient.id if patient else None,
            request=request.id if request else None,
            organization=organization,
            source=performers.source(context.principal),
            instant=written_instant(context.instant),
        )
        id = str(uuid.uuid5(uuid.NAMESPACE_OID, uid))
        try:
            task = await work.update("Task", id, content.made(json), first=_First)
        except NotFound:  # one that the asker does not see has been made meanwhile
            raise refused(statuses.DUPLICATE, "SOPInstanceUID") from None
        said = ups_tasks.kept(Dataset(), ds, requirements.PATIENT)
        keeping.put(work, Kept(uid, id, said))
        if patient is not None and belonging.doubt:
            await _ask(work, task, patient, organization, belonging.doubt)
    return statuses.MODIFIED if _is_modified(ds, patient) else statuses.SUCCESS


async def _require_new(work: Work, uid: str) -> None:
    try:
        await keeping.find(work, uid)
    except NotFound:
        return
    raise refused(statuses.DUPLICATE, "SOPInstanceUID")


async def _belonging(work: Work, ds: Dataset, of: Sender) -> Belonging:
    """Find patient and request; a UPS about nobody is about no request either."""
    if not any(text(ds.get(keyword)) for keyword in NAMES_SOMEBODY):
        return Belonging(None, None)
    return await orders.belonging(work, ups_tasks.header_of(ds), ups_tasks.issuer_of(ds), of)


async def _ask(work: Work, task: Stored, patient: Stored, organization: str, doubt: str) -> None:
    subject = {"reference": patient.reference}
    asked = reconciling.task(task.reference, subject, organization, doubt, work.context.instant)
    with work.as_server():
        await work.create(content.made(asked))


def _is_modified(ds: Dataset, patient: Stored | None) -> bool:
    """Whether the UPS says something else than was sent."""
    if not text(ds.get("WorklistLabel")):
        return True
    if patient is None:
        return False
    ours = patient_module(patient.json)
    return any(
        text(ds.get(keyword)) and text(ds.get(keyword)) != text(ours.get(keyword))
        for keyword in DEMOGRAPHICS
    )

"""Performed: what modalities say they are doing, written as Procedure and Task.

The step that was chosen from the worklist is under way when its modality begins, and has failed
when that is discontinued before there are images; that it is completed is for the images to say.
A step that nobody asked for, or whose patient is not that of the request, is written down all the
same, and somebody is asked to reconcile it.

References
----------
* PS3.4 Annex F (Modality Performed Procedure Step); docs/representation.md, "Performed steps"
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from dicom_bridge import announced, orders
from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import patient as patients
from dicom_bridge.mapping import performed, reconciling
from dicom_bridge.mapping.matching import text
from fhir_server.access import gate
from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.search import query
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import codes, content
from resources.errors import Conflict, Invalid, NotFound

STARTS_FROM: Final = frozenset({"requested", "received", "accepted", "ready"})
UNASKED: Final = "Images are made that nobody has asked for here."
WRONG_ENTRY: Final = "The modality says that the wrong worklist entry was chosen."


class HasEnded(Conflict):
    """The step is completed or discontinued; it may no longer be updated."""


async def begin(bridge: Bridge, context: RequestContext, uid: str, ds: Dataset) -> None:
    """Write down that a step has begun.

    Raises
    ------
    Forbidden
        The peer may not bring images, and so does not say that it makes any.
    Invalid
        It does not begin as IN PROGRESS.
    Conflict
        There is a step of this UID.
    """
    gate.reach(context, "c", "ImagingStudy")
    _require_sequences(ds)
    if text(ds.get("PerformedProcedureStepStatus")).strip() != performed.IN_PROGRESS:
        raise Invalid("A step begins IN PROGRESS", "PerformedProcedureStepStatus")
    header = performed.header_of(ds)
    async with bridge.store.begin(_server(context)) as work:
        if await _known(work, uid):
            raise Conflict("There is a performed procedure step of this UID", "SOPInstanceUID")
        of = await orders.sender(work, context.principal.organization or "")
        belonging = await orders.belonging(work, header, performed.issuer_of(ds), of)
        patient = belonging.patient or await work.create(
            content.made(patients.made(header, of.ods, of.id, contested=belonging.contested))
        )
        request = belonging.request.json if belonging.request else None
        made = performed.procedure(uid, ds, patient.id, request, of.id)
        written = await work.create(content.made(made), _id(uid))
        announced.note(work, written.id, ds)
        step = await _step(work, belonging.request, of.id)
        if step is not None and step.json["status"] in STARTS_FROM:
            await _put(work, step, {"status": "in-progress"})
        doubt = belonging.doubt or ("" if request is not None else UNASKED)
        if doubt:
            await _ask(work, written, of.id, doubt)
    await _audit(bridge, context, written, patient.id)


async def change(bridge: Bridge, context: RequestContext, uid: str, ds: Dataset) -> None:
    """Write down what else is said of a step: its end, its series, why it was discontinued.

    Raises
    ------
    NotFound
        There is no such step of the peer's organisation.
    HasEnded
        It has ended.
    Invalid
        A status that there is not.
    """
    gate.reach(context, "c", "ImagingStudy")
    _require_sequences(ds)
    status = text(ds.get("PerformedProcedureStepStatus")).strip()
    if status and status not in performed.STATUS:
        raise Invalid("No such status", "PerformedProcedureStepStatus")
    organization = context.principal.organization or ""
    async with bridge.store.begin(_server(context)) as work:
        known = await _known(work, uid)
        if known is None or organization not in _organizations(known.json):
            raise NotFound("There is no such performed procedure step")
        if known.json["status"] in performed.FINAL:
            raise HasEnded("The step has ended and may no longer be updated")
        after = performed.changed(known.json, ds)
        after["performer"] = performed.performers(known.json, ds, organization)
        written = await work.update(
            "Procedure", known.id, content.made(after), if_match=known.version
        )
        announced.note(work, written.id, ds)
        if after["status"] == "stopped":
            await _discontinued(work, written, ds, organization)
    await _audit(bridge, context, written, _patient(written.json))


def _require_sequences(ds: Dataset) -> None:
    """Refuse what should be a sequence and is none, wherever it stands."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value or ():
                _require_sequences(item)
        elif element.keyword and dictionary_VR(element.tag) == "SQ":
            raise Invalid("That is no sequence", element.keyword)


async def _discontinued(work: Work, written: Stored, ds: Dataset, organization: str) -> None:
    """Let the step fail, unless its images are there; a wrong choice is somebody's to correct."""
    reason = performed.reason_of(ds)
    for reference in written.json.get("basedOn", ()):
        request = await work.read("ServiceRequest", reference["reference"].partition("/")[2])
        step = await _step(work, request, organization)
        if step is not None and step.json["status"] == "in-progress":
            said = reason or {"text": "discontinued at the modality"}
            await _put(work, step, {"status": "failed", "statusReason": said})
    chosen = (reason or {}).get("coding", ({},))[0].get("code")
    if chosen == performed.WRONG_ENTRY:
        await _ask(work, written, organization, WRONG_ENTRY)


async def _step(work: Work, request: Stored | None, organization: str) -> Stored | None:
    """Find the acquisition of a request that this organisation is to do and has not ended."""
    if request is None:
        return None
    asked = query.parse(
        "Task",
        [
            ("code", codes.ACQUIRE.token),
            ("based-on", f"ServiceRequest/{request.id}"),
            ("status", "requested,received,accepted,ready,in-progress"),
            ("owner", f"Organization/{organization}"),
        ],
        strict=True,
    )
    found = await work.search(asked)
    return found[0] if found else None


async def _put(work: Work, step: Stored, members: Mapping[str, Any]) -> None:
    instant = content.written_instant(work.context.instant)
    after = {**step.json, **members, "lastModified": instant}
    await work.update("Task", step.id, content.made(after), if_match=step.version)


async def _ask(work: Work, written: Stored, organization: str, doubt: str) -> None:
    subject, instant = written.json["subject"], work.context.instant
    asked = reconciling.task(written.reference, subject, organization, doubt, instant)
    await work.create(content.made(asked))


async def _known(work: Work, uid: str) -> Stored | None:
    try:
        return await work.read("Procedure", _id(uid))
    except NotFound:
        return None


async def _audit(bridge: Bridge, context: RequestContext, written: Stored, patient: str) -> None:
    """Name the peer beside the server that wrote for it."""
    await bridge.ledger.append(
        ledger.entry(
            context, type="Procedure", id=written.id, version=written.version, patient=patient
        )
    )


def _server(context: RequestContext) -> RequestContext:
    """The peer may say it; the server writes it down, as it folds what the peer sends."""
    return RequestContext(
        Principal.system("mpps"), "settle", origin=context.origin, instant=context.instant
    )


def _id(uid: str) -> str:
    """Give the id of the Procedure of a step: whoever tells of one step twice names one."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, uid))


def _organizations(procedure: Mapping[str, Any]) -> set[str]:
    return {
        reference.get("reference", "").removeprefix("Organization/")
        for performer in procedure.get("performer", ())
        for reference in (performer.get("onBehalfOf", {}), performer.get("actor", {}))
    }


def _patient(procedure: Mapping[str, Any]) -> str:
    return str(procedure["subject"]["reference"]).partition("/")[2]

"""Play the primary pathway on a running server: everybody over HTTP, the scanner over DICOM.

Nothing here knows the server from inside: what was done is read back through the same public
addresses, and a step counts only when that shows it. The images are those of `demo.cranium`; the
names and numbers in them are those that the worklist gave.
"""

import asyncio
import shlex
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from pydicom.dataset import Dataset
from rich.console import Console

from demo import cranium, data
from demo.load import note_study
from demo.modality import Modality, from_worklist
from demo.people import People
from demo.progress import Display
from fhir_server.settings import Settings
from resources import codes, elements
from resources.imaging_study import manifest
from resources.report import WHOLE_REPORT

Json = dict[str, Any]
Found = TypeVar("Found")

PATIENT: Final = "winter"
PATIENCE_SECONDS: Final = 60
STEPS: Final = 23

REASON: Final = "Worsening headache for three weeks, wakes her at night"
QUESTION: Final = "Intracranial mass or haemorrhage?"
HISTORY: Final = "On apixaban for atrial fibrillation. No neurological deficit."
JUSTIFICATION: Final = "Red flag headache on anticoagulant: CT head agreed, no contrast first"
REJECTION: Final = "Sinus CT adds dose and would not change management"
OPERATION: Final = "Mild urticaria ten minutes after contrast, settled without treatment"
CONCLUSION: Final = (
    "No intracranial haemorrhage, mass or midline shift.\n"
    "Ventricles and basal cisterns are of normal size."
)


class UnexpectedError(RuntimeError):
    """What was read back is not what had been done."""


def expect(condition: object, what: str) -> None:
    """Fail the step unless what was read back is so."""
    if not condition:
        raise UnexpectedError(what)


async def play(
    settings: Settings, pathway: str = "primary", console: Console | None = None
) -> bool:
    """Play a pathway with a progress display.

    Returns
    -------
    :
        Whether every step was done and read back over HTTP and DICOM.
    """
    console = console or Console()
    title = f"Isocentre demonstration: the {pathway} pathway"
    with Display(console, title, STEPS) as display:
        async with People(settings) as people:
            story = Story(settings, people, display)
            try:
                await story.primary()
            except Exception as error:
                console.print(f"[red]The play stopped: {error}", highlight=False)
    display.summary(story.facts)
    done = bool(display.steps) and all(step.done for step in display.steps) and story.ended
    if done:
        console.print("\nTry it (each line works as printed):\n", highlight=False)
        for line in story.commands():
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    return done


class Story:
    """One play: who does what, in order, and what is known so far."""

    def __init__(self, settings: Settings, people: People, display: Display) -> None:
        self.facts: list[tuple[str, str]] = []
        self.ended = False
        self._settings = settings
        self._people = people
        self._display = display
        dicom = settings.dicom_address
        self._ct = Modality("CT1", dicom.host, dicom.port, settings.ae_title)
        self._request: Json = {}
        self._study: Json = {}
        self._report: Json = {}
        self._study_uid = ""

    async def primary(self) -> None:
        """Figure 4-1: refer, justify, schedule, acquire, report, acknowledge."""
        second = await self._refer()
        await self._justify()
        await self._reject(second)
        await self._schedule()
        item = await self._read_worklist(second)
        await self._acquire(item)
        await self._read_images()
        await self._write_report()
        await self._check_evidence()
        await self._acknowledge()
        await self._read_record()
        await self._check_walls()
        self._sum_up()
        self.ended = True

    # --- refer ------------------------------------------------------------------------------

    async def _refer(self) -> Json:
        isr = f"ISR-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        procedures = (
            ("303653007", "Computed tomography of head"),
            ("241533007", "Computed tomography of paranasal sinuses"),
        )
        entries = [
            {
                "fullUrl": f"urn:uuid:00000000-0000-4000-8000-00000000000{number}",
                "resource": _requested_procedure(isr, code, display),
                "request": {"method": "POST", "url": "ServiceRequest"},
            }
            for number, (code, display) in enumerate(procedures)
        ]
        with self._step("gp", "refers: one request, two procedures") as step:
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            await self._people.ask("gp", "POST", "", bundle)
            found = await self._people.search("gp", f"ServiceRequest?requisition={codes.ISR}|{isr}")
            expect(len(found) == 2, "two requested procedures of one request")
            by_code = {one["code"]["coding"][0]["code"]: one for one in found}
            self._request, second = (by_code[code] for code, _ in procedures)
            step.made = f"{_name(self._request)}, {_name(second)}"
            step.says(f"{isr}: {REASON}")
        self.facts += [
            ("patient", f"{data.PATIENTS[0].given} {data.PATIENTS[0].family}, Patient/{PATIENT}"),
            ("request", isr),
        ]
        return second

    # --- justify ----------------------------------------------------------------------------

    async def _justify(self) -> None:
        with self._step("practitioner", "looks at the worklist of justifications") as step:
            waiting = await self._people.search(
                "practitioner",
                f"Task?code={codes.JUSTIFY.token}&status=requested"
                "&owner=Organization/northmoor&_include=Task:focus&_count=100",
            )
            focused = [elements.references(one["focus"])[0] for one in waiting]
            expect(_name(self._request) in focused, "the request is on the worklist")
            step.says(f"{len(waiting)} waiting")
        with self._step("practitioner", "authorises the CT of the head") as step:
            task = await self._task("practitioner", "justify")
            done = await self._people.change(
                "practitioner",
                task,
                status="completed",
                businessStatus=codes.AUTHORISED.concept,
                output=[
                    {
                        "type": codes.IO_DECISION.concept,
                        "valueCodeableConcept": codes.AUTHORISED.concept,
                    }
                ],
                note=[_note("practitioner", JUSTIFICATION)],
            )
            step.made = _name(done)
            acquire = await self._task("operator", "acquire")
            expect(acquire["status"] == "requested", "the acquisition waits for its slot")
            self._request = await self._people.get("gp", _name(self._request))
            accession = self._accession()
            step.says(f"made by itself: {_name(acquire)}, accession number {accession}")
        self.facts.append(("accession number", accession))

    async def _reject(self, second: Json) -> None:
        with self._step("practitioner", "rejects the CT of the sinuses") as step:
            task = await self._task("practitioner", "justify", second)
            await self._people.change(
                "practitioner", task, status="rejected", statusReason={"text": REJECTION}
            )
            after = await self._people.get("gp", _name(second))
            reason = elements.extension_value(after, codes.REQUEST_STATUS_REASON)
            expect(after["status"] == "revoked", "the request is revoked")
            expect(reason == {"text": REJECTION}, "with its reason")
            step.made = _name(after)
            step.says(f"revoked: {REJECTION}")

    # --- schedule ---------------------------------------------------------------------------

    async def _schedule(self) -> None:
        with self._step("coordinator", "books the scanner") as step:
            start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=10)
            slot = await self._people.create(
                "coordinator",
                {
                    "resourceType": "Appointment",
                    "status": "booked",
                    "basedOn": [{"reference": _name(self._request)}],
                    "start": _instant(start),
                    "end": _instant(start + timedelta(minutes=20)),
                    "participant": [
                        {"actor": {"reference": reference}, "status": "accepted"}
                        for reference in (
                            f"Patient/{PATIENT}",
                            "Location/northmoor-ct",
                            "Device/northmoor-ct1",
                        )
                    ],
                },
            )
            acquire = await self._task("operator", "acquire")
            expect(acquire["status"] == "ready", "the acquisition is ready")
            step.made = _name(slot)
            step.says(f"{_name(acquire)} is ready, {acquire['executionPeriod']['start']}")

    async def _read_worklist(self, second: Json) -> Dataset:
        with self._step("CT1", f"asks for its worklist (findscu, {self._ct.tools})") as step:
            items = await self._ct.worklist(f"PatientID={data.PATIENTS[0].nhs_number}")
            numbers = [str(one.get("AccessionNumber", "")) for one in items]
            expect(self._accession() in numbers, "the justified procedure is on the worklist")
            refused = elements.words(second["code"])
            shown = [str(one.get("RequestedProcedureDescription", "")) for one in items]
            expect(refused not in shown, "the procedure not justified is not on the worklist")
            item = items[numbers.index(self._accession())]
            self._study_uid = str(item.StudyInstanceUID)
            step.made = f"{item.AccessionNumber}"
            step.says(f"{item.PatientName}: {item.get('RequestedProcedureDescription', '')}")
        return item

    # --- acquire ----------------------------------------------------------------------------

    async def _acquire(self, item: Dataset) -> None:
        with self._step("operator", "starts the examination, notes a reaction") as step:
            task = await self._task("operator", "acquire")
            done = await self._people.change(
                "operator",
                task,
                status="in-progress",
                owner={"reference": "PractitionerRole/operator"},
                note=[_note("operator", OPERATION)],
            )
            step.made = _name(done)
            step.says(OPERATION)
        files = sorted((cranium.ASSETS / "cranium").glob("*.dcm"))
        with tempfile.TemporaryDirectory() as folder:
            with self._step("CT1", "acquires") as step:
                if not files:
                    cranium.prepare()
                    files = sorted((cranium.ASSETS / "cranium").glob("*.dcm"))
                images = cranium.acquired(
                    files, lambda ds: from_worklist(item, ds), Path(folder), _now()
                )
                expect(images, "there are images")
                step.made = f"{len(images)} images"
            with self._step("CT1", f"sends {len(images)} images (storescu, {self._ct.tools})"):
                await self._ct.send(images)
        with self._step("Isocentre", "settles the study") as step:
            self._study = await self._settled(len(images))
            step.made = _name(self._study)
            task = await self._task("operator", "acquire")
            expect(task["status"] == "completed", "the acquisition is completed by itself")
            report = await self._task("reporter", "report")
            expect(report["status"] == "ready", "the report is on the worklist")
            step.says(f"available with {len(images)} instances; {_name(report)} is ready")
        self.facts += [
            ("study", f"{_name(self._study)}, {len(images)} CT instances"),
            ("Study Instance UID", self._study_uid),
        ]

    async def _settled(self, images: int) -> Json:
        """The study as soon as it holds all images."""

        async def look() -> Json | None:
            found = await self._people.search(
                "operator", f"ImagingStudy?basedon={_name(self._request)}&status=available"
            )
            whole = [one for one in found if one.get("numberOfInstances") == images]
            return whole[0] if whole else None

        return await _eventually(look, f"a study of {images} instances")

    async def _read_images(self) -> None:
        web = f"{self._settings.url}/dicom-web/studies"
        with self._step("reporter", "finds the study over DICOMweb (QIDO-RS)") as step:
            answer = await self._people.ask(
                "reporter",
                "GET",
                f"{web}?AccessionNumber={self._accession()}",
                accept="application/dicom+json",
            )
            uids = [one["0020000D"]["Value"][0] for one in answer.json()]
            expect(uids == [self._study_uid], "one study of that accession number")
            step.made = self._study_uid
        with self._step("reporter", "reads the metadata of every instance (WADO-RS)") as step:
            answer = await self._people.ask(
                "reporter",
                "GET",
                f"{web}/{self._study_uid}/metadata",
                accept="application/dicom+json",
            )
            headers = answer.json()
            expect(len(headers) == self._study["numberOfInstances"], "metadata of every instance")
            patients = {one["00100020"]["Value"][0] for one in headers}
            expect(patients == {data.PATIENTS[0].nhs_number}, "of the patient of the worklist")
            step.made = f"{len(headers)} instances"
        with self._step("reporter", "looks at an image (WADO-RS frame)") as step:
            one = headers[len(headers) // 2]
            series, instance = (one[tag]["Value"][0] for tag in ("0020000E", "00080018"))
            frame = await self._people.ask(
                "reporter",
                "GET",
                f"{web}/{self._study_uid}/series/{series}/instances/{instance}/frames/1",
                accept='multipart/related; type="application/octet-stream"',
            )
            size = one["00280010"]["Value"][0] * one["00280011"]["Value"][0] * 2
            expect(len(frame.content) >= size, "all pixels of the frame")
            step.made = f"{size} octets of pixels"
        with self._step(
            "CT1", f"finds the study at Study Root (findscu, {self._ct.tools})"
        ) as step:
            found = await self._ct.studies(f"AccessionNumber={self._accession()}")
            expect([str(one.StudyInstanceUID) for one in found] == [self._study_uid], "one study")
            step.made = f"{found[0].get('NumberOfStudyRelatedInstances', '')} instances"

    # --- report -----------------------------------------------------------------------------

    async def _write_report(self) -> None:
        with self._step("reporter", "takes the study from the reporting worklist") as step:
            task = await self._task("reporter", "report")
            reading = {"status": "in-progress", "owner": {"reference": "PractitionerRole/reporter"}}
            step.made = _name(await self._people.change("reporter", task, **reading))
        with self._step("reporter", "issues the final report") as step:
            made = await self._people.create(
                "reporter", _final_report(_name(self._request), _name(self._study))
            )
            self._report = await self._people.get("reporter", _name(made))
            said = self._report["text"]["div"]
            for part in (REASON, HISTORY, JUSTIFICATION, OPERATION):
                expect(part in said, "the report repeats request and notes")
            titles = [one.get("title") for one in self._report["presentedForm"]]
            expect(WHOLE_REPORT in titles, "the whole report is there as a page")
            step.made = _name(self._report)
            step.says("put in by the server: clinical information, notes, organisation, speciality")
        with self._step("Isocentre", "marks the study reported, ends the step") as step:
            task = await self._task("reporter", "report")
            expect(task["status"] == "completed", "the report step is completed by itself")
            study = await self._people.get("reporter", _name(self._study))
            status = elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION)
            expect(status == "reported", "the study is reported")
            step.made = _name(task)
        self.facts.append(("report", _name(self._report)))

    async def _check_evidence(self) -> None:
        with self._step("auditor", "asks which images the reporter had") as step:
            found = await self._people.search(
                "auditor", f"Provenance?target={_name(self._report)}&_count=100"
            )
            entities = [
                entity
                for one in found
                if codes.has(one["activity"], codes.LEGALLY_AUTHENTICATED)
                for entity in one["entity"]
                if entity["what"]["reference"].startswith("ImagingStudy/")
            ]
            expect(len(entities) == 1, "the report pins its study")
            parts = {
                part["url"]: part
                for extension in entities[0]["extension"]
                for part in extension.get("extension", [])
            }
            held = manifest(self._study)
            pinned = parts["count"]["valueUnsignedInt"], parts["sha256"]["valueString"]
            expect(pinned == tuple(held), "the manifest is that of the images sent")
            step.made = entities[0]["what"]["reference"]
            step.says(f"{held.instances} instances, SHA-256 {held.sha256[:16]}…")

    # --- acknowledge ------------------------------------------------------------------------

    async def _acknowledge(self) -> None:
        with self._step("gp", "sees an unread report, reads that version") as step:
            unread = await self._unread()
            expect(len(unread) == 1, "the report is on the acknowledgement worklist")
            pinned = elements.references(unread[0]["focus"])[0]
            version = await self._people.get("gp", pinned)
            expect(version["conclusion"] == CONCLUSION, "it is the report that was issued")
            step.made = pinned
        with self._step("gp", "acknowledges it") as step:
            done = await self._people.change(
                "gp",
                unread[0],
                status="completed",
                businessStatus=codes.ACKNOWLEDGED.concept,
            )
            expect(not await self._unread(), "it has left the worklist")
            step.made = _name(done)
            request = await self._people.get("gp", _name(self._request))
            expect(request["status"] == "completed", "the request is completed")
            step.says(f"{_name(request)} is completed")

    async def _unread(self) -> list[Json]:
        return await self._people.search(
            "gp",
            f"Task?code={codes.ACKNOWLEDGE.token}&status=requested,received,accepted"
            f"&owner=PractitionerRole/gp&based-on={_name(self._request)}",
        )

    # --- what anybody may see ---------------------------------------------------------------

    async def _read_record(self) -> None:
        with self._step("gp", "opens the patient's imaging record") as step:
            page = await self._people.get(
                "gp",
                f"ImagingStudy?patient=Patient/{PATIENT}&_sort=-started"
                "&_revinclude=DiagnosticReport:imagingStudy",
            )
            names = [_name(one["resource"]) for one in page["entry"]]
            expect({_name(self._study), _name(self._report)} <= set(names), "study and report")
            step.made = f"{len(names)} resources"
            for one in (entry["resource"] for entry in page["entry"]):
                if one["resourceType"] == "ImagingStudy":
                    step.says(_row(one))

    async def _check_walls(self) -> None:
        with self._step("reviewer", "of another trust looks for them, finds nothing") as step:
            page = await self._people.get(
                "reviewer", f"ImagingStudy?patient=Patient/{PATIENT}&_total=accurate"
            )
            expect(page["total"] == 0 and not page.get("entry"), "nothing to see")
            step.made = "0 studies"
        with self._step("auditor", "reads who looked at the study") as step:
            events = await self._people.search(
                "auditor", f"AuditEvent?entity={_name(self._study)}&_count=1000"
            )
            expect(events, "every access is recorded")
            step.made = f"{len(events)} audit events"

    # --- small things -----------------------------------------------------------------------

    def _step(self, login: str, what: str) -> Any:
        known = {person.login: person for person in data.PEOPLE}
        who = f"{known[login].display} ({known[login].role})" if login in known else login
        return self._display.step(who, what)

    async def _task(self, login: str, step: str, request: Json | None = None) -> Json:
        name = _name(request or self._request)
        return await self._people.only(
            login, f"Task?based-on={name}&code={codes.IMAGING_STEP}|{step}"
        )

    def _accession(self) -> str:
        return next(
            str(one["value"])
            for one in self._request.get("identifier", [])
            if codes.has(one.get("type"), codes.ACCESSION_NUMBER_TYPE)
        )

    def _sum_up(self) -> None:
        self.facts.append(("start page", self._settings.url))
        note_study(
            self._settings.data_dir,
            {
                "id": self._study["id"],
                "uid": self._study_uid,
                "accession": self._accession(),
                "patient": PATIENT,
                "instances": self._study["numberOfInstances"],
                "report": self._report["id"],
            },
        )

    def commands(self) -> list[str]:
        """Lines for a shell that show the record."""
        tool = Path(sys.executable).with_name("isocentre")
        folder = shlex.quote(str(self._settings.data_dir))
        base, web = self._settings.fhir_base, f"{self._settings.url}/dicom-web"
        bearer = '-H "Authorization: Bearer $TOKEN"'
        return [
            f"TOKEN=$({shlex.quote(str(tool))} token --data-dir {folder} --client demo-app "
            "--user reporter --scope 'user/*.rs' --lifetime 3600)",
            f"curl -s {bearer} '{base}/{_name(self._report)}'",
            f"curl -s {bearer} '{base}/ImagingStudy?patient=Patient/{PATIENT}&_sort=-started"
            "&_revinclude=DiagnosticReport:imagingStudy'",
            f"curl -s {bearer} '{base}/Provenance?target={_name(self._report)}'",
            f"curl -s {bearer} -H 'Accept: application/dicom+json' "
            f"'{web}/studies?PatientID={data.PATIENTS[0].nhs_number}'",
        ]


def _requested_procedure(isr: str, code: str, display: str) -> Json:
    return {
        "resourceType": "ServiceRequest",
        "requisition": {"system": codes.ISR, "value": isr},
        "status": "active",
        "intent": "original-order",
        "category": [codes.KIND_PRIMARY.concept],
        "priority": "urgent",
        "code": {
            "coding": [{"system": codes.SNOMED, "code": code, "display": display}],
            "text": display,
        },
        "orderDetail": [{"text": QUESTION}],
        "subject": {"reference": f"Patient/{PATIENT}"},
        "authoredOn": _instant(datetime.now(UTC)),
        "requester": {"reference": "PractitionerRole/gp"},
        "performer": [{"reference": "Organization/northmoor"}],
        "reasonCode": [{"text": REASON}],
        "note": [_note("gp", HISTORY)],
    }


def _final_report(request: str, study: str) -> Json:
    return {
        "resourceType": "DiagnosticReport",
        "basedOn": [{"reference": request}],
        "status": "final",
        "category": [codes.RADIOLOGY.concept],
        "code": codes.concept(codes.DIAGNOSTIC_IMAGING_REPORT, text="CT of head: report"),
        "subject": {"reference": f"Patient/{PATIENT}"},
        "issued": _instant(datetime.now(UTC)),
        "imagingStudy": [{"reference": study}],
        "conclusion": CONCLUSION,
    }


def _note(login: str, text: str) -> Json:
    person = data.person(login)
    return {
        "authorReference": {"reference": f"Practitioner/{login}", "display": person.display},
        "time": _instant(datetime.now(UTC)),
        "text": text,
    }


def _now() -> Dataset:
    """Date and time of the acquisition, in UTC, and said to be so."""
    now = datetime.now(UTC)
    ds = Dataset()
    ds.TimezoneOffsetFromUTC = "+0000"
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{kind}Date", f"{now:%Y%m%d}")
        setattr(ds, f"{kind}Time", f"{now:%H%M%S}")
    return ds


def _row(study: Json) -> str:
    """A line of the imaging record (R006.2)."""
    procedure = elements.words(next(iter(study.get("procedureCode", [])), {}))
    images = elements.extension_value(study, codes.NUMBER_OF_IMAGES)
    status = elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION)
    return f"{study.get('started', 'not yet acquired'):<25} {procedure:<40} {images:>5} {status}"


def _name(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _instant(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _eventually(look: Callable[[], Awaitable[Found | None]], what: str) -> Found:
    """Look until it is there; give up after a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(0.1)
    raise UnexpectedError(f"{what} did not come within {PATIENCE_SECONDS} s")

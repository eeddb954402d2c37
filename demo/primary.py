"""The primary pathway as a play: refer, justify, schedule, acquire, report, acknowledge.

The images are those of `demo.cranium`; the names and numbers in them are those that the worklist
gave.
"""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset

from demo import cranium
from demo.hearing import Hearings
from demo.modality import from_worklist
from demo.orders import (
    CONCLUSION,
    HISTORY,
    JUSTIFICATION,
    OPERATION,
    REASON,
    REJECTION,
    Json,
    final_report,
    instant,
    note,
    now,
    requested_procedure,
)
from demo.story import expect, name
from resources import codes, elements
from resources.report import WHOLE_REPORT


class Primary(Hearings):
    """Figure 4-1 of the requirements."""

    steps = 26
    rooms: tuple[str, ...] = ("Location/northmoor-ct", "Device/northmoor-ct1")

    async def play(self) -> None:
        """Figure 4-1: refer, justify, schedule, acquire, report, acknowledge."""
        second = await self._refer()
        await self._justify()
        await self._reject(second)
        await self._schedule()
        item = await self._read_worklist(second)
        await self._acquire(item)
        await self._read_images()
        async with self._listening() as line:
            await self._write_report()
            task = await self._hear(line)
        await self._check_evidence()
        await self._acknowledge(task)
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
                "resource": requested_procedure(isr, code, display, self.patient.id),
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
            step.made = f"{name(self._request)}, {name(second)}"
            step.says(f"{isr}: {REASON}")
        self.facts += [
            ("patient", f"{self.patient.given} {self.patient.family}, Patient/{self.patient.id}"),
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
            expect(name(self._request) in focused, "the request is on the worklist")
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
                note=[note("practitioner", JUSTIFICATION)],
            )
            step.made = name(done)
            acquire = await self._task("operator", "acquire")
            expect(acquire["status"] == "requested", "the acquisition waits for its slot")
            self._request = await self._people.get("gp", name(self._request))
            accession = self._accession()
            step.says(f"made by itself: {name(acquire)}, accession number {accession}")
        self.facts.append(("accession number", accession))

    async def _reject(self, second: Json) -> None:
        with self._step("practitioner", "rejects the CT of the sinuses") as step:
            task = await self._task("practitioner", "justify", second)
            await self._people.change(
                "practitioner", task, status="rejected", statusReason={"text": REJECTION}
            )
            after = await self._people.get("gp", name(second))
            reason = elements.extension_value(after, codes.REQUEST_STATUS_REASON)
            expect(after["status"] == "revoked", "the request is revoked")
            expect(reason == {"text": REJECTION}, "with its reason")
            step.made = name(after)
            step.says(f"revoked: {REJECTION}")

    # --- schedule ---------------------------------------------------------------------------

    async def _schedule(self) -> None:
        with self._step(self.booker, "books the scanner") as step:
            start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=10)
            slot = await self._people.create(
                self.booker,
                {
                    "resourceType": "Appointment",
                    "status": "booked",
                    "basedOn": [{"reference": name(self._acquisition)}],
                    "start": instant(start),
                    "end": instant(start + timedelta(minutes=20)),
                    "participant": [
                        {"actor": {"reference": reference}, "status": "accepted"}
                        for reference in (f"Patient/{self.patient.id}", *self.rooms)
                    ],
                },
            )
            acquire = await self._task(self.operator, "acquire", self._acquisition)
            expect(acquire["status"] == "ready", "the acquisition is ready")
            step.made = name(slot)
            step.says(f"{name(acquire)} is ready, {acquire['executionPeriod']['start']}")

    async def _read_worklist(self, second: Json) -> Dataset:
        with self._step(self.scanner, f"asks for its worklist (findscu, {self._ct.tools})") as step:
            items = await self._ct.worklist(f"PatientID={self.patient.nhs_number}")
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
        with self._step(self.operator, "starts the examination, notes a reaction") as step:
            task = await self._task(self.operator, "acquire", self._acquisition)
            done = await self._people.change(
                self.operator,
                task,
                status="in-progress",
                owner={"reference": f"PractitionerRole/{self.operator}"},
                note=[note(self.operator, OPERATION)],
            )
            step.made = name(done)
            step.says(OPERATION)
        files = sorted((cranium.ASSETS / "cranium").glob("*.dcm"))
        with tempfile.TemporaryDirectory() as folder:
            with self._step(self.scanner, "acquires") as step:
                if not files:
                    cranium.prepare()
                    files = sorted((cranium.ASSETS / "cranium").glob("*.dcm"))
                images = cranium.acquired(
                    files, lambda ds: from_worklist(item, ds), Path(folder), now()
                )
                expect(images, "there are images")
                step.made = f"{len(images)} images"
            with self._step(
                self.scanner, f"sends {len(images)} images (storescu, {self._ct.tools})"
            ):
                await self._ct.send(images)
        with self._step("Isocentre", "settles the study") as step:
            self._study = await self._settled(len(images))
            step.made = name(self._study)
            task = await self._task(self.operator, "acquire", self._acquisition)
            expect(task["status"] == "completed", "the acquisition is completed by itself")
            report = await self._task(self.reporting, "report", self._reported)
            expect(report["status"] == "ready", "the report is on the worklist")
            step.says(f"available with {len(images)} instances; {name(report)} is ready")
        self.facts += [
            ("study", f"{name(self._study)}, {len(images)} CT instances"),
            ("Study Instance UID", self._study_uid),
        ]

    # --- report -----------------------------------------------------------------------------

    async def _write_report(self) -> None:
        with self._step(self.reporting, "takes the study from the reporting worklist") as step:
            task = await self._task(self.reporting, "report", self._reported)
            reading = {
                "status": "in-progress",
                "owner": {"reference": f"PractitionerRole/{self.reporting}"},
            }
            step.made = name(await self._people.change(self.reporting, task, **reading))
        with self._step(self.reporting, "issues the final report") as step:
            self._issued = time.perf_counter()
            made = await self._people.create(
                self.reporting,
                final_report(name(self._reported), name(self._study), self.patient.id),
            )
            self._report = await self._people.get(self.reporting, name(made))
            said = self._report["text"]["div"]
            for part in (REASON, HISTORY, JUSTIFICATION, OPERATION):
                expect(part in said, "the report repeats request and notes")
            titles = [one.get("title") for one in self._report["presentedForm"]]
            expect(WHOLE_REPORT in titles, "the whole report is there as a page")
            step.made = name(self._report)
            step.says("put in by the server: clinical information, notes, organisation, speciality")
        with self._step("Isocentre", "marks the study reported, ends the step") as step:
            task = await self._task(self.reporting, "report", self._reported)
            expect(task["status"] == "completed", "the report step is completed by itself")
            study = await self._people.get(self.reporting, name(self._study))
            status = elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION)
            expect(status == "reported", "the study is reported")
            step.made = name(task)
        self.facts.append(("report", name(self._report)))

    # --- acknowledge ------------------------------------------------------------------------

    async def _acknowledge(self, task: Json) -> None:
        with self._step("gp", "reads the version of the report that the step names") as step:
            unread = [name(one) for one in await self._unread()]
            expect(unread == [name(task)], "the report is on the acknowledgement worklist")
            pinned = elements.references(task["focus"])[0]
            version = await self._people.get("gp", pinned)
            expect(version["conclusion"] == CONCLUSION, "it is the report that was issued")
            step.made = pinned
        with self._step("gp", "acknowledges it") as step:
            # Meanwhile the server may note that it was delivered and opened: no version is named.
            asked = {"name": "task", "valueReference": {"reference": name(task)}}
            body = {"resourceType": "Parameters", "parameter": [asked]}
            await self._people.ask("gp", "POST", "Task/$acknowledge", body)
            done = await self._people.get("gp", name(task))
            expect(not await self._unread(), "it has left the worklist")
            step.made = name(done)
            request = await self._people.get("gp", name(self._request))
            expect(request["status"] == "completed", "the request is completed")
            step.says(f"{name(request)} is completed")

    async def _unread(self) -> list[Json]:
        return await self._people.search(
            "gp",
            f"Task?code={codes.ACKNOWLEDGE.token}&status=requested,received,accepted"
            f"&owner=PractitionerRole/gp&based-on={name(self._request)}",
        )

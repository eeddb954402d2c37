"""Reading back: images, evidence, record and walls, through the same addresses as anybody."""

from demo.orders import Json
from demo.story import Story, eventually, expect, name
from resources import codes, elements
from resources.imaging_study import manifest


class Readings(Story):
    """What is looked at in a play."""

    async def _settled(self, images: int) -> Json:
        """The study as soon as it holds all images."""

        async def look() -> Json | None:
            found = await self._people.search(
                self.operator, f"ImagingStudy?basedon={name(self._acquisition)}&status=available"
            )
            whole = [one for one in found if one.get("numberOfInstances") == images]
            return whole[0] if whole else None

        return await eventually(look, f"a study of {images} instances")

    async def _read_images(self) -> None:
        web = f"{self._settings.url}/dicom-web/studies"
        with self._step(self.reporting, "finds the study over DICOMweb (QIDO-RS)") as step:
            answer = await self._people.ask(
                self.reporting,
                "GET",
                f"{web}?AccessionNumber={self._accession()}",
                accept="application/dicom+json",
            )
            uids = [one["0020000D"]["Value"][0] for one in answer.json()]
            expect(uids == [self._study_uid], "one study of that accession number")
            step.made = self._study_uid
        with self._step(self.reporting, "reads the metadata of every instance (WADO-RS)") as step:
            answer = await self._people.ask(
                self.reporting,
                "GET",
                f"{web}/{self._study_uid}/metadata",
                accept="application/dicom+json",
            )
            headers = answer.json()
            expect(len(headers) == self._study["numberOfInstances"], "metadata of every instance")
            patients = {one["00100020"]["Value"][0] for one in headers}
            expect(patients == {self.patient.nhs_number}, "of the patient of the worklist")
            step.made = f"{len(headers)} instances"
        with self._step(self.reporting, "looks at an image (WADO-RS frame)") as step:
            one = headers[len(headers) // 2]
            series, instance = (one[tag]["Value"][0] for tag in ("0020000E", "00080018"))
            frame = await self._people.ask(
                self.reporting,
                "GET",
                f"{web}/{self._study_uid}/series/{series}/instances/{instance}/frames/1",
                accept='multipart/related; type="application/octet-stream"',
            )
            size = one["00280010"]["Value"][0] * one["00280011"]["Value"][0] * 2
            expect(len(frame.content) >= size, "all pixels of the frame")
            step.made = f"{size} octets of pixels"
        with self._step(
            self.scanner, f"finds the study at Study Root (findscu, {self._ct.tools})"
        ) as step:
            found = await self._ct.studies(f"AccessionNumber={self._accession()}")
            expect([str(one.StudyInstanceUID) for one in found] == [self._study_uid], "one study")
            step.made = f"{found[0].get('NumberOfStudyRelatedInstances', '')} instances"

    async def _check_evidence(self) -> None:
        with self._step("auditor", "asks which images the reporter had") as step:
            found = await self._people.search(
                "auditor", f"Provenance?target={name(self._report)}&_count=100"
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

    async def _read_record(self) -> None:
        with self._step("gp", "opens the patient's imaging record") as step:
            page = await self._people.get(
                "gp",
                f"ImagingStudy?patient=Patient/{self.patient.id}&_sort=-started"
                "&_revinclude=DiagnosticReport:imagingStudy",
            )
            names = [name(one["resource"]) for one in page["entry"]]
            expect({name(self._study), name(self._report)} <= set(names), "study and report")
            step.made = f"{len(names)} resources"
            for one in (entry["resource"] for entry in page["entry"]):
                if one["resourceType"] == "ImagingStudy":
                    step.says(_row(one))

    async def _check_walls(self) -> None:
        with self._step("reviewer", "of another trust looks for them, finds nothing") as step:
            page = await self._people.get(
                "reviewer", f"ImagingStudy?patient=Patient/{self.patient.id}&_total=accurate"
            )
            expect(page["total"] == 0 and not page.get("entry"), "nothing to see")
            step.made = "0 studies"
        with self._step("auditor", "reads who looked at the study") as step:
            events = await self._people.search(
                "auditor", f"AuditEvent?entity={name(self._study)}&_count=1000"
            )
            expect(events, "every access is recorded")
            step.made = f"{len(events)} audit events"


def _row(study: Json) -> str:
    """A line of the imaging record (R006.2)."""
    procedure = elements.words(next(iter(study.get("procedureCode", [])), {}))
    images = elements.extension_value(study, codes.NUMBER_OF_IMAGES)
    status = elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION)
    return f"{study.get('started', 'not yet acquired'):<25} {procedure:<40} {images:>5} {status}"

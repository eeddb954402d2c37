"""Reviewing: the plays in which somebody else looks again, informally or for a report."""

import base64
import time

from demo import data
from demo.orders import Json, final_report, note
from demo.primary import Primary
from demo.story import expect, name
from resources import codes, elements
from resources.report import WHOLE_REPORT

QUESTION = "Is there an extradural collection, and can he be transferred?"
OPINION = "No collection that needs surgery. Please keep him, and scan again if he deteriorates."
SECOND_OPINION = "A small lacunar infarct on the left, not seen before."


class FormalReview(Primary):
    """Figure 4-6: a second trust reports on what was reported; the whole goes to both referrers."""

    steps = 24
    patient = data.PATIENTS[1]

    async def play(self) -> None:
        """All of figure 4-1, and then the review of it."""
        second = await self._refer()
        await self._justify()
        await self._reject(second)
        await self._schedule()
        item = await self._read_worklist(second)
        await self._acquire(item)
        async with self._listening() as line:
            await self._write_report()
            task = await self._hear(line)
        await self._acknowledge(task)
        review = await self._ask_for_review()
        await self._review(review)
        await self._read_whole()
        await self._read_record()
        self._sum_up()
        self.ended = True

    async def _ask_for_review(self) -> Json:
        with self._step("gp2", "asks Westvale for a formal review of the study") as step:
            made = await self._people.create(
                "gp2",
                {
                    "resourceType": "ServiceRequest",
                    "status": "active",
                    "intent": "order",
                    "category": [codes.KIND_REVIEW_FORMAL.concept],
                    "requisition": {
                        "system": codes.ISR,
                        "value": f"{self._request['requisition']['value']}-REVIEW",
                    },
                    "priority": "urgent",
                    "subject": {"reference": f"Patient/{self.patient.id}"},
                    "requester": {"reference": "PractitionerRole/gp2"},
                    "performer": [{"reference": "Organization/westvale"}],
                    "reasonCode": [{"text": "She is still confused"}],
                    "supportingInfo": [{"reference": name(self._study)}],
                },
            )
            review = await self._people.get("gp2", name(made))
            named = elements.references(review["supportingInfo"])
            pinned = [one for one in named if one.startswith(f"{name(self._report)}/_history/")]
            expect(pinned, "the server names the version of the report that is reviewed")
            studies = await self._people.search(
                "gp2", f"ImagingStudy?patient=Patient/{self.patient.id}&basedon={name(review)}"
            )
            expect([name(one) for one in studies] == [name(self._study)], "no study is added")
            step.made = name(review)
        return review

    async def _review(self, review: Json) -> None:
        with self._step("westvale-reporter", "takes it from the reporting worklist") as step:
            task = await self._task("westvale-reporter", "report", review)
            owner = {"reference": "PractitionerRole/westvale-reporter"}
            step.made = name(
                await self._people.change(
                    "westvale-reporter", task, status="in-progress", owner=owner
                )
            )
        with self._step("westvale-reporter", "issues their report") as step:
            written = final_report(name(review), name(self._study), self.patient.id)
            made = await self._people.create(
                "westvale-reporter", {**written, "conclusion": SECOND_OPINION}
            )
            addendum = await self._people.get("westvale-reporter", name(made))
            root = elements.extension_value(addendum, codes.ADDENDUM_OF)
            expect(
                elements.unversioned(root["reference"]) == name(self._report),
                "it is an addendum to the report that was there",
            )
            step.made = name(addendum)

    async def _read_whole(self) -> None:
        for login in ("gp", "gp2"):
            with self._step(login, "gets the whole report, the newest part first") as step:
                (task,) = await self._people.search(
                    login,
                    f"Task?code={codes.ACKNOWLEDGE.token}&status=requested,received,accepted"
                    f"&owner=PractitionerRole/{login}&focus={name(self._report)}",
                )
                pinned = elements.references(task["focus"])[0]
                whole = await self._people.get(login, pinned)
                expect(whole["status"] == "appended", "the report was issued anew")
                (page,) = [
                    base64.b64decode(one["data"]).decode()
                    for one in whole["presentedForm"]
                    if one.get("title") == WHOLE_REPORT
                ]
                at = page.find(SECOND_OPINION)
                first = page.find(self._report["conclusion"].splitlines()[0])
                expect(0 <= at < first, "the addendum is ahead")
                step.made = pinned


class InformalReview(Primary):
    """Figure 4-5: an opinion of a neurosurgeon at another trust, without request or report."""

    steps = 23

    async def play(self) -> None:
        """As far as the images, and then the question."""
        second = await self._refer()
        await self._justify()
        await self._reject(second)
        await self._schedule()
        item = await self._read_worklist(second)
        await self._acquire(item)
        task = await self._ask()
        await self._look()
        await self._answer(task)
        async with self._listening() as line:
            await self._write_report()
            heard = await self._hear(line)
        await self._acknowledge(heard)
        await self._read_record()
        self._sum_up()
        self.ended = True

    async def _ask(self) -> Json:
        with self._step("reviewer", "of Westvale sees nothing of the patient") as step:
            page = await self._people.get(
                "reviewer", f"ImagingStudy?patient=Patient/{self.patient.id}"
            )
            expect(not page.get("entry"), "nothing to see before anybody asks")
            step.made = "0 studies"
        with self._step("practitioner", "asks Westvale for an opinion, at once") as step:
            self._asked = time.perf_counter()
            task = await self._people.create(
                "practitioner",
                {
                    "resourceType": "Task",
                    "status": "requested",
                    "intent": "proposal",
                    "priority": "stat",
                    "code": codes.REVIEW_INFORMAL.concept,
                    "focus": {"reference": name(self._study)},
                    "for": {"reference": f"Patient/{self.patient.id}"},
                    "requester": {"reference": "PractitionerRole/practitioner"},
                    "owner": {"reference": "Organization/westvale"},
                    "input": [{"type": codes.IO_CLINICAL_INFO.concept, "valueString": QUESTION}],
                },
            )
            step.made = name(task)
            step.says(QUESTION)
        return task

    async def _look(self) -> None:
        series = self._study["series"][0]
        instance = series["instance"][len(series["instance"]) // 2]
        address = (
            f"{self._settings.url}/dicom-web/studies/{self._study_uid}/series/{series['uid']}"
            f"/instances/{instance['uid']}/frames/1"
        )
        with self._step("reviewer", "looks at an image") as step:
            frame = await self._people.ask(
                "reviewer",
                "GET",
                address,
                accept='multipart/related; type="application/octet-stream"',
            )
            milliseconds = 1000 * (time.perf_counter() - self._asked)
            expect(len(frame.content) > 1000, "there are pixels")
            step.made = f"{len(frame.content)} octets"
            step.says(f"{milliseconds:.0f} ms after they were asked")
        self.facts.append(("asked to first image seen", f"{milliseconds:.0f} ms"))

    async def _answer(self, task: Json) -> None:
        with self._step("reviewer", "says what they think") as step:
            task = await self._people.get("reviewer", name(task))
            done = await self._people.change(
                "reviewer", task, status="completed", note=[note("reviewer", OPINION)]
            )
            seen = await self._people.get("practitioner", name(done))
            expect(seen["note"][0]["text"] == OPINION, "who asked reads the answer")
            page = await self._people.get(
                "reviewer", f"ImagingStudy?patient=Patient/{self.patient.id}"
            )
            expect(not page.get("entry"), "the look is over")
            step.made = name(done)
            step.says(OPINION)

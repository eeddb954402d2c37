"""A play: who does what in order, what is known so far, and a step that counts only when shown."""

import asyncio
import shlex
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from demo import data
from demo.load import note_study
from demo.modality import Modality
from demo.orders import Json
from demo.people import People
from demo.progress import Display
from fhir_server.settings import Settings
from resources import codes

Found = TypeVar("Found")

PATIENCE_SECONDS: Final = 60


class UnexpectedError(RuntimeError):
    """What was read back is not what had been done."""


def expect(condition: object, what: str) -> None:
    """Fail the step unless what was read back is so."""
    if not condition:
        raise UnexpectedError(what)


class Story:
    """One play: who does what, in order, and what is known so far.

    Who books, acquires and reports may be somebody else's people than the lead's.
    """

    booker = "coordinator"
    operator = "operator"
    reporting = "reporter"
    scanner = "CT1"
    patient = data.PATIENTS[0]

    def __init__(self, settings: Settings, people: People, display: Display) -> None:
        self.facts: list[tuple[str, str]] = []
        self.ended = False
        self._settings = settings
        self._people = people
        self._display = display
        dicom = settings.dicom_address
        self._ct = Modality(self.scanner, dicom.host, dicom.port, settings.ae_title)
        self._request: Json = {}
        self._onward: Json = {}  # by which the lead hands work out, if it does
        self._study: Json = {}
        self._report: Json = {}
        self._study_uid = ""
        self._issued = 0.0  # when the report was sent, as time.perf_counter has it

    def _step(self, login: str, what: str) -> Any:
        known = {person.login: person for person in data.PEOPLE}
        who = f"{known[login].display} ({known[login].role})" if login in known else login
        return self._display.step(who, what)

    async def _task(self, login: str, step: str, request: Json | None = None) -> Json:
        about = name(request or self._request)
        return await self._people.only(
            login, f"Task?based-on={about}&code={codes.IMAGING_STEP}|{step}"
        )

    @property
    def _acquisition(self) -> Json:
        """The request for which the images are acquired."""
        return self._request

    @property
    def _reported(self) -> Json:
        """The request for which the report is written."""
        return self._request

    def _accession(self) -> str:
        return next(
            str(one["value"])
            for one in self._acquisition.get("identifier", [])
            if codes.has(one.get("type"), codes.ACCESSION_NUMBER_TYPE)
        )

    def _sum_up(self) -> None:
        self.facts += [
            ("start page", self._settings.url),
            ("pages for those who run it", f"{self._settings.url}/admin"),
            ("who signs in there", ", ".join(data.DESK)),
            ("password of every login", data.PASSWORD),
        ]
        note_study(
            self._settings.data_dir,
            {
                "id": self._study["id"],
                "uid": self._study_uid,
                "accession": self._accession(),
                "patient": self.patient.id,
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
            f"curl -s {bearer} '{base}/{name(self._report)}'",
            f"curl -s {bearer} '{base}/ImagingStudy?patient={self.patient.id}&_sort=-started"
            "&_revinclude=DiagnosticReport:imagingStudy'",
            f"curl -s {bearer} '{base}/Provenance?target={name(self._report)}'",
            f"curl -s {bearer} -H 'Accept: application/dicom+json' "
            f"'{web}/studies?PatientID={self.patient.nhs_number}'",
        ]


def name(resource: Json) -> str:
    """``Type/id`` of a resource."""
    return f"{resource['resourceType']}/{resource['id']}"


async def eventually(look: Callable[[], Awaitable[Found | None]], what: str) -> Found:
    """Look until it is there; give up after a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(0.1)
    raise UnexpectedError(f"{what} did not come within {PATIENCE_SECONDS} s")

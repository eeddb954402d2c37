"""The modality of the demonstration: worklist and storage as a scanner does them.

It works with dcmtk, a DICOM implementation that is not ours, and with pynetdicom's own tools where
dcmtk is not to be had.

References
----------
* PS3.4 Annex K (Modality Worklist), Annex B (Storage), Annex C (Query)
* dcmtk: findscu(1), storescu(1)
"""

import asyncio
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

TIMEOUT_SECONDS: Final = 180

WORKLIST_KEYS: Final = (
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureID",
    "ReasonForTheRequestedProcedure",
    "RequestedProcedureComments",
    "ScheduledProcedureStepSequence[0].ScheduledStationAETitle",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepSequence[0].Modality",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepID",
)
STUDY_KEYS: Final = (
    "QueryRetrieveLevel=STUDY",
    "StudyInstanceUID",
    "PatientID",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)


class ToolError(RuntimeError):
    """A DICOM tool ended with an error; its last lines say why."""


@dataclass(frozen=True, slots=True)
class Modality:
    """A scanner with an AE title, and the archive that it talks to."""

    ae: str
    host: str
    port: int
    called: str

    @property
    def tools(self) -> str:
        """Whose tools are used."""
        return "dcmtk" if self._tool("findscu") else "pynetdicom"

    async def worklist(self, *matching: str) -> list[Dataset]:
        """The worklist items that match, such as ``PatientID=9990000107``."""
        return await self._find("-W", (*WORKLIST_KEYS, *matching))

    async def studies(self, *matching: str) -> list[Dataset]:
        """The studies that match, at Study Root."""
        return await self._find("-S", (*STUDY_KEYS, *matching))

    async def send(self, files: Sequence[Path]) -> None:
        """Store files over one association."""
        names = [str(file) for file in files]
        tool = self._tool("storescu")
        if tool:
            await _run([tool, *self._names(), self.host, str(self.port), *names])
            return
        folder = str(files[0].parent)
        await _run([*_PYNETDICOM, "storescu", self.host, str(self.port), folder, *self._names()])

    async def _find(self, model: str, keys: Sequence[str]) -> list[Dataset]:
        wanted = dict(key.partition("=")[::2] for key in keys)
        options = [
            part
            for key, value in wanted.items()
            for part in ("-k", f"{key}={value}" if value else key)
        ]
        tool = self._tool("findscu")
        with tempfile.TemporaryDirectory() as folder:
            if tool:
                call = [tool, model, "-X", "-od", folder, *self._names(), *options]
                await _run([*call, self.host, str(self.port)])
            else:
                call = [*_PYNETDICOM, "findscu", self.host, str(self.port), model, "-w"]
                await _run([*call, *self._names(), *options], folder)
            return [dcmread(file, force=True) for file in sorted(Path(folder).glob("rsp*.dcm"))]

    def _names(self) -> list[str]:
        return ["-aet", self.ae, "-aec", self.called]

    @staticmethod
    def _tool(name: str) -> str | None:
        """Find a tool of dcmtk: pynetdicom's of that name, where its environment is, is none."""
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        others = [one for one in folders if one != sysconfig.get_path("scripts")]
        return shutil.which(name, path=os.pathsep.join(others))


_PYNETDICOM: Final = (sys.executable, "-m", "pynetdicom")


def from_worklist(item: Dataset, ds: Dataset) -> None:
    """Put into an image what the worklist item says: a modality makes up no name or number."""
    for keyword in (
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
    ):
        setattr(ds, keyword, item.get(keyword, ""))
    if item.get("IssuerOfAccessionNumberSequence"):
        ds.IssuerOfAccessionNumberSequence = item.IssuerOfAccessionNumberSequence
    if "SpecificCharacterSet" in item:
        ds.SpecificCharacterSet = item.SpecificCharacterSet
    step = item.ScheduledProcedureStepSequence[0]
    ds.StudyID = item.get("RequestedProcedureID", "")
    ds.StudyDescription = item.get("RequestedProcedureDescription", "")
    request = Dataset()
    request.RequestedProcedureID = item.get("RequestedProcedureID", "")
    request.ScheduledProcedureStepID = step.get("ScheduledProcedureStepID", "")
    request.AccessionNumber = item.get("AccessionNumber", "")
    ds.RequestAttributesSequence = Items([request])


async def _run(call: Sequence[str], folder: str | None = None) -> None:
    """Run a tool to its end; its output is shown only if it fails."""
    process = await asyncio.create_subprocess_exec(
        *call,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ToolError(f"{Path(call[0]).name} took longer than {TIMEOUT_SECONDS} s") from None
    if process.returncode:
        said = output.decode(errors="replace").strip().splitlines()[-3:]
        raise ToolError(f"{Path(call[0]).name}: {' / '.join(said) or process.returncode}")

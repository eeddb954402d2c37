"""A served installation and its DICOM peers: over TLS, and asked at the command line."""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from tests.dicom_bridge.build import a_series
from tests.dicom_bridge.conftest import dcmtk as dcmtk
from tests.dicom_bridge.dimse.test_tls import Identity
from tests.dicom_bridge.orthanc import answers
from tests.flows.installation import Installation, free_port

pytestmark = [pytest.mark.slow, pytest.mark.peer]


@dataclass
class Hospital:
    """An installation with a TLS port, a workstation that comes over it, and DCMTK's archive."""

    served: Installation
    folder: Path
    dcmtk: str
    secure: int
    archive: int
    identities: dict[str, Identity]

    def dcm(self, study: list[Dataset], name: str) -> list[str]:
        """The files of a study."""
        paths = [self.folder / f"{name}{number}.dcm" for number in range(len(study))]
        for path, ds in zip(paths, study, strict=True):
            dcmwrite(path, ds, enforce_file_format=True)
        return [str(path) for path in paths]

    def say(self, program: str, *arguments: str, shown: str | None = "workstation") -> int:
        """Run a program of DCMTK as the workstation, over TLS with a certificate."""
        place = ["127.0.0.1", str(self.secure if shown else self.served.dicom)]
        secured: list[str] = []
        if shown:
            one, authority = self.identities[shown], self.identities["authority"]
            secured = ["+tls", str(one.key), str(one.path), "+cf", str(authority.path)]
        line = [f"{self.dcmtk}/{program}", *secured, "-aet", "WS1", "-aec", "ISOCENTRE", *place]
        return subprocess.run([*line, *arguments], capture_output=True, timeout=60).returncode

    def peer(self, what: str, *arguments: str) -> str:
        return self.served.command("peer", what, *arguments)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, dcmtk: str) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Identity(folder, "authority")
    identities = {
        "authority": authority,
        **{name: Identity(folder, name, authority) for name in ("server", "workstation", "other")},
    }
    secure, archive, server = free_port(), free_port(), identities["server"]
    settings = {
        "ISOCENTRE_DICOM_TLS": f"127.0.0.1:{secure}",
        "ISOCENTRE_DICOM_TLS_CERTIFICATE": str(server.path),
        "ISOCENTRE_DICOM_TLS_KEY": str(server.key),
        "ISOCENTRE_DICOM_TLS_AUTHORITIES": str(authority.path),
    }
    served = Installation(tmp_path_factory.mktemp("data"), "--http-workers", "1", settings=settings)
    store = folder / "qr"
    store.mkdir()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {archive}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nours = (ISOCENTRE, 127.0.0.1, {served.dicom})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQR {store} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(
        [f"{dcmtk}/dcmqrscp", "-c", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert answers(archive)
        served.start()
        served.command("demo", "load")
        places = json.loads((served.data / "demo.json").read_text())["organizations"]
        of = ("--organization", places[0]["ods"], "--host", "127.0.0.1")
        made = Hospital(served, folder, dcmtk, secure, archive, identities)
        made.peer("add", "--ae", "WS1", "--port", "104", "--tls-subject", "CN=workstation", *of)
        made.peer("add", "--ae", "DCMQR", "--port", str(archive), *of)
        yield made
    finally:
        served.stop()
        process.terminate()
        process.wait(10)


@pytest.mark.standard("PS3.15 B.12")
def test_a_workstation_comes_over_tls_with_its_own_certificate_and_not_otherwise(
    hospital: Hospital,
) -> None:
    assert hospital.say("echoscu") == 0
    assert hospital.say("echoscu", shown="other") != 0
    assert hospital.say("echoscu", shown=None) != 0


def test_operators_ask_a_peer_send_it_a_study_and_have_it_send_one(hospital: Hospital) -> None:
    ours, theirs = a_series(3), a_series(2)
    assert hospital.say("storescu", *hospital.dcm(ours, "ours")) == 0
    line = [f"{hospital.dcmtk}/storescu", "-aec", "DCMQR", "127.0.0.1", str(hospital.archive)]
    subprocess.run(
        [*line, *hospital.dcm(theirs, "theirs")], check=True, capture_output=True, timeout=60
    )
    uids = [str(study[0].StudyInstanceUID) for study in (ours, theirs)]

    end = time.monotonic() + 60
    settled = f"SELECT 1 FROM study WHERE study_uid = '{uids[0]}'"
    while not hospital.served.sql(settled) and time.monotonic() < end:
        time.sleep(0.1)
    assert "DCMQR answers" in hospital.peer("echo", "--ae", "DCMQR")
    assert hospital.peer("send", "--ae", "DCMQR", "--study", uids[0]) == "3 instances"
    held = hospital.peer("find", "--ae", "DCMQR", "-k", "PatientID=*")
    assert {row.split("\t")[0] for row in held.splitlines()} == set(uids)
    assert hospital.peer("retrieve", "--ae", "DCMQR", "--study", uids[1]) == "2 instances"

    rows = hospital.served.sql(
        "SELECT peer, count(*) FROM instance WHERE peer <> 'Peer/DEMO' GROUP BY peer ORDER BY peer"
    )
    assert rows == [("Peer/DCMQR", 2), ("Peer/WS1", 3)]
    listed = hospital.peer("list").splitlines()
    assert any(row.startswith("WS1\t") and row.endswith("\tCN=workstation") for row in listed)
    hospital.peer("remove", "--ae", "DCMQR")
    assert not any(row.startswith("DCMQR\t") for row in hospital.peer("list").splitlines())

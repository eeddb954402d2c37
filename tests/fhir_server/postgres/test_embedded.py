"""The embedded PostgreSQL: durable, shared, stopped by the last, back after a crash."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest

from fhir_server.postgres.embedded import DURABLE, embedded, running, sole_server
from resources.errors import Conflict

HOLD = """
import sys, time
from pathlib import Path
from fhir_server.postgres.embedded import DURABLE, embedded, sole_server
quick = {**DURABLE, "fsync": "off"}
with sole_server(Path(sys.argv[1])), embedded(Path(sys.argv[1]), settings=quick) as url:
    print(url, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder; not below pytest's own, which is closed to the cluster's user."""
    path = Path(tempfile.mkdtemp(prefix="isocentre-test-"))
    yield path
    shutil.rmtree(path)


def asked(url: str, sql: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(sql.encode()).fetchone()
        return "" if row is None else str(row[0])


def quick(folder: Path) -> AbstractContextManager[str]:
    """A cluster that need not outlive the machine."""
    return embedded(folder, settings={**DURABLE, "fsync": "off"})


def note(url: str) -> None:
    """Write something to find again."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table t as select 7 as x")


def hold(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    """A process that serves on a folder until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    process.stdout.close()
    return process, url


def test_what_is_acknowledged_is_durable(folder: Path) -> None:
    with embedded(folder) as url:
        assert asked(url, "show fsync") == "on"
        assert asked(url, "show synchronous_commit") == "on"
        assert asked(url, "show full_page_writes") == "on"


def test_two_users_share_a_cluster_and_the_last_one_stops_it(folder: Path) -> None:
    with quick(folder) as first:
        with quick(folder) as second:
            assert first == second
        assert running(folder / "pg") is not None
    assert running(folder / "pg") is None


def test_what_was_written_is_there_the_next_time(folder: Path) -> None:
    with quick(folder) as url:
        note(url)
    with quick(folder) as url:
        assert asked(url, "select x from t") == "7"


def test_a_second_server_on_a_data_folder_is_refused_in_one_sentence(folder: Path) -> None:
    with (
        sole_server(folder),
        pytest.raises(Conflict, match=r"^Another server is already using the data folder [^.]*\.$"),
        sole_server(folder),
    ):
        pass
    with sole_server(folder):
        pass


def test_a_command_joins_the_cluster_of_a_running_server_and_leaves_it_running(
    folder: Path,
) -> None:
    process, url = hold(folder)
    try:
        with quick(folder) as joined:
            assert joined == url
        assert asked(url, "select 1") == "1"
    finally:
        process.terminate()
        process.wait()


def test_after_a_kill_of_everything_the_next_start_recovers(folder: Path) -> None:
    process, url = hold(folder)
    note(url)
    postmaster = running(folder / "pg")
    assert postmaster is not None

    process.kill()
    process.wait()
    os.kill(postmaster.pid, signal.SIGKILL)
    with sole_server(folder), quick(folder) as again:
        assert asked(again, "select x from t") == "7"


def test_a_cluster_left_behind_by_a_killed_server_is_joined_and_then_stopped(
    folder: Path,
) -> None:
    process, url = hold(folder)
    process.kill()
    process.wait()

    with quick(folder) as joined:
        assert joined == url
    assert running(folder / "pg") is None


def test_a_pid_file_that_names_the_process_of_another_cluster_does_no_harm(
    folder: Path, cluster: str
) -> None:
    with quick(folder) as url:
        note(url)
        lines = (folder / "pg" / "postmaster.pid").read_text().splitlines()
    pid_file = folder / "pg" / "postmaster.pid"
    with psycopg.connect(cluster) as connection:
        lines[0] = str(connection.info.backend_pid)
        pid_file.write_text("\n".join(lines))
        os.chown(pid_file, (folder / "pg").stat().st_uid, -1)

        with quick(folder) as again:
            assert asked(again, "select x from t") == "7"


def test_a_path_too_long_for_a_socket_gets_a_private_folder(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)

    with quick(deep) as url:
        assert asked(url, "select 1") == "1"
        postmaster = running((deep / "pg").resolve())
        assert postmaster is not None
        assert len(postmaster.socket_folder) < 60
        assert Path(postmaster.socket_folder).stat().st_mode & 0o077 == 0
    assert not Path(postmaster.socket_folder).exists()


def test_nobody_else_can_enter_the_folder_of_the_socket(folder: Path) -> None:
    with quick(folder) as url:
        assert asked(url, "show listen_addresses") == ""
        assert (folder / "pg").stat().st_mode & 0o077 == 0

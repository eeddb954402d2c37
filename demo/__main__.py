"""``make demo``: the server with demo data, and the primary workflow played on real images.

Usage: ``python -m demo [--once] [--data-dir data]``. Where an option is not given, the server's
settings hold (``ISOCENTRE_DATA_DIR``, ``ISOCENTRE_HTTP`` and so on). Without ``--once`` it goes on
serving until Ctrl-C; with it, it ends with status 0 only when every step was read back over HTTP
and DICOM.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from fhir_server.settings import read
from resources.errors import Invalid

COMMAND = [sys.executable, "-m", "fhir_server.cli"]
START_SECONDS = 60
STOP_SECONDS = 15


def ready(base: str) -> bool:
    """Ask the server whether it can answer."""
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def started(server: subprocess.Popen[bytes], base: str) -> bool:
    """Wait until the server is ready; the last line of its log says why if it ended."""
    for _ in range(START_SECONDS * 10):
        if server.poll() is not None:
            return False
        if ready(base):
            return True
        time.sleep(0.1)
    return False


def main() -> int:
    """Serve, load, play, and stay or stop."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="play, then exit with 0 or 1")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--http")
    parser.add_argument("--dicom")
    options = parser.parse_args()
    try:
        settings = read(data_dir=options.data_dir, http=options.http, dicom=options.dicom)
    except Invalid as error:
        print(error.reason, file=sys.stderr)
        return 1
    place = ["--data-dir", str(settings.data_dir)]
    serve = [*COMMAND, "serve", *place, "--http", settings.http, "--dicom", settings.dicom]
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log = settings.data_dir / "serve.log"
    with log.open("ab") as sink:
        server = subprocess.Popen(serve, stdout=sink, stderr=sink)
    status = 1
    try:
        if not started(server, f"http://{settings.http}"):
            print(log.read_text().rstrip().rpartition("\n")[2], file=sys.stderr)
            return 1
        subprocess.run([*COMMAND, "demo", "load", *place], check=True)
        status = subprocess.run(
            [*COMMAND, "demo", "play", "--pathway", "primary", *place], check=False
        ).returncode
        if not options.once:
            print(f"Serving until Ctrl-C; the server's log is {log}.")
            server.wait()
    except KeyboardInterrupt:
        print("Stopping.")
    except subprocess.CalledProcessError as error:
        status = error.returncode
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(STOP_SECONDS)
    return status


if __name__ == "__main__":
    sys.exit(main())

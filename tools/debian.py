"""Install Debian packages that are missing: with apt when root, else say in one line what to do.

Usage: ``python tools/debian.py PACKAGE...``. It never fails: what needs these packages has a
fallback (pynetdicom's tools for dcmtk's, pydicom-data for the head CT) or says what is missing.
"""

import os
import shutil
import subprocess
import sys


def missing(packages: list[str]) -> list[str]:
    """Name those of `packages` that dpkg does not know as installed; all, without dpkg."""
    if shutil.which("dpkg-query") is None:
        return packages
    return [
        name
        for name in packages
        if b"ok installed"
        not in subprocess.run(
            ["dpkg-query", "--show", "--showformat=${Status}", name],
            capture_output=True,
            check=False,
        ).stdout
    ]


def main(packages: list[str]) -> None:
    """Install what is missing, or say what to install."""
    wanted = missing(packages)
    if not wanted:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
        for command in (["apt-get", "update"], install):
            subprocess.run(command, env=environment, check=False, **quiet)  # type: ignore[call-overload]
        wanted = missing(wanted)
    if wanted:
        print(f"Not installed: {' '.join(wanted)}. As root: apt-get install {' '.join(wanted)}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Supervisor: starts a process a role, and keeps them, and PostgreSQL beneath them, running.

Nothing here polls: a signal, an exit and a word from a process all wake one selector. A process
that died is started again; so is PostgreSQL, in its place, while the roles ask their callers to
come back.

signal(7), pidfd_open(2), socketpair(2).
"""

import contextlib
import logging
import os
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from fhir_server.postgres.embedded import Postmaster, revive
from fhir_server.settings import Settings, environment
from resources.errors import Exhausted

DELAYS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a process that died is started again: the first, second, ... time in a row."""
STEADY_SECONDS: Final = 30.0
"""A process that lived this long is no longer one that keeps dying."""
START_SECONDS: Final = 60.0
REVIVE_SECONDS: Final = 60.0
"""So long it is tried to start PostgreSQL again, which may be killed while it recovers."""
REVIVE_AGAIN_SECONDS: Final = 1.0
STOP_SECONDS: Final = 6.0
"""How long the roles may take to finish; then they are killed, and PostgreSQL is stopped."""
HASTY_SECONDS: Final = 1.0
"""The same when there is no database: nothing they are doing can end well."""

STOP: Final = "stop"
NO_DATABASE: Final = "no database"
DATABASE: Final = "database"
"""What the selector tells of, beside the processes: the last is that PostgreSQL runs again."""

_log = logging.getLogger(__name__)


@dataclass
class Charge:
    """One process that is looked after, through all its lives."""

    role: str
    number: int
    process: subprocess.Popen[bytes] | None = None
    leash: socket.socket | None = None
    pidfd: int = -1
    began: float = 0.0
    deaths: int = 0
    due: float = 0.0
    ready: bool = False

    @property
    def name(self) -> str:
        """As it stands in logs: ``http-1``."""
        return f"{self.role}-{self.number}"


@dataclass
class Supervisor:
    """All processes of one server, and what wakes it."""

    settings: Settings
    database_url: str
    postmaster: Postmaster | None
    charges: list[Charge]
    announce: Callable[[], None]
    stopping: bool = False
    without_database: bool = False
    announced: bool = False
    pidfd: int = -1
    losses: list[float] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self, signals: socket.socket) -> None:
        """Start everything and look after it until a signal comes, or the database is lost.

        A database that ends by itself is started again beneath the others, who meanwhile ask their
        callers to come back; it is lost when that fails.

        Raises
        ------
        Exhausted
            A role does not start.
        """
        self.selector.register(signals, selectors.EVENT_READ, STOP)
        allow_many_files()
        deadline = time.monotonic() + START_SECONDS
        with ExitStack() as stack:
            stack.callback(self.selector.close)
            stack.callback(self._unwatch)
            stack.callback(self._stop)
            if self.postmaster is not None:
                self._watch(self.postmaster)
            for charge in self.charges:
                self._start(charge)
            while not self.stopping:
                self._turn(None if self.announced else deadline)

    def _turn(self, deadline: float | None) -> None:
        """Wait for the next thing that happens, and do what it asks for."""
        due = [charge.due for charge in self.charges if charge.process is None]
        until = min([*due, *([deadline] if deadline else [])], default=None)
        wait = None if until is None else max(0.0, until - time.monotonic())
        for key, _ in self.selector.select(wait):
            if key.data == STOP:
                self.stopping = True
            elif key.data == NO_DATABASE:
                self._lost_database()
            elif key.data == DATABASE:
                self._has_database(key.fileobj)
            elif key.fileobj == key.data.pidfd:
                self._died(key.data)
            else:
                self._heard(key.data)
        if self.stopping:
            return
        if deadline is not None and time.monotonic() > deadline:
            late = ", ".join(charge.name for charge in self.charges if not charge.ready)
            raise Exhausted(f"not ready after {START_SECONDS:.0f} seconds: {late}")
        for charge in self.charges:
            if charge.process is None and charge.due <= time.monotonic():
                self._start(charge)

    def _watch(self, postmaster: Postmaster) -> None:
        """Hear of the end of PostgreSQL."""
        self.postmaster, self.pidfd = postmaster, os.pidfd_open(postmaster.pid)
        self.selector.register(self.pidfd, selectors.EVENT_READ, NO_DATABASE)

    def _unwatch(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _lost_database(self) -> None:
        """Start PostgreSQL again, in a thread: it may take its time to recover."""
        self.selector.unregister(self.pidfd)
        self._unwatch()
        self._begin_again()

    def _begin_again(self) -> None:
        """Start PostgreSQL again, later each time that it ends soon."""
        recent = [at for at in self.losses if time.monotonic() - at < STEADY_SECONDS]
        self.losses = [*recent, time.monotonic()]
        delay = DELAYS[min(len(recent), len(DELAYS)) - 1] if recent else 0.0
        _log.error("PostgreSQL ended by itself and is started again", extra={"seconds": delay})
        ours, theirs = socket.socketpair()
        self.selector.register(ours, selectors.EVENT_READ, DATABASE)
        threading.Thread(target=self._revive, args=(theirs, delay), daemon=True).start()

    def _revive(self, told: socket.socket, delay: float) -> None:
        assert self.postmaster is not None
        until = time.monotonic() + REVIVE_SECONDS
        with told:
            while True:
                time.sleep(delay)
                if self.stopping:
                    return
                try:
                    self.postmaster = revive(self.settings.data_dir, self.postmaster)
                except Exception:
                    if time.monotonic() > until:
                        _log.exception("PostgreSQL does not start")
                        return
                    _log.warning("PostgreSQL does not start yet", exc_info=True)
                    delay = REVIVE_AGAIN_SECONDS
                else:
                    with contextlib.suppress(OSError):  # nobody waits for it any more
                        told.send(DATABASE.encode())
                    return

    def _has_database(self, told: Any) -> None:
        """Look after PostgreSQL again, or give up if it did not start."""
        self.selector.unregister(told)
        with told:
            if told.recv(64) and self.postmaster is not None:
                try:
                    self._watch(self.postmaster)
                except ProcessLookupError:  # it has ended again meanwhile
                    self._begin_again()
                return
        self.stopping = self.without_database = True

    def _start(self, charge: Charge) -> None:
        """Give a process its seat."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "fhir_server.cli", charge.role]
        command += ["--seat", str(charge.number), "--leash", str(theirs.fileno())]
        charge.process = subprocess.Popen(
            command,
            env=os.environ
            | environment(self.settings)
            | {"ISOCENTRE_DATABASE_URL": self.database_url, "ISOCENTRE_DATABASE_OWNER_URL": ""},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        charge.leash, charge.ready, charge.began = ours, False, time.monotonic()
        charge.pidfd = os.pidfd_open(charge.process.pid)
        self.selector.register(ours, selectors.EVENT_READ, charge)
        self.selector.register(charge.pidfd, selectors.EVENT_READ, charge)

    def _heard(self, charge: Charge) -> None:
        """Note that a process is ready, and announce the server when all are."""
        if charge.leash is None:
            return
        if not charge.leash.recv(64):
            self._let_go(charge)
            return
        charge.ready = True
        if not self.announced and all(each.ready for each in self.charges):
            self.announced = True
            self.announce()

    def _died(self, charge: Charge) -> None:
        """Bury a process, and say when it is started again."""
        status = self._bury(charge)
        if not self.announced:
            raise Exhausted(f"{charge.name} did not start (exit status {status}); its log says why")
        lived = time.monotonic() - charge.began
        charge.deaths = 1 if lived > STEADY_SECONDS else charge.deaths + 1
        delay = DELAYS[min(charge.deaths, len(DELAYS)) - 1]
        charge.due = time.monotonic() + delay
        _log.error(
            "%s died and is started again", charge.name, extra={"exit": status, "seconds": delay}
        )

    def _bury(self, charge: Charge) -> int:
        assert charge.process is not None
        status = charge.process.wait()
        self.selector.unregister(charge.pidfd)
        os.close(charge.pidfd)
        self._let_go(charge)
        charge.process = None
        return status

    def _let_go(self, charge: Charge) -> None:
        if charge.leash is not None:
            self.selector.unregister(charge.leash)
            charge.leash.close()
            charge.leash = None

    def _stop(self) -> None:
        """Ask every process to finish, and kill those that take too long."""
        self.stopping = True
        living = [charge for charge in self.charges if charge.process is not None]
        for charge in living:
            assert charge.process is not None
            charge.process.terminate()
        patience = HASTY_SECONDS if self.without_database else STOP_SECONDS
        deadline = time.monotonic() + patience
        for charge in living:
            assert charge.process is not None
            try:
                charge.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("%s did not finish in time and is killed", charge.name)
                charge.process.kill()
            self._bury(charge)


def allow_many_files() -> None:
    """Let every process have as many open files, and so connections, as the system allows it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

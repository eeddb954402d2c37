"""What one sees of a play: a progress bar, a line for each step, and the summary at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table


@dataclass(slots=True)
class Step:
    """One step: who, what; and when it is done, which resource and how long it took."""

    who: str
    what: str
    made: str = ""
    milliseconds: float = 0.0
    done: bool = False
    notes: list[str] = field(default_factory=list)

    def says(self, line: str) -> None:
        """Add a line that is printed below the step."""
        self.notes.append(line)


class Display:
    """The display of one play."""

    def __init__(self, console: Console, title: str, expected: int) -> None:
        self.steps: list[Step] = []
        self.console = console
        self._title = title
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._bar: TaskID = self._progress.add_task(title, total=expected)

    def __enter__(self) -> Self:
        self.console.rule(f"[bold]{self._title}")
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, who: str, what: str) -> Iterator[Step]:
        """Show a step while it runs, then print it with its time; one that fails too."""
        step = Step(who, what)
        self.steps.append(step)
        self._progress.update(self._bar, description=f"{who}: {what}")
        started = time.perf_counter()
        try:
            yield step
            step.done = True
        except Exception as error:
            step.says(f"[red]{type(error).__name__}: {error}")
            raise
        finally:
            step.milliseconds = (time.perf_counter() - started) * 1000
            self._progress.advance(self._bar)
            self._print(step)

    def summary(self, facts: list[tuple[str, str]]) -> None:
        """Print the table at the end."""
        table = Table(title=self._title, show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in facts:
            table.add_row(name, value)
        done = sum(step.done for step in self.steps)
        total = sum(step.milliseconds for step in self.steps) / 1000
        table.add_row("steps", f"{done} of {len(self.steps)} done and read back, {total:.1f} s")
        self.console.print(table)

    def _print(self, step: Step) -> None:
        mark = "[green]✓[/]" if step.done else "[red]✗[/]"
        made = f" [cyan]{step.made}[/]" if step.made else ""
        number = len(self.steps)
        self._progress.console.print(
            f"{mark} {number:2} [bold]{step.who}[/] {step.what}{made} "
            f"[dim]{step.milliseconds:.0f} ms[/]",
            highlight=False,
            soft_wrap=True,
        )
        for line in step.notes:
            self._progress.console.print(f"      {line}", highlight=False, soft_wrap=True)

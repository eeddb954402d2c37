"""The page ``docs/workflows.md``: what each pathway file makes people do, for a clinician to read.

A diagram has a lane for each party and a box for each step that somebody does. An arrow says what a
step waits for: the step that its file names, the one whose end a condition asks for, or the one
that brings the images or the report that a condition asks for.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from resources import plan
from resources.conditions import Query
from resources.plan import Action

Json = Mapping[str, Any]

FOLDER: Final = Path(plan.__file__).parent / "pathways"

ORDER: Final = (
    "primary",
    "outsourced-acquisition",
    "outsourced-reporting",
    "outsourced-acquisition-and-reporting",
    "review-formal",
)
"""The figures of the requirements, in their order; other files come after them, by name."""

LANES: Final[Mapping[str, str]] = {
    "lead": "Lead provider",
    "provider": "Organisation that works for it",
    "recipients": "Referrer, and whoever else the report is for",
}
REVIEWER: Final = "Reviewing organisation"
"""Whom a formal review asks plays the part of the lead in it."""

BRINGS: Final[Mapping[str, str]] = {"ImagingStudy": "acquire", "DiagnosticReport": "report"}
"""What exists -> the step that brings it about."""

THEIRS: Final = "their-"
"""Begins the id of a step of the request that an onward request serves."""

WORDS: Final[Mapping[str, str]] = {"stat": "at once", "asap": "as soon as possible"}

PAGE: Final = Path(__file__).with_suffix(".md")


def page() -> str:
    """Give the text of ``docs/workflows.md``."""
    names = sorted(path.stem for path in FOLDER.glob("*.json"))
    ordered = [*ORDER, *(name for name in names if name not in ORDER)]
    return PAGE.read_text("utf-8").format(pathways="\n".join(_pathway(name) for name in ordered))


def _pathway(name: str) -> str:
    file: Json = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    actions = plan.load(name)
    titles = {one["id"]: str(one["title"]) for one in file["action"]}
    follows = [titles[one.id] for one in actions if one.step is None]
    return "\n".join(
        [
            f"## {file['title']}",
            "",
            str(file["description"]),
            "",
            *_diagram(name, actions, titles),
            "",
            "| step | who | due, by priority |",
            "|---|---|---|",
            *(
                f"| {titles[one.id]} | {_lane(name, one)} | {_due(one)} |"
                for one in actions
                if one.step
            ),
            "",
            "What follows by itself:",
            "",
            *(f"- {title}." for title in dict.fromkeys(follows)),
            "",
        ]
    )


def _diagram(name: str, actions: Iterable[Action], titles: Mapping[str, str]) -> Iterable[str]:
    steps = [one for one in actions if one.step]
    yield "```mermaid"
    yield "flowchart LR"
    for lane in dict.fromkeys(_lane(name, one) for one in steps):
        inside = [one for one in steps if _lane(name, one) == lane]
        yield f'  subgraph {inside[0].party}["{lane}"]'
        yield from (f'    {one.id}["{titles[one.id]}"]' for one in inside)
        yield "  end"
    arrows = [(before, one.id) for one in steps for before in _before(one, steps)]
    arrows += [arrow for one in actions if one.step is None for arrow in _told(one, steps)]
    for before in dict.fromkeys(before for before, _ in arrows if before.startswith(THEIRS)):
        yield f'  {before}(["Of the request that it serves: {before.removeprefix(THEIRS)}"])'
    yield from (f"  {before} --> {after}" for before, after in dict.fromkeys(arrows))
    yield "```"


def _before(action: Action, steps: Iterable[Action]) -> Iterable[str]:
    """The steps that one waits for, by their ids; those of another request begin with `THEIRS`."""
    listed = list(steps)
    yield from action.after
    for query in (*action.start, *action.ready):
        if query.none or query.again:
            continue
        for step in _awaited(query):
            own = [one for one in listed if one.step == step and one.id != action.id]
            if not query.of:
                yield from (one.id for one in own)
            else:
                yield f"{THEIRS}{step}"


def _told(action: Action, steps: Iterable[Action]) -> Iterable[tuple[str, str]]:
    """The steps that an open one hears from by itself, as whoever watches over others does."""
    first, *others = action.start
    if first.type != "Task" or first.of:
        return
    listed, code = list(steps), dict(first.criteria).get("code", frozenset())
    for query in others:
        for step in () if query.none or query.of else _awaited(query):
            yield from (
                (one.id, watching.id)
                for watching in listed
                for one in listed
                if {watching.step} == code and one.step == step
            )


def _awaited(query: Query) -> Iterable[str]:
    if query.type in BRINGS:
        yield BRINGS[query.type]
    asked = dict(query.criteria)
    if query.type == "Task" and "completed" in asked.get("status", ()):
        yield from sorted(asked.get("code", ()))


def _lane(name: str, action: Action) -> str:
    if name.startswith("review-") and action.party == "lead":
        return REVIEWER
    return LANES.get(action.party, action.party)


def _due(action: Action) -> str:
    said = []
    for priority, within in action.due.items():
        hours = int(within.total_seconds() // 3600)
        time = f"{hours // 24} d" if hours >= 24 else f"{hours} h"
        said.append(f"{WORDS.get(priority, priority)}: {time}")
    return ", ".join(said) or "by the [deadlines of acknowledgement](acknowledgement.md)"

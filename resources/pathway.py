"""The pathway engine: what exists of one request, and what that makes necessary next.

`necessary` looks at the whole of one ServiceRequest (itself, its Tasks, Appointments, studies and
reports) and a pathway, and answers with what is missing. It asks what is, not what happened, so
the order of events does not matter, asking twice changes nothing, and work that was interrupted is
finished by the next event. `reconcile` asks until nothing is missing.

A step that its file does not name does not exist: what `pathways/README.md` lists is all that this
module knows. Ids of what it makes follow from the request and the step, so two who find the same
thing missing make the same thing.

References
----------
* FHIR R4 PlanDefinition, ServiceRequest, Task; Workflow, "Request and event life cycles"
* docs/representation.md, "Steps"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.agreement import Agreement
from resources.conditions import found, holds
from resources.errors import Forbidden
from resources.pathway_changes import changes, granted, is_about_matches
from resources.pathway_steps import Create as Create
from resources.pathway_steps import Next as Next
from resources.pathway_steps import Update as Update
from resources.pathway_steps import is_about, is_step, new_step, parties, put
from resources.pathway_values import Scene, value_of
from resources.plan import Action
from resources.request_state import Held, RequestState, begins
from resources.task import FINAL, step_of

Json = Mapping[str, Any]
WITHDRAWN: Final = frozenset({"revoked", "entered-in-error"})
MANY_TURNS: Final = 128


def reconcile(
    pathway: tuple[Action, ...], agreement: Agreement, state: RequestState, instant: str
) -> tuple[Next, ...]:
    """Everything a request needs now, one write a resource.

    Examples
    --------
    >>> from resources.plan import load
    >>> plain = {"resourceType": "ServiceRequest", "id": "1", "status": "active"}
    >>> reconcile(load("primary"), Agreement(""), RequestState(Held(plain, 1)), "2026-01-01")
    ()
    """
    return reconcile_all([Case(pathway, agreement, state)], instant)


class Case(NamedTuple):
    """A request, its pathway, and what its lead has agreed."""

    pathway: tuple[Action, ...]
    agreement: Agreement
    state: RequestState


def reconcile_all(cases: Sequence[Case], instant: str) -> tuple[Next, ...]:
    """Everything that requests which hang together need now, one write a resource.

    Parameters
    ----------
    cases
        Onward requests before the request that they serve: what they withhold is withheld before
        it is given out.
    """
    first = {
        held.reference: held for case in cases for held in (case.state.request, *case.state.others)
    }
    touched: dict[str, Json] = {}
    for _ in range(MANY_TURNS):
        acting, wanted = next(
            (
                (at, wanted)
                for at, case in enumerate(cases)
                if (wanted := necessary(case.pathway, case.agreement, case.state, instant))
            ),
            (0, ()),
        )
        if not wanted:
            break
        for one in wanted:
            reference = f"{one.json['resourceType']}/{one.json['id']}"
            version = first[reference].version + 1 if reference in first else 1
            touched[reference] = one.json
            held = Held(one.json, version)
            cases = [
                case._replace(
                    state=case.state.having(held)
                    if at == acting and isinstance(one, Create)
                    else case.state.knowing(held)
                )
                for at, case in enumerate(cases)
            ]
    else:
        raise AssertionError("a pathway that never comes to rest")
    return tuple(
        Update(after, first[reference].version) if reference in first else Create(after)
        for reference, after in touched.items()
    )


def necessary(
    pathway: tuple[Action, ...], agreement: Agreement, state: RequestState, instant: str
) -> tuple[Next, ...]:
    """What the first action with anything to do needs; empty when the request is at rest.

    Parameters
    ----------
    instant
        FHIR instant of the change, the time of what is made.
    """
    if not begins(state.request.json):
        return ()
    if state.request.json.get("status") in WITHDRAWN:
        called_off = tuple(
            Update({**task.json, "status": "cancelled", "lastModified": instant}, task.version)
            for task in state.of_type("Task")
            if task.json.get("status") not in FINAL and _is_called_off(step_of(task.json))
        )
        if called_off:
            return called_off
    for action in pathway:
        wanted = tuple(_wanted(action, agreement, state, instant))
        if wanted:
            return wanted
    return ()


def check_made(
    pathway: tuple[Action, ...], agreement: Agreement, state: RequestState, task: Json
) -> None:
    """Refuse a step that somebody made who thereby would do another party's work.

    The pathway makes its steps itself; one that a person makes, again or beforehand, belongs to
    the same party and begins at its beginning.

    Raises
    ------
    Forbidden
        The step belongs to another party, or has begun or ended already.
    """
    action = next((one for one in pathway if one.step and one.step == step_of(task)), None)
    if action is None:
        return
    about = [one for one in state.others if is_about(task, one.reference)]
    scene = Scene(state, agreement, "", about[0] if action.multiple and about else state.request)
    owner = elements.references(task.get("owner"))
    if owner not in [elements.references(party) for party in parties(action, scene)]:
        raise Forbidden(f"{action.step} is a step of another party", "Task.owner", "relationship")
    if task.get("status") not in ("draft", "requested"):
        raise Forbidden("a step begins as requested", "Task.status", "relationship")


def stamped(case: Case, json: Json) -> Json:
    """What a pathway makes of something that is about to be written for its request."""
    new = Held({"id": "", **json}, 0)
    state = case.state.having(new)
    for action in case.pathway:
        if action.step or action.grant or not is_about_matches(action):
            continue
        for match in _matches(action, state):
            if match.reference != new.reference:
                continue
            for one in changes(action, Scene(state, case.agreement, "", match)):
                new = Held(one.json, 0)
                state = state.having(new)
    return {name: value for name, value in new.json.items() if name != "id" or "id" in json}


def _is_called_off(step: str | None) -> bool:
    """Whether a step ends with its request: a report that was issued is still to be answered."""
    return step not in (None, codes.ACKNOWLEDGE.code)


def _wanted(
    action: Action, agreement: Agreement, state: RequestState, instant: str
) -> Iterable[Next]:
    matches = _matches(action, state)
    if action.grant is not None:
        scene = Scene(state, agreement, instant, state.request)
        yield from granted(action, action.grant, scene, holds=bool(matches))
        return
    if action.step is None:
        for match in matches if is_about_matches(action) else matches[:1]:
            yield from changes(action, Scene(state, agreement, instant, match))
        return
    for match in matches if action.multiple else matches[:1]:
        scene = Scene(state, agreement, instant, match)
        for party in parties(action, scene):
            there = [
                task.json
                for task in state.of_type("Task")
                if is_step(action, task.json, match, party)
            ]
            if not there or _is_due_again(action, state, there):
                yield from new_step(action, scene, party)
    for task in state.of_type("Task"):
        if step_of(task.json) == action.step and task.json.get("status") not in FINAL:
            yield from _moved(action, task, Scene(state, agreement, instant, state.request))


def _is_due_again(action: Action, state: RequestState, there: Iterable[Json]) -> bool:
    """Whether a step that has ended is to be done once more."""
    return (
        bool(action.again)
        and all(task.get("status") in FINAL for task in there)
        and all(holds(query, state) for query in action.again)
    )


def _matches(action: Action, state: RequestState) -> tuple[Held, ...]:
    """What the first start condition found, provided that everything waited for is there."""
    done = {
        step_of(task.json)
        for task in state.of_type("Task")
        if task.json.get("status") == "completed"
    }
    if not all(step in done for step in action.after):
        return ()
    if not all(holds(query, state) for query in action.start if not query.new):
        return ()
    new = [query for query in action.start if query.new]
    return tuple(
        match
        for match in found(action.start[0], state)
        if all(holds(query, state, match.json) for query in new)
    )


def _moved(action: Action, task: Held, scene: Scene) -> Iterable[Next]:
    """An open step that is done, has become ready, or is ready no longer."""
    status = task.json.get("status")
    if action.stop and all(holds(query, scene.state, task.json) for query in action.stop):
        done: dict[str, Any] = {**task.json, "status": "completed", "lastModified": scene.instant}
        for path, name in action.values:
            if path.startswith("output["):
                put(done, path, value_of(name, scene))
        yield Update(done, task.version)
        return
    if not action.ready or status not in ("requested", "received", "accepted", "ready"):
        return
    ready = all(holds(query, scene.state) for query in action.ready)
    now: dict[str, Any] = dict(task.json)
    for path in ("executionPeriod", "location"):
        now.pop(path, None)
    for path, name in action.values:
        if ready and path in ("executionPeriod", "location"):
            put(now, path, value_of(name, scene))
    if ready:
        now["status"] = "ready"
    elif status == "ready":
        now["status"] = "requested"
    if now != task.json:
        yield Update({**now, "lastModified": scene.instant}, task.version)

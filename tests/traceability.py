"""The traceability table: each clause of the requirements with the tests that show it.

Printed at the end of every test run that collected marked tests, together with the coverage of
the standards. The marks are ``requirement("R014.3")`` and ``standard("PS3.18 10.5.3")``.
"""

from collections import defaultdict

import pytest

CLAUSES = pytest.StashKey[dict[str, dict[str, str]]]()


def clause_key(clause: str) -> tuple[int, int, int]:
    """Order clauses as the requirements do: R001.1 .. R020.3, W1 .. W7, G1 .. G3."""
    number, _, part = clause[1:].partition(".")
    return ("RWG".index(clause[0]), int(number), int(part or 0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked: dict[str, dict[str, str]] = defaultdict(dict)
    for item in items:
        for kind in ("requirement", "standard"):
            for mark in item.iter_markers(kind):
                for clause in mark.args:
                    test = item.nodeid.partition("[")[0]
                    marked[f"{kind} {clause}"].setdefault(test, "not run")
    config.stash[CLAUSES] = dict(marked)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    marked = config.stash.get(CLAUSES, {})
    outcome: dict[str, str] = {}
    for name in ("passed", "skipped", "failed", "error"):
        for report in terminalreporter.getreports(name):
            outcome[report.nodeid.partition("[")[0]] = name
    clauses = sorted(
        (key.removeprefix("requirement ") for key in marked if key.startswith("requirement ")),
        key=clause_key,
    )
    if not clauses:
        return
    terminalreporter.section("requirements, and the tests that show them")
    for clause in clauses:
        for test in marked[f"requirement {clause}"]:
            terminalreporter.line(f"{clause:7} {outcome.get(test, 'not run'):8} {test}")
    standards = {
        key.removeprefix("standard "): tests
        for key, tests in marked.items()
        if key.startswith("standard ")
    }
    terminalreporter.section(f"standards: {len(standards)} rules with tests")
    for rule in sorted(standards):
        terminalreporter.line(f"{rule}: {len(standards[rule])}")

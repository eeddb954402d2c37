"""The traceability table: each clause of the requirements with the tests that show it.

Printed at the end of every test run in which marked tests ran, together with the coverage of the
standards. The marks are ``requirement("R014.3")`` and ``standard("PS3.18 10.5.3")``. They travel
with the report of a test, so that it does not matter which process ran it.
"""

from collections import defaultdict

import pytest

KINDS = ("requirement", "standard")


def clause_key(clause: str) -> tuple[int, int, int]:
    """Order clauses as the requirements do: R001.1 .. R020.3, W1 .. W7, G1 .. G3."""
    number, _, part = clause[1:].partition(".")
    return ("RWG".index(clause[0]), int(number), int(part or 0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties += [
            (kind, clause)
            for kind in KINDS
            for mark in item.iter_markers(kind)
            for clause in mark.args
        ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    marked: dict[str, dict[str, dict[str, str]]] = {kind: defaultdict(dict) for kind in KINDS}
    for outcome in ("passed", "skipped", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            for kind, clause in getattr(report, "user_properties", ()):
                if kind in KINDS:
                    marked[kind][clause][report.nodeid.partition("[")[0]] = outcome
    clauses, rules = (marked[kind] for kind in KINDS)
    if not clauses:
        return
    terminalreporter.section("requirements, and the tests that show them")
    for clause in sorted(clauses, key=clause_key):
        for test in sorted(clauses[clause]):
            terminalreporter.line(f"{clause:7} {clauses[clause][test]:8} {test}")
    terminalreporter.section(f"standards: {len(rules)} rules with tests")
    for rule in sorted(rules):
        terminalreporter.line(f"{rule}: {len(rules[rule])}")

"""The import contracts of CONTRIBUTING, as written in pyproject.toml."""

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_who_may_import_whom_is_kept() -> None:
    assert lint_imports() == EXIT_STATUS_SUCCESS

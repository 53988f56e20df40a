"""The linter, the formatter and the type checker find nothing."""

import pytest

from tests.conftest import run_python

COMMANDS = ["ruff check", "ruff format --check", "mypy bench common mnist tests"]


@pytest.mark.parametrize("command", COMMANDS)
def test_clean(command: str) -> None:
    done = run_python("-m", *command.split())
    assert done.returncode == 0, done.stdout + done.stderr

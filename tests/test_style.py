"""The linter, the formatter and the type checker find nothing."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMMANDS = ["ruff check", "ruff format --check", "mypy bench common mnist tests"]


@pytest.mark.parametrize("command", COMMANDS)
def test_clean(command: str) -> None:
    program = [sys.executable, "-m", *command.split()]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""The commands of the READMEs, run as they stand, in a copy of the project with few digits."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.mnist import mnist
from mnist.cgan import Generator
from tests.conftest import ROOT, write_digits

FASHION = Path("/usr/share/datasets/fashion-mnist")


def commands(readme: Path) -> list[str]:
    """Return the lines of the blocks of commands, but for those of the template's section."""
    text = readme.read_text(encoding="utf-8").split("\n## A script as a template")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [line for kind, block in blocks if kind in ("", "sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a hundred digits, and what the commands take for granted."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("common", "mnist", "requirements.txt"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    shutil.rmtree(folder / "mnist/data")
    shutil.rmtree(folder / "mnist/out")
    (folder / "mnist/data").mkdir()
    (folder / "mnist/out").mkdir()
    write_digits(folder / "mnist/data", training=120, test=100)
    for name, image in zip(
        ("my-seven.jpg", "scan-1.png", "scan-2.png"), mnist()["X"], strict=False
    ):
        Image.fromarray(image).save(folder / name)
    torch.save(Generator().state_dict(), folder / "mnist/out/cgan.pt")  # for sample.py
    return folder


@pytest.mark.parametrize("readme", ["README.md", "mnist/README.md"])
def test_commands_run(readme: str, project: Path) -> None:
    scripts = Path(sys.executable).parent  # python and torchrun of these tests
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
    count = 0
    for command in commands(ROOT / readme):
        program = command.rpartition(" && ")[2]  # what pip installs, CI installs
        if "pytest" in program or "bench/" in program:
            continue
        if str(FASHION) in program and not FASHION.exists():
            continue
        done = subprocess.run(
            shlex.split(program), cwd=project, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{program}\n{done.stderr}"
        assert done.stdout, program
        count += 1
    assert count >= {"README.md": 1, "mnist/README.md": 8}[readme]

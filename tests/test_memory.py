"""No compiler is loaded, and freed memory is kept, with nothing of a step left in its midst."""

import importlib
import inspect
import json
import platform
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR

from tests.conftest import ROOT

PROGRAM = """
import json, re, sys
import torch
from common.batches import batches
from common.run import Run, argument_parser

def memory():  # resident now, MB
    return int(re.search(r"VmRSS:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 2**10

def on_heap(tensor):
    return any(
        int(start, 16) <= tensor.data_ptr() < int(end, 16)
        for start, end in re.findall(r"(\\w+)-(\\w+) .*\\[heap\\]", open("/proc/self/maps").read())
    )

Run("test", argument_parser(None, 1, 10, 0.1).parse_args([]))
images = int(sys.argv[1])
x, y = torch.zeros(images, 1, 28, 28, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64)
kept, within = [], []
for _ in batches(x, y, 10):
    large = [torch.ones(2**20) for _ in range(20)]  # 4 MB each
    kept.append(all(map(on_heap, large)))
    del large
    within.append(memory())
after = memory()
kept.append(on_heap(torch.ones(2**20)))
print(json.dumps({"kept": kept, "within": within, "after": after}))
"""

SCRIPT = """
import runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
print(sorted(name for name in sys.modules if name in ("torch._dynamo", "torch._inductor", "sympy")))
"""

STEPS = """
import sys
import torch
from common.memory import leave_out_compiler

if sys.argv[1] == "without":
    leave_out_compiler()
    leave_out_compiler()
for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
    for fused in (False, True):
        torch.manual_seed(0)
        model, hooked = torch.nn.Linear(5, 3), []
        optimizer = kind(model.parameters(), 0.01, fused=fused)
        optimizer.register_step_post_hook(lambda *_: hooked.append(1))
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()
        print(kind.__name__, fused, model.weight.tolist(), model.bias.tolist(), len(hooked))
print("torch._dynamo" in sys.modules, file=sys.stderr)
"""


GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's memory alone")


def run_program(images: int) -> dict[str, Any]:
    """Take batches of ten images in a process of its own, and return what it prints."""
    command = [sys.executable, "-c", PROGRAM, str(images)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "name", ["logit", "linear", "conv", "swa", "simple", "wsimple", "gan", "cgan", "lstm"]
)
def test_no_script_loads_the_compiler(name: str, few_digits: Path, tmp_path: Path) -> None:
    flags = ["--data", str(few_digits), "--out", str(tmp_path), "--limit", "30", "--epochs", "1"]
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "mnist" / f"{name}.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


def test_steps_are_the_same_without_the_compiler() -> None:
    done = {
        how: subprocess.run(
            [sys.executable, "-c", STEPS, how], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for how in ("with", "without")
    }
    assert [done[how].stderr for how in ("with", "without")] == ["True\n", "False\n"]
    assert done["with"].stdout.count(" 4\n") == 6  # each step's hook is called
    assert done["with"].stdout == done["without"].stdout


@GLIBC
def test_freed_memory_is_kept_from_the_second_lot_of_batches_on_and_given_back_at_the_end() -> None:
    found = run_program(170)
    assert found["kept"] == [False] * 8 + [True] * 9 + [True]
    first, within = max(found["within"][:8]), min(found["within"][8:])
    assert within > first + 70  # of the 80 MB that are freed in each step
    assert found["after"] < first + 20


@GLIBC
def test_freed_memory_is_kept_after_a_few_batches_too() -> None:
    assert run_program(30)["kept"] == [False] * 3 + [True]


@pytest.mark.parametrize("name", ["logit", "linear", "conv", "swa", "simple", "wsimple", "lstm"])
def test_nothing_of_a_step_is_left_in_the_next_forward_pass(name: str) -> None:
    class Network(nn.Module):
        before: weakref.ref[Tensor] | None = None

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            assert self.before is None or self.before() is None
            logits = self.layer(x.flatten(1))
            self.before = weakref.ref(logits)
            return (logits, logits) if name == "lstm" else logits

    train_epoch = importlib.import_module(f"mnist.{name}").train_epoch
    network = Network()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    data = [(torch.rand(4, 1, 28, 28), torch.zeros(4, dtype=torch.int64)) for _ in range(3)]
    extra = [1] if "reach" in inspect.signature(train_epoch).parameters else []
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=False)
    train_epoch(network, optimizer, ConstantLR(optimizer), autocast, data, *extra)
    assert network.before is not None

"""Networks exported to ONNX answer as in torch, also where there is no torch."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from common.batches import pixels, predict
from common.classifiers import trained
from common.mnist import mnist
from mnist import export
from mnist.sample import NETWORKS
from tests.conftest import SHORT, Capsys, Finished, Patch, copy, figures, run_python
from tests.test_readme import BLOCK, GUIDE, section


@pytest.mark.parametrize("name", [x for x in SHORT if x != "number"])  # which is not exported
def test_onnx_runtime_answers_as_torch_to_any_number_of_inputs(
    name: str, finished: Finished, few_digits: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    copy(finished(name) / f"{name}.pt", tmp_path)
    network, header, final = trained(tmp_path / f"{name}.json")
    if name == "flow":
        vars(network)["steps"] = 1  # for speed
    monkeypatch.setattr(export, "trained", lambda _: (network, header, final))
    export.main([name, "--data", str(few_digits), "--out", str(tmp_path)])
    session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
    names = [x.name for x in session.get_inputs()]
    for n in (1, 3):
        if names == ["images"]:
            inputs = [torch.from_numpy(mnist()["X"][:n, None])]
            expected = (predict(network, inputs[0]) / final["temperature"]).softmax(1)
        else:
            latent = torch.randn(n, *NETWORKS[name][1])
            inputs = [latent, torch.tensor([7, 0, 1][:n])][: len(names)]
            expected = pixels(network(*inputs))
        rows = {key: x.numpy() for key, x in zip(names, inputs, strict=True)}
        difference = session.run(None, rows)[0].astype(float) - expected.detach().numpy()
        assert np.abs(difference).max() <= (1e-4 if names == ["images"] else 1)


def test_the_guides_lines_read_a_picture_without_torch(
    trained_conv: Path, tmp_path: Path, capsys: Capsys
) -> None:
    out = tmp_path / "mnist/out"
    copy(trained_conv, out)
    export.main(["conv", "--int8", "--out", str(out)])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[-3:]]
    accuracies = [float(row[1].removesuffix(" %")) for row in rows]
    expected = pytest.approx(figures(out, "conv")["final"]["accuracy"], abs=0.02)
    assert accuracies[:2] == [expected] * 2
    assert accuracies[2] > accuracies[0] - 0.5
    size, smaller = ((out / f"conv{kind}.onnx").stat().st_size for kind in ("", ".int8"))
    assert smaller < size / 3

    Image.fromarray(mnist()["X"][0]).save(tmp_path / "seven.png")
    (lines,) = [code for kind, code in BLOCK.findall(section(GUIDE, "Export")) if kind == "python"]
    program = f"import sys; sys.modules['torch'] = None\n{lines}"
    done = run_python("-c", program, cwd=tmp_path)
    answer, share = done.stdout.split()
    assert answer == "7" and 0.9 < float(share) <= 1


def test_what_cannot_be_exported_is_a_line_and_writes_nothing(
    finished: Finished, few_digits: Path, tmp_path: Path
) -> None:
    copy(finished("logit") / "logit.pt", tmp_path)
    run = figures(tmp_path, "logit")
    right, own = run["final"]["accuracy"], run["header"]["data"]["hash"]
    for accuracy, data in ((1, own), (right, "0")):  # as of other images
        run["final"]["accuracy"], run["header"]["data"]["hash"] = accuracy, data
        (tmp_path / "logit.json").write_text(json.dumps(run))
        with pytest.raises(SystemExit, match=r"^export: logit was tested on other images.*$"):
            export.main(["logit", "--out", str(tmp_path), "--data", str(few_digits)])
    assert not list(tmp_path.glob("*.onnx"))

    code = "import runpy, sys; sys.modules['onnxruntime'] = None; runpy.run_path('mnist/export.py')"
    done = run_python("-c", code)
    assert done.returncode == 1
    assert done.stderr == "export needs onnxruntime: pip install onnx onnxruntime onnxscript\n"

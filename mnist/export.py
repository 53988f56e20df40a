"""Export trained networks to ONNX, a format that C++, browsers, phones and other programs read.

python mnist/export.py conv --int8    # mnist/out/conv.onnx; conv.int8.onnx: most weights in 8 bits
"""

import json
import logging
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")
if missing := [name for name in ("onnx", "onnxruntime", "onnxscript") if not find_spec(name)]:
    sys.exit(f"export needs {', '.join(missing)}: pip install onnx onnxruntime onnxscript")

from onnxruntime import InferenceSession
from onnxruntime.quantization import QuantType, quantize_dynamic

from common.batches import accuracy, pixels, scaled
from common.classifiers import data_of, trained
from common.errors import InputError, clear_errors
from common.files import write_whole
from common.flags import ROOT, script_parser, shown
from common.weights import find_weights
from mnist.sample import NETWORKS


class Exported(nn.Module):
    """Images as their data has them to calibrated probabilities, or latent vectors to images."""

    def __init__(self, network: nn.Module, temperature: float | None) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature  # None: a generator

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.temperature is None:
            return pixels(self.network(*inputs))
        logits = self.network(*map(scaled, inputs))
        logits = logits[0] if isinstance(logits, tuple) else logits  # without lstm's state
        return (logits / self.temperature).softmax(1)


def measured(path: Path, content: bytes, model: Any, inputs: dict[str, Tensor], y: Any) -> Tensor:
    """Print a row of the table; return the answers of a network in torch, or else in ONNX."""
    session = None if model else InferenceSession(content, providers=["CPUExecutionProvider"])

    def answers(*rows: Tensor) -> Tensor:
        if session is None:
            return model(*rows)
        named = {name: x.numpy() for name, x in zip(inputs, rows, strict=True)}
        return torch.from_numpy(session.run(None, named)[0])

    parts = zip(*(x.split(100) for x in inputs.values()), strict=True)
    found = torch.cat([answers(*rows) for rows in parts])
    percent = "" if y is None else f"{accuracy(found, y):.2f} %"
    cells = [shown(path), percent, f"{len(content) / 1000:,.0f}"]
    for n in (1, 100):
        given = {"answers": answers, "rows": [x[:n] for x in inputs.values()]}
        timer = Timer("answers(*rows)", globals=given, num_threads=torch.get_num_threads())
        cells.append(f"{1000 * timer.blocked_autorange().median / min(n, len(found)):.3f}")
    print(f"| {' | '.join(cells)} |", flush=True)
    return found


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    parser = script_parser(__file__, __doc__)
    add = parser.add_argument
    add("name", metavar="NAME", help="a finished run, for instance conv")
    add("--int8", action="store_true", help="write NAME.int8.onnx, too")
    add("--data", type=Path, default=ROOT / "mnist/data", metavar="PATH", help="the run's data")
    flags = parser.parse_args(argv)
    logging.captureWarnings(True)
    logging.disable(logging.WARNING)  # torch's, of itself and of what is not installed
    with clear_errors("export"):
        weights, path = find_weights(flags.name, flags.out), flags.out / f"{flags.name}.onnx"
        network, header, final = trained(weights.with_suffix(".json"))
        model, y = Exported(network, final.get("temperature")).eval(), None
        if model.temperature:
            _, _, x, y, _, about = data_of(header, flags.data)
            other = (header.get("data") or about).get("hash") not in (None, about["hash"])
            inputs = {"images": x}
        elif Path(header["script"]).stem in NETWORKS:
            _, shape, told = NETWORKS[Path(header["script"]).stem]
            inputs = {"latent": torch.randn(100, *shape)}
            inputs |= {"digits": torch.arange(100) % 10} if told else {}
        else:
            raise InputError(f"{flags.name} is neither a classifier nor {', '.join(NETWORKS)}")
        print("| file | accuracy | KB | ms, one image | ms, each of 100 |\n| --- |" + " ---: |" * 4)
        expected = measured(weights, weights.read_bytes(), model, inputs, y)
        if y is not None and (other or abs(accuracy(expected, y) - final["accuracy"]) > 0.5):
            raise InputError(f"{flags.name} was tested on other images: give them with --data")
        rows, free = [x[[0, -1]] for x in inputs.values()], {0: torch.export.Dim.DYNAMIC}
        given: dict[str, Any] = {"input_names": [*inputs], "dynamic_shapes": ((free,) * len(rows),)}
        end = ["images" if y is None else "probabilities"]
        program: Any = torch.onnx.export(model, (*rows,), verbose=False, output_names=end, **given)
        program.model.metadata_props.update({a: json.dumps(b) for a, b in (header | final).items()})
        contents = {path: program.model_proto.SerializeToString()}
        if flags.int8:
            with tempfile.TemporaryDirectory() as folder:
                int8 = Path(folder, "int8")
                quantize_dynamic(program.model_proto, int8, weight_type=QuantType.QUInt8)
                contents[path.with_suffix(".int8.onnx")] = int8.read_bytes()
        for file, content in contents.items():
            found = measured(file, content, None, inputs, y)
            difference = (found.double() - expected.double()).abs().max().item()
            if file == path and difference > (1 if y is None else 1e-4):
                raise InputError(f"{path} would differ from torch by {difference:.2g}: not written")
            write_whole(file, content)


if __name__ == "__main__":
    main()

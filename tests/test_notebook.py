"""The notebook runs from top to bottom."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT, figures


def test_the_notebook_trains_reads_and_compares(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "mnist/start.ipynb", 4)
    assert len(notebook.cells) <= 8
    settings = 'Path("out/start"), []'
    [cell] = [cell for cell in notebook.cells if settings in cell.source]
    cell.source = cell.source.replace(settings, f'Path(r"{tmp_path}"), ["--limit", "300"]')
    folder = {"metadata": {"path": str(ROOT / "mnist")}}
    NotebookClient(notebook, timeout=300, resources=folder).execute()
    assert figures(tmp_path / "Linear", "conv")["header"]["networks"] == {"model": "Linear"}
    pictures = [cell for cell in notebook.cells if "image/png" in str(cell.get("outputs"))]
    assert len(pictures) == 3  # misread digits, digits read, the curve

"""Executes examples/python/statistics.ipynb on a tiny model's run. notebook_test.py MOTET_COMPARE

Every cell must run without a warning, and each picture must be drawn.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import nbclient
import nbformat

import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "python" / "statistics.ipynb"
READINGS = "select,soft:0.5,discount:1"  # two of them the notebook does not know by name


def execute(run):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            sys.exit(f"{NOTEBOOK}: is committed with outputs; clear them")
    os.environ["MOTET_RUN"] = str(run)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    drawn = wanted = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        pictures = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        warnings = [output.text for output in cell.outputs if output.get("name") == "stderr"]
        if warnings:
            sys.exit(f"{NOTEBOOK}: a cell warns:\n{cell.source}\n{''.join(warnings)}")
        if pictures != cell.source.count("plt.show()"):
            sys.exit(f"{NOTEBOOK}: {pictures} pictures of\n{cell.source}")
        drawn += pictures
        wanted += cell.source.count("plt.show()")
    if drawn == 0:
        sys.exit(f"{NOTEBOOK}: draws nothing")
    print(f"{NOTEBOOK.name}: {drawn} pictures of {run}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run(
            [sys.argv[1], "--model", tiny.save(folder / "model", "llama"), "--text",
             tiny.DATA / "valid_books.txt", "--length", "96", "--scored", "24", "--segments", "2",
             "--pieces", "1,2,4", "--prefix", "Text: ", "--readings", READINGS, "--save-stats",
             "--quiet", "--out", folder / "run"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        execute(folder / "run")


if __name__ == "__main__":
    main()

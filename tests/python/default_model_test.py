"""A run of the default model: its notebook, and the same entropies inside Hugging Face's model.

default_model_test.py MOTET_COMPARE MODEL
"""

import pathlib
import subprocess
import sys
import tempfile

import notebook_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = ROOT / "examples" / "data" / "alice.txt"


def main():
    program, model = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        subprocess.run(
            [program, "--model", model, "--text", TEXT, "--length", "256", "--scored", "64",
             "--segments", "1", "--pieces", "1,4", "--save-stats", "--quiet", "--out", run],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        notebook_test.execute(run)
        subprocess.run(
            [sys.executable, ROOT / "examples" / "python" / "hugging_face_attention.py",
             "--model", model, "--text", TEXT, "--run", run],
            check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()

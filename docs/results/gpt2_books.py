#!/usr/bin/env python3
"""Makes examples/data/gpt2-books of sparsity.sh's GPT-2 without the regulariser.   gpt2_books.py RUN OUT

RUN is runs/sparsity/gpt2/1/control. Positions beyond those that training saw are left out; nothing else changes.
"""

import json
import pathlib
import shutil
import sys

from safetensors.numpy import load_file, save_file

POSITIONS = "transformer.wpe.weight"


def main():
    if len(sys.argv) != 3:
        sys.exit("wanted: gpt2_books.py RUN OUT")
    run, out = map(pathlib.Path, sys.argv[1:])
    length = json.loads((run / "training.json").read_text(encoding="utf-8"))["configuration"]["length"]
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(run / "model.safetensors")
    tensors[POSITIONS] = tensors[POSITIONS][:length].copy()
    config |= {"_name_or_path": out.name, "n_positions": length}
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shutil.copy(run / "tokenizer.json", out)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A byte-level tokenizer of 8,192 tokens, trained on texts.   sparsity_tokenizer.py DIR TEXT..."""

import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def main():
    if len(sys.argv) < 3:
        sys.exit("wanted: sparsity_tokenizer.py DIR TEXT...")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8192, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train(sys.argv[2:], trainer)
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))


if __name__ == "__main__":
    main()

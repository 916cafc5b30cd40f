"""Makes ../data/tokenizers: a small tokenizer of each family whose BPE SentencePiece exports.

    python make_tokenizers.py

Needs sentencepiece, protobuf, tokenizers and transformers. A SentencePiece model is trained on
examples/data/alice.txt (public domain) with each family's settings, and exported by the converters
of `transformers`; what the families' own files on the hub have beside that is written here as it
stands there. tokenizer_fuzz.py compares motet with `tokenizers` on them.
"""

import json
import pathlib
import shutil
import tempfile
import types

import sentencepiece
from tokenizers import AddedToken, Tokenizer, processors
from tokenizers.models import BPE
from transformers import GemmaTokenizer, LlamaTokenizer
from transformers.convert_slow_tokenizer import LlamaConverter, SentencePieceExtractor, SpmConverter
from sentencepiece import sentencepiece_model_pb2 as model_pb2

HERE = pathlib.Path(__file__).resolve().parent
TEXT = HERE.parent.parent / "examples" / "data" / "alice.txt"
OUT = HERE.parent / "data" / "tokenizers"

LLAMA = dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1, add_dummy_prefix=True)
GEMMA = dict(
    pad_id=0, eos_id=1, bos_id=2, unk_id=3, add_dummy_prefix=False, pad_piece="<pad>",
    eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
    user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n\n", "\u2581\u2581"],
)  # fmt: skip


def trained(folder, **settings):
    options = dict(
        input=str(TEXT), model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=800,
        byte_fallback=True, character_coverage=0.999, split_digits=True, num_threads=1,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, minloglevel=2,
    )  # fmt: skip
    sentencepiece.SentencePieceTrainer.train(**(options | settings))
    return folder / "tokenizer.model"


def save(name, tokenizer):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


def proto_of(model):
    proto = model_pb2.ModelProto()
    proto.ParseFromString(model.read_bytes())
    return proto


def bos_first(tokenizer, bos):
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )


def old_llama(model, legacy):
    """As the converter of `transformers` 4 leaves it: the files of Llama 2, Mistral, TinyLlama."""
    slow = types.SimpleNamespace(
        vocab_file=str(model), legacy=legacy, add_prefix_space=True, unk_token="<unk>",
        bos_token="<s>", eos_token="</s>", add_bos_token=True, add_eos_token=False,
    )  # fmt: skip
    slow.convert_ids_to_tokens = lambda i: ("<unk>", "<s>", "</s>")[i]
    converter = LlamaConverter(slow)
    proto = proto_of(model)
    made = SentencePieceExtractor(str(model)).extract(BPE)
    tokenizer = Tokenizer(
        BPE(made["vocab"], made["merges"], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = converter.normalizer(proto)
    tokenizer.pre_tokenizer = converter.pre_tokenizer("\u2581", True)
    tokenizer.decoder = converter.decoder("\u2581", True)
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")]
    )
    bos_first(tokenizer, "<s>")
    return tokenizer


def main():
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        llama = trained(folder, **LLAMA)
        save("llama2_legacy", old_llama(llama, legacy=True))
        save("llama2", old_llama(llama, legacy=False))

        # Phi-3: the same with tokens of its own, which take the space behind them.
        phi3 = old_llama(llama, legacy=False)
        phi3.add_special_tokens(
            [
                AddedToken(t, normalized=False, special=True, rstrip=True)
                for t in ("<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>")
            ]
        )
        save("phi3", phi3)

        # Mistral: tokens of instructions, among the vocabulary.
        mistral = trained(folder, **LLAMA, user_defined_symbols=["[INST]", "[/INST]"])
        save("mistral", old_llama(mistral, legacy=True))
        # and as `transformers` 5 makes one of a tokenizer.model without a class of its own
        proto = proto_of(mistral)
        vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
        for legacy in (True, False):
            made = SpmConverter.build_tokenizer_from_spm_proto(proto, vocabulary, legacy=legacy)
            made.add_special_tokens(
                [AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")]
            )
            save("spm_legacy" if legacy else "spm", made)
        extra = trained(folder, **(LLAMA | dict(remove_extra_whitespaces=True)))
        proto = proto_of(extra)
        vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
        save("spm_extra_spaces", SpmConverter.build_tokenizer_from_spm_proto(proto, vocabulary, legacy=False))

        llama5 = trained(folder, **LLAMA)
        tokenizer = LlamaTokenizer.from_pretrained(folder)
        save("llama_v5", tokenizer.backend_tokenizer)
        assert llama5

        trained(folder, **GEMMA)
        tokenizer = GemmaTokenizer.from_pretrained(folder)
        save("gemma", tokenizer.backend_tokenizer)
    for path in sorted(OUT.glob("*/tokenizer.json")):
        made = json.loads(path.read_text(encoding="utf-8"))
        print(path.parent.name, path.stat().st_size, {k: made[k] for k in ("normalizer", "pre_tokenizer", "decoder")})


if __name__ == "__main__":
    main()

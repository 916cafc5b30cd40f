"""llama.cpp through llama-cpp-python, by its defaults, on the weights of the default model as a GGUF file has them."""

import importlib.metadata
import os
import pathlib
import time

import common


def write_gguf(source, out, dtype):
    """The GGUF file `source` with its tensors in float32 or bfloat16 (vectors stay in float32), and all that it says of the model."""
    import gguf
    from gguf.quants import dequantize, quantize

    kind = {"float32": gguf.GGMLQuantizationType.F32, "bfloat16": gguf.GGMLQuantizationType.BF16}[dtype]
    file_type = {"float32": gguf.LlamaFileType.ALL_F32, "bfloat16": gguf.LlamaFileType.MOSTLY_BF16}[dtype]
    reader = gguf.GGUFReader(source)
    beside = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(beside, arch=reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            array = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=array)
    writer.add_file_type(file_type)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        of_tensor = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, quantize(values, of_tensor), raw_dtype=of_tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(beside, out)


class LlamaCpp:
    """`model` is SOURCE.gguf, or SOURCE.gguf:DTYPE for a copy of that dtype, which is made where it is not there."""

    CONTEXT = 4608

    def __init__(self, model):
        import llama_cpp

        source, _, dtype = model.partition(":")
        path = pathlib.Path(source)
        if dtype:
            path = path.with_name(f"{path.name.split('.')[0]}.{dtype}.gguf")
            if not path.exists():
                write_gguf(source, path, dtype)

        threads = len(os.sched_getaffinity(0))
        self.model = llama_cpp.Llama(str(path), n_ctx=self.CONTEXT, n_threads=threads,
                                     n_threads_batch=threads, verbose=False)
        self.evaluate(64)

    def version(self):
        return {"version": f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"}

    def evaluate(self, count):
        self.model.reset()
        self.model.eval(common.tokens_for(self.model.n_vocab(), count))

    def prefill(self, tokens, _):
        start = time.perf_counter()
        self.evaluate(tokens)
        return {"seconds": time.perf_counter() - start}

    def decode(self, context, tokens, _):
        self.evaluate(context)
        self.model.eval([1])
        start = time.perf_counter()
        for token in common.tokens_for(self.model.n_vocab(), tokens):
            self.model.eval([token])
        return {"seconds": (time.perf_counter() - start) / tokens}

"""How time and memory of the model's work grow, each against the law that it should follow.

    growth.py --model DIR --server PROGRAM --out DIR [--quick] [--longest TOKENS]      growth.json, growth.svg

Each point is a process of its own. A law goes through the curve's point of the most work: operations of weights and of attention
for encoding, reading and comparing, bytes of weights and of keys for decoding.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import page

DTYPE, ROWS, SCORED = "bfloat16", 256, 256
NAMES = {"tokens": "tokens N, one piece", "pieces": "pieces P of {tokens:,} tokens", "heads": "heads, {tokens:,} tokens",
         "threads": "threads, {tokens:,} tokens"}


class Work:
    """What the laws count, of a model with this config.json."""

    def __init__(self, config):
        heads, features = config["num_attention_heads"], config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        keys = config["num_key_value_heads"] * features
        of_layer = config["hidden_size"] * (2 * heads * features + 2 * keys + 3 * config["intermediate_size"])
        self.weights = config["num_hidden_layers"] * of_layer
        self.head = config["hidden_size"] * config["vocab_size"]
        self.scores = 4 * config["num_hidden_layers"] * heads * features  # operations of a row and a key
        self.keys = 2 * config["num_hidden_layers"] * keys  # numbers of a token

    def encode(self, tokens, pieces):
        piece = tokens / pieces
        return 2 * self.weights * tokens + self.scores * pieces * piece * (piece + 1) / 2

    def read(self, tokens, rows=ROWS):
        return 2 * self.weights * rows + self.scores * rows * (tokens + (rows + 1) / 2)

    def decode(self, tokens):
        return self.weights + self.head + self.keys * (tokens + ROWS)

    def compare(self, tokens):
        """P = 1, 2, 4, 8, without and with selection or a prefix: contexts are encoded twice, read by four modes (by one at P = 1)."""
        context = tokens - SCORED
        return sum((1 if p == 1 else 2) * self.encode(context, p) + (1 if p == 1 else 4) * self.read(context, SCORED)
                   for p in (1, 2, 4, 8))


def measure(server, model, words, threads):
    """What a fresh process answers."""
    command = [server, "--model", model] + (["--threads", str(threads)] if threads else [])
    done = subprocess.run([str(word) for word in command], input=" ".join(map(str, words)) + "\n", text=True, check=True,
                          stdout=subprocess.PIPE)
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise OSError(f"{server}: {answer['error']}")
    return answer


def with_heads(config, heads):
    return config | {"num_attention_heads": heads, "num_key_value_heads": heads // 3, "head_dim": 64}


def points(arguments, config):
    """The suite, a point at a time: axis, its value, tokens, pieces, model, threads."""
    middle = 2048 if arguments.quick else 8192
    tokens = 1024
    while tokens <= (arguments.longest or (4096 if arguments.quick else 32768)):
        yield "tokens", tokens, tokens, 1, config, 0
        tokens *= 2
    for pieces in (1, 2, 4, 8, 16, 32, 64):
        yield "pieces", pieces, middle, pieces, config, 0
    for heads in (3, 6, 12, 24):
        yield "heads", heads, middle, 1, with_heads(config, heads), 0
    for threads in (1, 2):
        yield "threads", threads, middle, 1, config, threads


def run(arguments):
    config = json.loads((arguments.model / "config.json").read_text(encoding="utf-8"))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for axis, value, tokens, pieces, shape, threads in points(arguments, config):
            model = arguments.model
            if shape is not config:
                model = pathlib.Path(folder) / "config.json"
                model.write_text(json.dumps(shape), encoding="utf-8")
            answer = measure(arguments.server, model, ("growth", tokens, pieces, DTYPE), threads)
            if axis == "tokens":
                answer["compare"] = measure(arguments.server, model, ("compare", tokens, SCORED, DTYPE), threads)
            work = Work(shape)
            of_way = {"encode": work.encode(tokens, pieces), "read": work.read(tokens), "decode": work.decode(tokens),
                      "compare": work.compare(tokens)}
            for way, figures in answer.items():
                found.append({"axis": axis, "value": value, "way": way, "tokens": tokens, "seconds": figures["seconds"],
                              "bytes": figures.get("bytes"), "work": of_way[way]})
            print(f"growth: {axis} {value}: " + ", ".join(f"{way} {page.seconds(figures['seconds'])}" for way, figures in
                                                          answer.items()), file=sys.stderr, flush=True)
    return found


def panel(found, axis, key, y_name, format_y):
    """A chart of one axis, with the law of each curve."""
    curves, laws = {}, {}
    for way in ("encode", "read", "decode", "compare"):
        of_way = [point for point in found if point["axis"] == axis and point["way"] == way and (point[key] or 0) > 0]
        if not of_way or (key, way) == ("bytes", "decode"):  # a token takes what others left
            continue
        curves[way] = [(point["value"], point[key]) for point in of_way]
        most = max(of_way, key=lambda point: (point["work"], -point["value"]))
        if key == "seconds":
            share = {point["value"]: point["work"] / most["work"] for point in of_way}
            if axis == "threads":
                share = {point["value"]: 1 / point["value"] for point in of_way}
        elif way == "encode":  # keys and activations are as many as tokens
            share = {point["value"]: point["tokens"] / most["tokens"] for point in of_way}
        else:
            continue
        laws[way] = [(x, most[key] * part) for x, part in share.items()]
    name = NAMES[axis].format(tokens=next(point["tokens"] for point in found if point["axis"] == axis))
    return page.chart(curves, laws, name, y_name, format_y), list(curves)


def picture(found):
    """All panels, two beside each other, and a legend."""
    panels = [panel(found, "tokens", "seconds", "time", page.seconds), panel(found, "tokens", "bytes", "memory", page.memory),
              panel(found, "pieces", "seconds", "time", page.seconds), panel(found, "heads", "seconds", "time", page.seconds),
              panel(found, "threads", "seconds", "time", page.seconds)]
    width, height, gap = 430, 300, 14
    parts = []
    for i, (chart, _) in enumerate(panels):
        at = f'x="{i % 2 * (width + gap)}" y="{i // 2 * (height + gap)}" width="{width}" height="{height}"'
        parts.append(chart.replace("<svg ", f"<svg {at} ", 1).replace("plot", f"plot{i}"))
    left, top = width + gap + 40, 2 * (height + gap) + 60
    for i, way in enumerate(panels[0][1]):
        name, dashes, kind = page.WAYS[way]
        y = top + 28 * i
        parts += [page.tag("line", x1=left, x2=left + 60, y1=y, y2=y, stroke="#111", stroke_width=1.5, stroke_dasharray=dashes),
                  page.marker(kind, left + 30, y), page.tag("text", page.text(name), x=left + 74, y=y + 4)]
    y = top + 28 * len(panels[0][1])
    parts += [page.tag("line", x1=left, x2=left + 60, y1=y, y2=y, stroke="#999", stroke_width=4, opacity=.55),
              page.tag("text", "the law, through the point of the most work", x=left + 74, y=y + 4)]
    whole = 2 * width + gap, 3 * height + 2 * gap
    style = "text { font: 12px Georgia, 'Times New Roman', serif; fill: #111; }"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]} {whole[1]}" width="{whole[0]}" role="img">'
            f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>' + "".join(parts) + "</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--server", type=pathlib.Path, required=True, metavar="PROGRAM", help="model_server of the build")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="4,096 tokens at most, other axes at 2,048 in place of 8,192")
    parser.add_argument("--longest", type=int, metavar="TOKENS", help="32,768, or 4,096 with --quick")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = run(arguments)
    (arguments.out / "growth.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    svg = picture(found)
    if re.search(r"\bnan\b|\binf\b", svg):
        sys.exit("growth: a figure is not a number; growth.json has all of them")
    (arguments.out / "growth.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"growth: {error}")

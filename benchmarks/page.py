"""Makes index.html from ratios.json and the files of Google Benchmark: one page, nothing beside it.

    page.py DIRECTORY
"""

import html
import json
import math
import pathlib
import sys

STYLE = """
body { font: 15px/1.45 Georgia, 'Times New Roman', serif; color: #111; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-size: .86rem;
        border-top: 1.5px solid #111; border-bottom: 1.5px solid #111; }
th { font-weight: normal; font-style: italic; text-align: right; border-bottom: 1px solid #111;
     vertical-align: bottom; }
td { text-align: right; vertical-align: top; white-space: nowrap;
     font-variant-numeric: tabular-nums; }
th, td { padding: .16rem .5rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
tr.part td { padding-top: .7rem; font-weight: bold; }
td.plot { padding: 0; } td small, figcaption { color: #444; font-size: .8rem; }
td.no { font-weight: bold; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { font-style: italic; } dd { margin: 0; }
.figures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 1.5rem; }
figure { margin: 0; } svg { display: block; width: 100%; height: auto; }
svg text { font: 12px Georgia, 'Times New Roman', serif; fill: #111; }
details { margin-top: 1rem; } summary { cursor: pointer; }
@media print { body { margin: 0; max-width: none; } tr, figure { break-inside: avoid; } }
@media (max-width: 48rem) { .figures { grid-template-columns: 1fr; } table { font-size: .75rem; } }
"""

# Told apart without colour: (name, dashes, marker).
WAYS = {"motet": ("motet, with statistics", "", "disc"),
        "sdpa": ("SDPA, without", "7 3", "square"),
        "matrix": ("matrix and its entropy", "2 3", "triangle"),
        "encode": ("encode", "", "disc"), "read": ("read 256 rows", "7 3", "square"),
        "decode": ("decode a token", "2 3", "triangle"), "compare": ("motet-compare", "9 3 2 3", "diamond")}


def text(value):
    return html.escape(str(value))


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def seconds(value):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def tag(name, content="", **attributes):
    inside = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
                     for key, value in attributes.items())
    return f"<{name}{inside}>{content}</{name}>"


# The table


def against_goal(row):
    """How many times better than its goal: (low, measured, high)."""
    better = [row[key] / row["goal"] for key in ("low", "measured", "high")]
    return better if row.get("better") else [1 / value for value in reversed(better)]


def dot(row):
    """The measure and its spread against the goal, on a scale from a half to twice as good."""
    width, height = 130, 18

    def x(value):
        return width / 2 * (1 + max(-1, min(1, math.log2(value)))) * .94 + width * .03

    def mark(value):
        style = {"stroke": "#111", "fill": "#111" if row["met"] else "#fff", "stroke_width": 1.3}
        if .5 <= value <= 2:
            return tag("circle", cx=x(value), cy=height / 2, r=3.6, **style)
        out = 6 if value > 2 else -6  # points to where it is
        return tag("path", d=f"M{x(value) - out / 2} {height / 2 - 4}v8l{out} -4z", **style)

    marks = [tag("line", x1=width / 2, x2=width / 2, y1=0, y2=height, stroke="#777")]
    if row["goal"] is not None and row["measured"] is not None:
        low, middle, high = against_goal(row)
        marks += [tag("line", x1=x(low), x2=x(high), y1=height / 2, y2=height / 2, stroke="#111"),
                  mark(middle)]
    return (f'<svg viewBox="0 0 {width} {height}" style="width:{width}px" role="img">'
            + "".join(marks) + "</svg>")


def table_row(row, above):
    small = [row[key] for key in ("unit", "note") if row.get(key) and row[key] != above.get(key)]
    name = text(row["name"]) + (f"<br><small>{text('; '.join(small))}</small>" if small else "")
    higher = row.get("better") == "higher"
    goal = "" if row["goal"] is None else f"{'≥' if higher else '≤'} {number(row['goal'])}"
    if row["measured"] is None:
        cells = [f"<td>{name}</td><td>{goal}</td><td colspan=5>not measured</td>"]
    else:
        met = {None: "", True: "met", False: "not met"}[row["met"]]
        if row["met"] and not (row["measured"] >= row["goal"] if higher
                               else row["measured"] <= row["goal"]):
            met = "met by the other"
        spread = "" if row["pairs"] == 1 else f"{number(row['low'])}–{number(row['high'])}"
        cells = [f"<td>{name}</td><td>{goal}</td><td>{number(row['measured'])}</td>"
                 f"<td>{spread}</td><td>{row['pairs']}</td>"
                 f"<td>{seconds(row['ours_seconds'])}</td><td>{seconds(row['rival_seconds'])}</td>"
                 f"<td class=plot>{dot(row)}</td>"
                 f"<td class={'no' if row['met'] is False else 'yes'}>{met}</td>"]
    return "<tr>" + "".join(cells) + "</tr>"


def table(rows):
    head = "".join(f"<th>{name}</th>" for name in (
        "", "goal", "measured", "spread", "pairs", "ours", "rival",
        "worse&ensp;|&ensp;better<br>than the goal", ""))
    lines, above = [f"<tr>{head}</tr>"], {}
    for row in rows:
        if row["part"] != above.get("part"):
            lines.append(f"<tr class=part><td colspan=9>{text(row['part'])}</td></tr>")
        lines.append(table_row(row, above))
        above = row
    return "<table>" + "".join(lines) + "</table>"


# The curves


def ticks(low, high, base):
    first, last = math.floor(math.log(low, base)), math.ceil(math.log(high, base))
    return [base ** i for i in range(first, last + 1)]


def marker(kind, x, y):
    if kind == "disc":
        return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.6, fill="#111")
    if kind == "diamond":
        return tag("path", d=f"M{x:.1f} {y - 4.6:.1f}l4.6 4.6l-4.6 4.6l-4.6 -4.6z", fill="#fff", stroke="#111",
                   stroke_width=1.3)
    if kind == "square":
        return tag("rect", x=f"{x - 3.4:.1f}", y=f"{y - 3.4:.1f}", width=6.8, height=6.8,
                   fill="#fff", stroke="#111", stroke_width=1.3)
    return tag("path", d=f"M{x:.1f} {y - 4.4:.1f}l4.2 7.4h-8.4z", fill="#fff", stroke="#111",
               stroke_width=1.3)


def power_law(points, exponent):
    """Two points of a law, y proportional to x^exponent, through the curve's point of the largest work."""
    (x0, y0), (x1, _) = points[::-1 if exponent > 0 else 1][:: len(points) - 1]
    return [(x0, y0), (x1, y0 * (x1 / x0) ** exponent)]


def chart(curves, laws, x_name, y_name, format_y):
    """Curves, {way: [(x, y)]}, both axes logarithmic; `laws` are the theory's: {way: [(x, y)]}."""
    width, height, left, right, top, bottom = 430, 300, 62, 12, 26, 42
    xs = sorted({x for points in curves.values() for x, _ in points})
    ys = [y for points in curves.values() for _, y in points]
    y_ticks = ticks(min(ys), max(ys), 10)
    if len(y_ticks) == 1:
        y_ticks.append(y_ticks[0] * 10)

    def place(value, values, start, end):
        low, high = math.log(values[0]), math.log(values[-1])
        return start + (math.log(value) - low) / ((high - low) or 1) * (end - start)

    def x_of(x):
        return place(x, xs, left + 10, width - right - 10)

    def y_of(y):
        return place(y, y_ticks, height - bottom, top)

    frame = {"x": left, "y": top, "width": width - left - right, "height": height - top - bottom}
    parts = [f'<clipPath id="plot">{tag("rect", **frame)}</clipPath>',
             tag("rect", fill="none", stroke="#111", **frame)]
    for x in xs:
        parts.append(tag("text", f"{x:,}", x=f"{x_of(x):.1f}", y=height - bottom + 16,
                         text_anchor="middle"))
        parts.append(tag("line", x1=f"{x_of(x):.1f}", x2=f"{x_of(x):.1f}", y1=height - bottom,
                         y2=height - bottom - 4, stroke="#111"))
    for y in y_ticks:
        at = f"{y_of(y):.1f}"
        parts.append(tag("text", format_y(y), x=left - 6, y=at, dy=4, text_anchor="end"))
        parts.append(tag("line", x1=left, x2=width - right, y1=at, y2=at, stroke="#ddd"))
    parts.append(tag("text", x_name, x=(left + width - right) / 2, y=height - 8,
                     text_anchor="middle"))
    parts.append(tag("text", y_name, x=2, y=14))
    for points in laws.values():  # as far as the plot goes
        line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(tag("polyline", points=line, fill="none", stroke="#999", stroke_width=4, opacity=.55,
                         clip_path="url(#plot)"))
    for way, points in curves.items():
        _, dashes, kind = WAYS[way]
        line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(tag("polyline", points=line, fill="none", stroke="#111", stroke_width=1.5,
                         stroke_dasharray=dashes))
        parts += [marker(kind, x_of(x), y_of(y)) for x, y in points]
    return f'<svg viewBox="0 0 {width} {height}" role="img">' + "".join(parts) + "</svg>"


def legend(ways):
    """Of curves, and of the theory's lines."""
    keys = []
    for way in ways:
        name, dashes, kind = WAYS[way]
        line = tag("line", x1=0, x2=34, y1=7, y2=7, stroke="#111", stroke_width=1.5,
                   stroke_dasharray=dashes)
        keys.append(f'<span style="white-space:nowrap"><svg viewBox="0 0 34 14" '
                    f'style="display:inline;width:34px">{line}{marker(kind, 17, 7)}</svg> '
                    f"{text(name)}</span>")
    keys.append('<span style="white-space:nowrap"><svg viewBox="0 0 34 14" style="display:inline;'
                'width:34px"><line x1=0 x2=34 y1=7 y2=7 stroke="#999" stroke-width=4 opacity=.55 />'
                "</svg> theory</span>")
    return "<p>" + "&emsp;".join(keys) + "</p>"


def memory(value):
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} B"


def growth(points):
    if not points:
        return ""
    ways = [way for way in WAYS if any(point["way"] == way for point in points)]

    def over(axis, key, fixed):
        curves = {way: sorted((point[axis], point[key]) for point in points
                              if point["way"] == way and fixed(point)) for way in ways}
        return {way: curve for way, curve in curves.items() if curve}

    whole = [point for point in points if point["pieces"] == 1]
    degrees = [point for point in points if point["pieces"] > 1]
    rows = degrees[0]["rows"] if degrees else None
    figures = []

    def figure(curves, exponents, x_name, y_name, format_y, caption):
        laws = {way: power_law(points, exponents[way]) for way, points in curves.items()
                if way in exponents and len(points) > 1}
        if curves:
            figures.append(f"<figure>{chart(curves, laws, x_name, y_name, format_y)}<figcaption>"
                           f"Figure {len(figures) + 1}. {caption}</figcaption></figure>")

    if whole:
        figure(over("rows", "seconds", lambda p: p["pieces"] == 1), dict.fromkeys(ways, 2),
               "tokens N, one piece", "time of a call", seconds, "Time against N; theory: ∝ N².")
        figure(over("rows", "peak_bytes", lambda p: p["pieces"] == 1), {"matrix": 2, "motet": 0},
               "tokens N, one piece", "peak memory beyond inputs and outputs", memory,
               "Memory against N; theory: ∝ N² for the matrix, constant for blocks.")
    if rows:
        at_rows = {"seconds": over("pieces", "seconds", lambda p: p["rows"] == rows
                                   and p["way"] == "motet"),
                   "peak_bytes": over("pieces", "peak_bytes", lambda p: p["rows"] == rows
                                      and p["way"] == "motet")}
        figure(at_rows["seconds"], {"motet": -1}, f"pieces P of {rows:,} tokens in all",
               "time of a call", seconds, "Time against P; theory: ∝ 1/P.")
        figure(at_rows["peak_bytes"], {"motet": 0}, f"pieces P of {rows:,} tokens in all",
               "peak memory beyond inputs and outputs", memory,
               "Memory against P; theory: constant.")
    return ("<h2>Growth</h2><p>Causal attention, fp32, 12 heads of 64 features; each point in a "
            "process of its own. Both axes are logarithmic.</p>" + legend(ways)
            + '<div class="figures">' + "".join(figures) + "</div>")


# Everything else


def machine(document):
    found = document["machine"]
    fields = {"processor": f"{found['processor']} ({', '.join(found['flags'])})",
              "cores": f"{found['cores']}; {found['threads']} threads used",
              "memory": f"{found['memory_bytes'] / 2 ** 30:.1f} GiB", "system": found["system"],
              "motet": f"{found['motet']} ({found['revision']}), kernel {found['kernel']}",
              "LibTorch": f"{found['libtorch']} ({found['libtorch_capability']})",
              "rivals": "; ".join(document["rivals"]), "date": found["date"]}
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>"
                            for name, value in fields.items() if value) + "</dl>"


def raw(path):
    """The measurements of one Google Benchmark program."""
    lines = ["<tr><th></th><th>time</th><th>iterations</th><th>rates</th></tr>"]
    try:
        measurements = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    except ValueError as error:  # of a program that was killed
        return f"<p>{text(path.name)} is not whole: {text(error)}</p>"
    for found in measurements:
        if found.get("error_occurred"):
            lines.append(f"<tr><td>{text(found['name'])}</td><td colspan=3>"
                         f"{text(found['error_message'])}</td></tr>")
            continue
        unit = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[found["time_unit"]]
        rates = [f"{found[key]:.3g} {key}" for key in found if key.endswith(("/s", "_per_second"))]
        lines.append(f"<tr><td>{text(found['name'].removesuffix('/real_time'))}</td>"
                     f"<td>{seconds(found['real_time'] * unit)}</td><td>{found['iterations']}</td>"
                     f"<td>{text(', '.join(rates)).replace('_per_second', '/s')}</td></tr>")
    return (f"<details><summary>{text(path.stem)}</summary><table>" + "".join(lines)
            + "</table></details>")


def page(out):
    document = json.loads((out / "ratios.json").read_text(encoding="utf-8"))
    programs = sorted((out / "benchmarks").glob("*.json"))
    rows = document["rows"]
    kind = "a quick run" if document["quick"] else "a full run"
    body = [
        "<h1>motet: figures against goals</h1>",
        f"<p>{text(document['verdict'])}, in {kind}.</p>",
        machine(document), "<h2>Ratios</h2>",
        "<p>Ours and the rival's are measured in turn, pair by pair. Measured is the median over "
        "pairs, the spread its 10 % and 90 % quantiles (the extremes under ten pairs). In the plot "
        "the goal is the line in the middle, the edges are half and twice as good; a filled dot is "
        "a goal met.</p>",
        table(rows), growth(document["growth"])]
    if (out / "growth.svg").exists():
        body.append("<h2>Growth of the model's work</h2><p>bf16; each point in a process of its own, memory beyond what the "
                    "model takes.</p><figure>" + (out / "growth.svg").read_text(encoding="utf-8") + "</figure>")
    if programs:
        body.append("<h2>All measurements</h2>" + "".join(map(raw, programs)))
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>motet: figures against goals</title>'
            f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    out = pathlib.Path(sys.argv[1])
    try:
        (out / "index.html").write_text(page(out), encoding="utf-8")
    except OSError as error:
        sys.exit(f"page: {error}")


if __name__ == "__main__":
    main()

"""The documentation holds: README.md and docs/*.md, whatever pages there are.

    docs_test.py commands --build BUILD [--model DIR]     every command runs, every Python block too; those of README.md
                                                          and of the guide on the default model, the others on a tiny one
    docs_test.py cpp --compiler CXX --include DIR:...     every C++ block compiles
    docs_test.py links                                    every relative link leads somewhere, and every file of this
                                                          repository that inline code names is there

Commands are the lines of a block (indented by four spaces, or fenced without a language or as `sh`) and the inline code
with arguments that begin with a program of PROGRAMS; every other line is output. Those of a page run from top to bottom, in a
folder of the page's own that looks like a checkout (see `checkout`): as they are written, but for SUBSTITUTIONS, and but
for those of NOT_RUN, each with its reason. A command that is followed by a line `its program: message` has to fail with that
message, one that is followed by `note: message` or `left out: message` has to give it and to succeed; numbers aside.

C++ blocks that name a file (```cpp examples/own_probe.cpp) are lines of that file, which the build compiles. The others
compile here: a page is a function, in which each block sees those before it and what given.h declares; a block with
`main` stands alone. Python blocks run where they stand between the commands.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap

import tiny_model

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODEL = "models/SmolLM2-135M-Instruct"
QUICKSTART = (f"build/release/examples/motet-compare --model {MODEL} --text examples/data/alice.txt "
              "--length 96 --scored 24 --segments 1 --out runs/quickstart")

VARIABLES = r"(\w+=\S* )*"
PROGRAMS = re.compile(VARIABLES + r"(build/release/examples/|examples/\S+\.(sh|py)|tests/\S+\.(sh|py)|benchmarks/\S+\.(sh|py)|docs/results/\S+\.(sh|py)"
                      r"|cmake/\S+\.(sh|py)|\.ci/run|\.venv/bin/|cmake |ctest|ninja|python3? |pip |hf |git |sudo |apt|perf |export |eval )")

# Commands that no test can run, and why.
NOT_RUN = {
    r"examples/quickstart\.sh": "sets up and builds anew; its last step, motet-compare, is run on every page",
    r"tests/run\.sh|\.ci/run|ctest": "this test is part of it",
    r"benchmarks/run\.sh|\.venv/bin/python benchmarks/growth\.py": "takes minutes, and measures time",
    r"docs/results/\w+\.sh": "takes minutes or hours; tests/python runs its tables",
    r"docs/results/learned_heads\.py": "its reading is of the default model; tests/python runs it",
    r"\.venv/bin/pip |pip |.*\bhf download": "needs the internet",
    r"cmake --workflow|cmake --preset|cmake --build": "builds everything; this test is part of it, and `documented` of that",
    r"cmake --install|cmake -B build": "tests/package does it",
    r"sudo |apt": "changes the machine",
    r"(eval \"\$\()?cmake/setup\.sh --|eval \"\$\(cmake/setup\.sh": "needs the internet",
    r"\.venv/bin/python examples/python/import_model\.py SOURCE": "its words stand for the reader's; tests/python runs it",
    r"cmake/fetch_model\.py": "needs the internet",
    r"\.venv/bin/python tests/python/families_test\.py": "its measurements are those of the test python_families",
    r".*verify_model\.py .*--gguf": "needs the file that the line before it fetches; tests/python compares GGUF files",
    r"perf ": "the profiler is no part of what is set up",
}

# What makes a command quick, and nothing else. Not for commands that have to fail.
SUBSTITUTIONS = [
    (r"(motet-compare\b.*)", lambda m: re.sub(r" --(length|scored|segments|skip) \d+", "", m[1])
     + " --length 384 --scored 24 --segments 1"),
    (r"(motet-finetune\b.*)", lambda m: re.sub(r" --(length|steps) \d+", "", m[1]) + " --length 96 --steps 2"),
    (r"(motet-heads\b.*)", lambda m: re.sub(r" --(length|scored|segments|skip) \d+", "", m[1])
     + " --length 256 --scored 24 --segments 1"),
    (r"(motet-generate\b(?!.* --tokens).*)", r"\1 --tokens 3"),
    (r"(motet-eval\b.*) --items \d\d+ --outputs \d+", r"\1 --items 3 --outputs 1"),
    (r",learned:docs/results/\S+", ""),  # of a model that is not here
]

ON_THE_MODEL = ("README.md", "guide.md")
TIMEOUT_SECONDS = 300


class Block:
    """Code of a page: language ('' for commands and output), the rest of the fence's line, first line, lines."""

    def __init__(self, page, language, info, line):
        self.page, self.language, self.info, self.line, self.lines = page, language, info, line, []

    def where(self, line=0):
        return f"{self.page.relative_to(ROOT)}:{self.line + line}"

    def text(self):
        return textwrap.dedent("\n".join(self.lines)) + "\n"


def blocks_of(page):
    """The blocks of a page from top to bottom; inline code is a block of one line."""
    blocks, block, fence, blank = [], None, None, True
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        opening = re.match(r"(\s*)```(\S*)\s*(.*)$", line)
        if fence is not None:
            if line.strip() == "```":
                fence = None
            else:
                fence.lines.append(line)
        elif opening:
            fence = Block(page, opening[2], opening[3], number + 1)
            blocks.append(fence)
            block = None
        elif line.startswith("    ") and (block is not None or blank):
            if block is None:
                block = Block(page, "", "", number)
                blocks.append(block)
            block.lines.append(line[4:])
        else:
            if line.strip():
                block = None
            elif block is not None:
                block.lines.append("")
            for code in re.findall(r"`([^`]+)`", line):
                if PROGRAMS.match(code) and " " in code.strip():
                    inline = Block(page, "", "", number)
                    inline.lines.append(code)
                    blocks.append(inline)
        blank = not line.strip()
    return blocks


def commands_of(block):
    """(line, command, the message that has to come with it or None)"""
    lines, i = block.lines, 0
    while i < len(lines):
        first = i
        line = lines[i].removeprefix("$ ")
        while line.endswith("\\") and i + 1 < len(lines):
            i += 1
            line = line[:-1].rstrip() + " " + lines[i].strip()
        i += 1
        if not PROGRAMS.match(line):
            if re.match(r"(\S*/)?motet-\w+ (-|\w)", line):
                raise SystemExit(f"{block.where(first)}: a command has to name its program as build/release/examples/...: {line}")
            continue
        program = re.match(VARIABLES + r"\S*/([\w-]+)(\.sh)?( |$)", line)
        says = program and i < len(lines) and re.match(f"({program[2]}|note|left out): ", lines[i])
        yield first, re.sub(r"\s+# .*$", "", line), lines[i] if says else None


def checkout(directory, build, model, text):
    """A folder that looks like a checkout in which everything is built, with the models that `text` names."""
    for name in ("build", "models"):
        (directory / name).mkdir()
    (directory / "build/release").symlink_to(build)
    for name in ("benchmarks", "cmake", "docs", "examples", "tests"):
        (directory / name).symlink_to(ROOT / name)
    (directory / ".venv/bin").mkdir(parents=True)
    python = directory / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    if model:
        (directory / MODEL).symlink_to(model)
    else:
        tiny_model.llama(directory / MODEL)
    for name in tiny_model.OTHERS:
        if f"models/{name}" in text:
            tiny_model.OTHERS[name](directory / "models" / name)
    for name in ("YOUR.txt", "ANOTHER.txt"):
        shutil.copy(ROOT / "examples/data/alice.txt", directory / name)


def run(command, directory):
    """The command's exit code and what it printed. Threads that spin make tests that run side by side wait for each other."""
    environment = dict(os.environ, OMP_WAIT_POLICY="passive", MPLBACKEND="agg")
    for name in ("CMAKE_PREFIX_PATH", "Torch_DIR", "MOTET_MODEL", "MOTET_KERNEL"):  # a fresh shell has none
        environment.pop(name, None)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=directory, env=environment, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_SECONDS)
    return done.returncode, done.stdout, done.stderr


def plain(message):
    """Without numbers, and without the list of kernels, which is the processor's."""
    return re.sub(r"there are [\w, ]+", "there are", re.sub(r"\d+(\.\d+)?", "N", message.strip()))


def run_command(command, message, directory):
    """What is wrong with it, or None."""
    parts = [part for part in command.split(" && ")
             if not any(re.match(f"{VARIABLES}({pattern})", part) for pattern in NOT_RUN)]
    if not parts:
        return None
    command = " && ".join(parts)
    if message is None:
        for pattern, replacement in SUBSTITUTIONS:
            command = re.sub(pattern, replacement, command)
    code, _, error = run(command, directory)
    fails = message is not None and not message.startswith(("note: ", "left out: "))
    if fails != (code != 0) or (message is not None and plain(message) not in plain(error)):
        wanted = f"\n  has to {'fail' if fails else 'succeed'} with\n    {message}" if message else ""
        return f"{command}{wanted}\n  exit {code}: {error.strip()}"
    return None


def test_commands(build, model):
    wrong, count = [], 0
    for page in PAGES:
        steps = [block for block in blocks_of(page) if block.language in ("", "sh", "bash", "python")]
        steps = [block for block in steps if block.language == "python" or list(commands_of(block))]
        if not steps:
            continue
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            text = page.read_text(encoding="utf-8")
            checkout(directory, build, model if page.name in ON_THE_MODEL else "", text)
            if "runs/quickstart" in text:
                run(QUICKSTART, directory)
            for block in steps:
                if block.language == "python":
                    (directory / "block.py").write_text(block.text())
                    count += 1
                    code, _, error = run(f'"{sys.executable}" block.py', directory)
                    if code != 0:
                        wrong.append(f"{block.where()}: the Python block\n  exit {code}: {error.strip()}")
                    continue
                for line, command, message in commands_of(block):
                    count += 1
                    problem = run_command(command, message, directory)
                    if problem:
                        wrong.append(f"{block.where(line)}: {problem}")
    return count, wrong


def test_cpp(compiler, include):
    wrong, count, includes, pages = [], 0, [], []
    for page in PAGES:
        function, alone, depth = [], [], 0
        for block in blocks_of(page):
            if block.language not in ("cpp", "c++"):
                continue
            count += 1
            if block.info:
                source = ROOT / block.info
                if not source.is_file() or "\n".join([*block.lines, ""]) not in source.read_text(encoding="utf-8"):
                    wrong.append(f"{block.where()}: these are not lines of {block.info}")
                continue
            lines = block.text().splitlines()
            includes += [line for line in lines if line.startswith("#include")]
            code = [f'#line {block.line} "{page.relative_to(ROOT)}"',
                    *("" if line.startswith("#include") else line for line in lines)]
            if re.search(r"^int main\(", block.text(), re.MULTILINE):
                alone += [f"namespace block_{count} {{", *code, "}"]
            else:
                function += [*code, "{"]
                depth += 1
        if function:
            name = re.sub(r"\W", "_", page.stem)
            alone += [f"void page_{name}() {{", *function, *["}"] * depth, "}"]
        pages += alone
    text = "\n".join([*dict.fromkeys(includes), '#include "given.h"', "namespace {", *pages, "}", ""])
    with tempfile.TemporaryDirectory() as name:
        source = pathlib.Path(name) / "blocks.cpp"
        source.write_text(text)
        words = [compiler, "-std=c++20", "-fsyntax-only", "-I", str(pathlib.Path(__file__).parent)]
        for directory in include.split(":"):
            if directory != "/usr/include":  # the compiler's own, where another place would break #include_next
                words += ["-isystem", directory]
        done = subprocess.run([*words, str(source)], text=True, capture_output=True)
    if done.returncode != 0:
        wrong.append(done.stderr.strip())
    return count, wrong


def anchors_of(page):
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# The changelog also names what was.
FILES = re.compile(r"(?<![\w/.-])(?:src|include|tests|docs|examples|benchmarks|cmake|motet)/[\w./-]+\.(?:h|cpp|py|sh|md|ipynb|txt|json)\b")


def test_links():
    wrong, count = [], 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        inline = [] if page.name == "CHANGELOG.md" else FILES.findall(" ".join(re.findall(r"`[^`\n]+`", text)))
        for file in inline:
            count += 1
            if not (ROOT / file).exists() and not (ROOT / "include" / file).exists():
                wrong.append(f"{page.relative_to(ROOT)}: there is no {file}")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            count += 1
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists() or (anchor and anchor not in anchors_of(file)):
                wrong.append(f"{page.relative_to(ROOT)}: there is no {target}")
    return count, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["commands", "cpp", "links"])
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--compiler")
    parser.add_argument("--include")
    options = parser.parse_args()
    if options.what == "commands":
        count, wrong = test_commands(options.build.resolve(), options.model)
    elif options.what == "cpp":
        count, wrong = test_cpp(options.compiler, options.include)
    else:
        count, wrong = test_links()
    print(f"{count} {options.what} of {len(PAGES)} pages, {len(wrong)} wrong", *wrong, sep="\n")
    raise SystemExit(1 if wrong or count == 0 else 0)


if __name__ == "__main__":
    main()

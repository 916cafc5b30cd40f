"""examples/python/lm_eval_motet.py under lm-evaluation-harness, on tasks of this file.   lm_eval_test.py MOTET_EVAL

Its answers are those of motet-eval on records that are written here by hand.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples" / "python"), str(ROOT / "tests" / "docs")]

import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402
from lm_eval_motet import MotetLM, paragraphs  # noqa: E402
import tiny_model  # noqa: E402

PROGRAM = sys.argv[1]
DOCUMENTS = [{"passages": "The door is red.\n\nThe roof is grey.\n\n", "question": "Once more, the roof is",
              "choices": ["red", "grey"], "gold": 1},
             {"passages": "The cup is full.\n\nThe jar is empty.\n\n", "question": "Once more, the cup is",
              "choices": ["full", "empty"], "gold": 0}]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{passages}}}}{{{{question}}}}"
{rest}
"""
CHOICE = "output_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: gold\nmetric_list: [{metric: acc}]"
GENERATE = ("output_type: generate_until\ndoc_to_target: \"{{choices[gold]}}\"\nmetric_list: [{metric: exact_match}]\n"
            "generation_kwargs: {until: [\"zzz\"], max_gen_toks: 4}")


def by_hand(folder, model, answers):
    """Rows of parallel reading of the documents' two units in two pieces, answer by answer."""
    lines = []
    for document in DOCUMENTS:
        first, second, _ = document["passages"].split("\n\n")
        for answer in answers(document):
            lines.append({"task": "t", "id": len(lines), "units": [first + "\n\n", second + "\n\n"], "score": "exact",
                          "query": document["question"], "answers": [answer], "tokens": 4})
    (folder / "hand.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run([PROGRAM, "--model", model, "--tasks", f"record:{folder / 'hand.jsonl'}", "--pieces", "2", "--prefix", "",
                    "--readings", "discount:1", "--quiet", "--out", folder / "hand"], check=True, stdout=subprocess.DEVNULL)
    rows = json.loads((folder / "hand" / "run.json").read_text())["item_rows"]
    return [row for row in rows if row["mode"] == "parallel"]


def requests(*arguments):
    return [types.SimpleNamespace(args=one) for one in arguments]


def refusal(model, *arguments):
    """What a model says to a request that it does not answer."""
    try:
        answers = model.loglikelihood(requests(*arguments))
    except ValueError as error:
        return str(error)
    raise AssertionError(f"answered {answers}")


def modes(model):
    """A mode answers for itself, or says why it does not."""
    def motet(mode="parallel", pieces=2, **more):
        return MotetLM(PROGRAM, model, mode=mode, pieces=pieces, **more)

    two, three, one = "Red.\n\nGrey.\n\nOnce more:", "Red.\n\nGrey.\n\nBlue.\n\nOnce more:", "Red.\n\nOnce more:"
    full, parallel = (motet(mode).loglikelihood(requests((two, " grey"))) for mode in ("full", "parallel"))
    assert full != parallel, full
    assert refusal(motet("selctive"), (two, " grey")) == ("the mode selctive, P = 2: motet-eval does not read it; "
                                                          "there are full, parallel")
    assert "P = 2: K = 2 keeps all of 2 pieces; there are" in refusal(motet("selective"), (two, " grey"))
    assert "P = 2: motet-eval does not read it" in refusal(motet("sharpen"), (two, " grey"))
    assert "P = 4: the prefix is empty" in refusal(motet("sink", 4), (one, " grey"))
    assert "K = 3 is more than its 2 pieces" in refusal(motet("selective", 4, options=["--select", "3"]), (two, " grey"))
    # A single unit: nothing to select.
    selective = motet("selective", 4).loglikelihood(requests((one, " grey"), (three, " grey")))
    assert selective[0] == motet("full").loglikelihood(requests((one, " grey")))[0]
    assert selective[1] != motet("full").loglikelihood(requests((three, " grey")))[0]
    # Another reading is the one behind the prefix, where there is one.
    sharpen = {prefix: motet("sharpen", prefix=prefix, options=["--readings", "sharpen:4"])
               .loglikelihood(requests((three, " grey"))) for prefix in ("", "Read this:\n\n")}
    assert sharpen[""] != sharpen["Read this:\n\n"], sharpen


def odd_requests(model):
    """Stops of every form, and texts with nothing in them."""
    motet = MotetLM(PROGRAM, model, pieces=2)
    context = "Red.\n\nGrey.\n\nOnce more:"
    whole, = motet.generate_until(requests((context, {"max_gen_toks": 4})))
    assert len(whole) > 1, whole
    # Letter by letter the stop would end the output at once.
    stop = whole[0] + "zzz"
    outputs = motet.generate_until(requests(*((context, {"until": until, "max_gen_toks": 4})
                                              for until in (stop, [], None, [whole[1:], ""]))))
    assert outputs == [whole, whole, whole, whole[0]], (outputs, whole)
    # An article alone is an answer, too; a context that is empty, or ends in a blank line, has a query.
    empty, ended, article = motet.loglikelihood(requests(("", " grey"), ("Red.\n\nGrey.\n\n", " grey"), (context, " A")))
    assert all(answer[0] < 0 for answer in (empty, ended, article))
    assert paragraphs("Red.\n\nGrey.\n\n\nOnce\nmore:\n\n") == (["Red.\n\n", "Grey.\n\n\n"], "Once\nmore:\n\n")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tiny_model.llama(folder / "model")
        data = folder / "data.jsonl"
        data.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
        (folder / "tasks").mkdir()
        for task, rest in (("local_choice", CHOICE), ("local_generate", GENERATE)):
            (folder / "tasks" / f"{task}.yaml").write_text(TASK.format(name=task, data=data, rest=rest))
        model = MotetLM(PROGRAM, str(folder / "model"), pieces=2, options=["--readings", "discount:1"])
        results = lm_eval.simple_evaluate(model, tasks=["local_choice", "local_generate"], log_samples=True,
                                          task_manager=TaskManager(include_path=str(folder / "tasks")))
        rows = by_hand(folder, folder / "model", lambda document: document["choices"])
        got = [answer for sample in results["samples"]["local_choice"] for answer in sample["filtered_resps"]]
        want = [(-row["answer_nll"], row["answer_greedy"]) for row in rows]
        assert got == want, (got, want)
        right = [max(want[2 * i:2 * i + 2])[0] == want[2 * i + document["gold"]][0] for i, document in enumerate(DOCUMENTS)]
        assert results["results"]["local_choice"]["acc,none"] == sum(right) / 2, (results["results"], right)
        outputs = [sample["resps"][0][0] for sample in results["samples"]["local_generate"]]
        assert outputs == [row["output"] for row in rows[::2]], (outputs, rows)
        modes(str(folder / "model"))
        odd_requests(str(folder / "model"))
    print("lm-evaluation-harness has what motet-eval answers by itself")


if __name__ == "__main__":
    main()

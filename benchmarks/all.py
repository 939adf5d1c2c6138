"""All measurements of docs/performance.md, one after the other; a second start goes on where the first one was.

    python benchmarks/all.py --data amazon_reviews_multi=DIR --lm-eval PYTHON
    python benchmarks/all.py --list
    python benchmarks/all.py --only llm,long_prompts --data amazon_reviews_multi=DIR --lm-eval PYTHON

Each step is a command of this folder that writes a JSON file to benchmarks/results/. Run it on a machine with nothing else to
do. The steps of the default take about 30 minutes on two cores; the others are run by --only. What a step has finished is not
measured again: delete its file to measure anew. `python docs/_performance.py` writes the page from the files.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
LIBRARIES = ("torch", "transformers", "onnxruntime", "scikit-learn", "numpy", "pyarrow")
MARC = "amazon_reviews_multi"


@dataclass(frozen=True)
class Step:
    """A command. `resumes`: it goes on with a file that is there; any other one writes it at its end.

    `tasks` are those whose folders it needs; `minutes` are a rough guess for two cores."""

    name: str
    file: str
    arguments: str
    minutes: int
    tasks: tuple[str, ...] = ()
    lm_eval: bool = False
    resumes: bool = True
    default: bool = True

    def command(self, data: Mapping[str, str], lm_eval: str, results: Path) -> list[str]:
        """`{TASK}` in the arguments is the folder of that task, `{lm_eval}` the interpreter that has lm-eval."""
        words = [word.format(**data, lm_eval=lm_eval) for word in self.arguments.split()]
        return [sys.executable, str(HERE / words[0]), *words[1:], "--json", str(self.target(results))]

    def target(self, results: Path) -> Path:
        """Where it writes: a file that is not yet complete has another name, where the command would not go on with it."""
        return results / self.file if self.resumes else results / f"{self.file}.partial"


LLM = f"llm.py --task {MARC} --data {{{MARC}}} --lm-eval {{lm_eval}} --rows 150 --loop-rows 8 --lm-eval-rows 64"
SEEDS = "0,1,2,3,4,5,6,7,8,9"
TRAINING = "encoder.py --parts training --task {0} --data {{{0}}} --train-rows 1000 --set train.precision=bf16 --seeds " + SEEDS
STEPS = (
    Step(
        "llm",
        "llm.json",
        f"{LLM} --repeats 3 --only f,a,e,b.label,c2.label,d.causal_lm.score,d.process.score,d.vllm.constrained",
        17,
        (MARC,),
        lm_eval=True,
    ),
    Step(
        "long_prompts",
        "long_prompts.json",
        f"long_prompts.py --task {MARC} --data {{{MARC}}} --models packaged:smollm2 --repeats 2",
        5,
        (MARC,),
    ),
    Step(
        "encoder",
        "encoder.json",
        f"encoder.py --task {MARC} --data {{{MARC}}} --parts inference --rows 500 --train-rows 500 --epochs 1",
        8,
        (MARC,),
        resumes=False,
    ),
    Step("startup", "startup.json", "startup.py --repeats 3", 4, resumes=False),
    Step(
        "million",
        "million.json",
        "million.py --parts majority,compare,recall,reads --repeats 2",
        15,
        resumes=False,
        default=False,
    ),
    Step("million_tfidf", "million_tfidf.json", "million.py --rows 200000 --parts tfidf", 4, resumes=False, default=False),
    Step("many_runs", "many_runs.json", "many_runs.py --runs 10000", 6, resumes=False, default=False),
    Step("llm_rest", "llm.json", f"{LLM} --repeats 1", 15, (MARC,), lm_eval=True, default=False),
    Step(
        "vllm",
        "vllm.json",
        f"llm.py --task {MARC} --data {{{MARC}}} --rows 1000 --repeats 2 --only f,c2.label,d.vllm.constrained,d.vllm.score",
        25,
        (MARC,),
        default=False,
    ),
    Step(
        "training_sst5",
        "training_sst5.json",
        f"{TRAINING.format('sst5')} --epochs 2 --set train.lr=1e-4",
        40,
        ("sst5",),
        default=False,
    ),
    Step(
        "training_banking77",
        "training_banking77.json",
        f"{TRAINING.format('banking77')} --epochs 3 --set train.lr=3e-4",
        60,
        ("banking77",),
        default=False,
    ),
    Step(
        "precision",
        "precision.json",
        f"precision.py --data {MARC}={{{MARC}}} --data app_reviews={{app_reviews}} --data sst5={{sst5}} "
        "--tasks sst5,app_reviews,amazon_reviews_multi --train-limit 1000 --prompted 100",
        40,
        (MARC, "app_reviews", "sst5"),
        default=False,
    ),
    Step("ray_overhead", "ray_overhead.json", "ray_overhead.py", 15, resumes=False, default=False),
    Step("scale", "scale.json", "scale.py --sib {sib200}", 30, ("sib200",), default=False),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    data, results = dict(options.data), options.results
    steps = [step for step in STEPS if (step.default if options.only is None else step.name in options.only)]
    if options.list:
        shown = {name: name.upper() for step in STEPS for name in step.tasks}
        for step in STEPS:
            when = "" if step.default else ", only when named by --only"
            print(f"# {step.name}: about {step.minutes} minutes{when}")
            print(shlex.join(["python", f"benchmarks/{step.command(shown, 'PYTHON', RESULTS)[1].rpartition('/')[2]}"]), end=" ")
            print(shlex.join(step.command(shown, "PYTHON", Path("benchmarks/results"))[2:]))
        return 0
    if lacking := sorted({task for step in steps for task in step.tasks} - data.keys()):
        print(f"Pass {' '.join(f'--data {task}=DIR' for task in lacking)}.", file=sys.stderr)
        return 2
    if options.lm_eval is None and any(step.lm_eval for step in steps):
        print("Pass --lm-eval PYTHON: an interpreter that has lm-eval.", file=sys.stderr)
        return 2
    results.mkdir(parents=True, exist_ok=True)
    failed = [step.name for step in steps if not _measured(step, data, options.lm_eval or "", results)]
    if failed:
        print(f"Failed: {', '.join(failed)}. The same command tries them again.", file=sys.stderr)
    return 1 if failed else 0


def _measured(step: Step, data: Mapping[str, str], lm_eval: str, results: Path) -> bool:
    target, final = step.target(results), results / step.file
    if not step.resumes and final.exists():
        return True
    command = step.command(data, lm_eval, results)
    print(f"{step.name}: {shlex.join(command)}", file=sys.stderr, flush=True)
    started = datetime.now(UTC)
    every_core = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if subprocess.run(command, env=every_core, check=False).returncode:
        return False
    if target != final:
        _finish(target, final, started)
    return True


def _finish(target: Path, final: Path, started: datetime) -> None:
    """The finished file under its final name, with the day, the machine and the versions, where the script did not say them."""
    from _results import setup_here

    from harness.core.json_files import write_atomically

    content = json.loads(target.read_text(encoding="utf-8"))
    setup = setup_here(LIBRARIES).model_dump(mode="json", exclude_unset=True)
    write_atomically(final, json.dumps({**setup, "date": f"{started:%Y-%m-%d}", **content}, indent=1) + "\n")
    target.unlink()


def _pair(text: str) -> tuple[str, str]:
    task, _, folder = text.partition("=")
    if not folder:
        raise argparse.ArgumentTypeError("TASK=DIR")
    return task, str(Path(folder).resolve())


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    known = [step.name for step in STEPS]
    if unknown := [name for name in chosen if name not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the commands and measure nothing")
    parser.add_argument("--only", type=_names, metavar="STEP,...", help=f"of {', '.join(step.name for step in STEPS)}")
    parser.add_argument(
        "--data", type=_pair, action="append", default=[], metavar="TASK=DIR", help="folder with a task's files"
    )
    parser.add_argument("--lm-eval", metavar="PYTHON", help="an interpreter that has lm-eval installed")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where the JSON files go")
    return parser


if __name__ == "__main__":
    sys.exit(main())

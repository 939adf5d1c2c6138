# ruff: noqa: E501 (commands as the pages have them)
"""The commands of the docs that no test runs, by what they would need. All others are run."""

from __future__ import annotations

from pathlib import Path

from shell import ROOT, Command

from harness.specs.catalog import Catalog

RUNS = ROOT / "results" / "runs"

_NEEDS = {
    "server": """
bench run --backend gpt-6-luna --lang ja --limit 200 --max-cost 0.50
bench run --backend gpt-6-luna --lang ja --set mode=batch --max-cost 0.50
bench run --backend local-server --lang ja
bench run --backend local-server --model qwen2.5:7b --lang ja
bench analyze latency --backend gpt-6-luna --limit 50 --max-cost 0.20
""",
    "decisions": """
bench run --backend gpt-6-luna-decisions --lang en --limit 200 --max-cost 0.20
bench run --backend local-decisions --lang en
""",
    "vllm": """
bench run --backend mistral-vllm --lang ja --decoding score --calibration batch
bench run --backend smollm2-vllm --lang en --decoding score
bench run --task amazon_reviews_multi --data DIR --lang en --limit 500 --backend smollm2-vllm --prompt strict --decoding score,constrained,free
bench analyze latency --backend mistral-vllm --lang ja --batch-size 1,32,256
""",
    "lm-eval": """
bench results import lm-eval out --task reviews_demo --lang en
bench results import lm-eval out --from-task reviews_stars --task reviews_demo --lang en
bench compare dc0574ade9 2e2edae90d
""",
    "launcher": """
torchrun --standalone --nproc-per-node 8 -m harness.cli run --backend xlm-roberta --lang en
accelerate launch --multi_gpu -m harness.cli run --backend xlm-roberta --lang en
""",
    "store": """
bench run --backend tfidf --lang en,ja --results s3://my-bucket/results
bench leaderboard --results s3://my-bucket/results
""",
    "cluster": """
bench run --backend qwen3-0.6b,e5-small --lang en,de,fr --executor ray
bench run --backend qwen3-0.6b --lang en --shards 4 --executor ray
bench run --backend tfidf,majority --lang en,de,fr --executor slurm --workers 2 --dry-run
bench run --backend tfidf,majority --lang en,de,fr --executor slurm --workers 2
""",
    # Dozens of trainings or of runs, even of the tiniest model. Tests of the command itself do the same with fewer.
    "minutes": """
bench study curve --lang ja --encoder embed-e5,e5-small --llm qwen-coder-0.5b --sizes 8,16,...,all
bench study curve --task amazon_reviews_multi --data DIR --lang en --encoder tfidf,e5-small --llm smollm2 --prompt strict,fewshot+batch --decoding score --sizes 8,32,128,512 --seed 0,1,2 --min-steps 60 --limit 500 --set train.lr=1e-4 --set max_length=64
bench study curve --task reviews_demo --lang en --encoder tfidf,embed-minilm,minilm --llm qwen-coder-0.5b --sizes 8,16,...,all
bench study curve --task amazon_reviews_multi --data DIR --lang en,ja,de,fr --encoder tfidf,embed-e5 --limit 500 --seed 0,1,2 --sizes 100,500,2000
bench study curve --task amazon_reviews_multi --data DIR --lang en --encoder tfidf,embed-minilm --limit 500 --seed 0,1,2 --sizes 100,500,2000
bench study curve --task nsmc_5 --data DIR --lang ko --encoder e5-small --sizes 500 --limit 500 --seed 0,1,2 --set train.precision=bf16
bench study recipe mbert-amazon --backend e5-small --data DIR --train-limit 1000 --limit 500
bench study recipe mbert-amazon --backend e5-small --data DIR --train-limit 500 --validation-limit 150 --limit 400 --set max_length=64
bench label --backend qwen-coder-0.5b --task reviews_demo --lang en --rows new.csv --text review --decoding score --output labelled.csv
bench label --backend qwen-coder-0.5b --task reviews_demo --lang en --split train --decoding score --calibration batch --output train.jsonl
bench run --backend minilm --task reviews_demo --lang en --labels-from DIGITS --validation-limit 0
bench study curve --encoder tfidf,minilm --task reviews_demo --lang en --labels-from DIGITS --soft-labels --sizes 8,16,...,all --label-usd 0.05
bench study recipe mbert-amazon --smoke
bench study recipe bert-douban --backend e5-small --data DIR2 --train-limit 800 --validation-limit 300 --limit 500 --set max_length=64 --set train.lr=1e-4
bench study tune --backend e5-small --lang en --trials 20
bench prompts optimize --backend qwen-coder-0.5b --lang en --prompt strict,stars --decoding score --trials 20
""",
}
PARSED_ONLY = {text: reason for reason, texts in _NEEDS.items() for text in texts.strip().splitlines()}


def reason_holds(reason: str, command: Command) -> bool:
    """Whether the command still needs what it is said to need."""
    if reason == "launcher":
        return command.argv[0] in ("torchrun", "accelerate")
    if reason == "store":
        return any(word.startswith("s3://") for word in command.argv)
    if reason == "cluster":
        return "--executor" in command.argv
    if reason == "lm-eval":  # its results, and runs that were made of them
        return command.argv[2] == "import" or not any(list(RUNS.glob(f"*{part}")) for part in command.argv[2:])
    if reason == "minutes":
        return (
            command.argv[1] in ("study", "label")
            or command.argv[1:3] == ("prompts", "optimize")
            or "--labels-from" in command.argv
        )
    wanted = "openai" if reason == "server" else reason
    return wanted in {Catalog(Path.cwd()).backend(name).engine for name in _backends(command)}


def _backends(command: Command) -> list[str]:
    values = [command.argv[at + 1] for at, part in enumerate(command.argv) if part == "--backend"]
    return [name for value in values for name in value.split(",")]

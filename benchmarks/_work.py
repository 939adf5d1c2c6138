"""What is measured: the rows, their prompts, the arithmetic that they need, and what this machine can do in a second."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from _llm_record import Settings

from harness.core.errors import UserError

if TYPE_CHECKING:
    from harness.core.engine import Messages
    from harness.core.types import Example
    from harness.parsing.parsers import Parser
    from harness.parsing.rendering import Renderer

Labels = dict[str, int | None]
Rows = Literal["all", "loop", "lm_eval", "none"]
"""Which rows a part takes."""

PROMPT = "strict"
NEW_TOKENS = 8  # of `prompts/strict.j2`, so of all that write text but the notebook loop
LOOP_NEW_TOKENS = 32
GEMM_TOKENS = (512, 2048)
"""Rows of the matrix products; the faster one counts, so that shares of the rate are rather too low than too high."""
GEMM_REPETITIONS = 8


@dataclass(frozen=True, slots=True)
class Job:
    """What a part is told. `folder` is the checkpoint, `scratch` an empty folder to throw away, `cores` are their numbers,
    `lm_eval` is an interpreter, and `batch_size` what it used in an earlier repeat."""

    settings: Settings
    dtype: str
    folder: Path
    scratch: Path
    cores: list[int]
    lm_eval: Path | None
    batch_size: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """`labels` by row id, None where the answer is not one. `seconds` without loading, `process_seconds` of a whole command."""

    labels: Labels
    seconds: float | None = None
    process_seconds: float | None = None
    new_tokens: int = 0
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of `Measurement`."""


@dataclass(frozen=True, slots=True)
class Work:
    """Rows and what is needed to prompt for them. `parser.choices()` are the answers of the labels, in their order."""

    rows: list[Example]
    renderer: Renderer
    parser: Parser

    def chats(self) -> list[Messages]:
        return [self.renderer.render(row.text) for row in self.rows]

    def warm_up(self) -> Messages:
        """A prompt that is not among the rows, so that no cache holds a row before its time is taken."""
        return self.renderer.render("Warm-up: these words are no row of the task.")

    def choices(self) -> list[str]:
        choices = self.parser.choices()
        assert choices is not None  # `strict` asks for one number of a range
        return list(choices)


def data_dir(settings: Settings) -> Path | None:
    return None if settings.data is None else Path(settings.data)


def read_work(settings: Settings, rows: Rows = "all") -> Work:
    """The rows that the harness takes for `limit=rows`; for `loop` and `lm_eval` a seeded sample of them.

    Raises `UserError` where the task has too few rows: an engine may compute a repeated prompt once, so none is repeated.
    """
    from harness.data.drawing import first_rows
    from harness.data.rows import load_examples, with_names
    from harness.parsing.parsers import make_parser
    from harness.parsing.rendering import Renderer
    from harness.specs.catalog import Catalog

    catalog = Catalog(Path.cwd())
    task = with_names(catalog.task(settings.task))
    examples = load_examples(task, lang=settings.lang, split="test", data_dir=data_dir(settings))
    if len(examples) < settings.rows:
        raise UserError(
            f"The task {settings.task!r} has {len(examples)} test rows in {settings.lang!r}, and --rows is {settings.rows}.",
            f"Pass --rows {len(examples)}, or a larger task: --task NAME --data DIR.",
        )
    chosen = first_rows(examples, settings.rows)
    fewer = {"loop": settings.loop_rows, "lm_eval": settings.lm_eval_rows}.get(rows, settings.rows)
    if fewer < len(chosen):
        chosen = random.Random(0).sample(chosen, fewer)
    prompt = catalog.prompt(PROMPT, settings.lang)
    return Work(chosen, Renderer(prompt, task.label_space, settings.lang), make_parser(prompt.spec.parser, task.label_space))


def token_ids(folder: Path, chats: Sequence[Messages]) -> list[list[int]]:
    """The prompts as our engines read them: the reference for every rival."""
    from transformers import AutoTokenizer

    from backends._chat import ChatEncoder

    encoded = ChatEncoder(AutoTokenizer.from_pretrained(folder, trust_remote_code=False)).encode(chats, None)
    return [prompt.content.ids for prompt in encoded]


def rendered(folder: Path, chats: Sequence[Messages]) -> list[str]:
    """The prompts as text, special tokens written out."""
    from transformers import AutoTokenizer

    from backends._chat import ChatEncoder

    encoder = ChatEncoder(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    return [encoder.render(chat) for chat in chats]


def require_same_tokens(who: str, ids: Sequence[str], theirs: Sequence[Sequence[int]], ours: Sequence[Sequence[int]]) -> None:
    """Raise `RunError` where a rival reads other tokens than we do: its speed and its answers would be of other prompts."""
    from harness.core.errors import RunError

    for row, found, wanted in zip(ids, theirs, ours, strict=True):
        if list(found) != list(wanted):
            at = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted)))
            raise RunError(
                f"{who} reads row {row} as {len(found)} tokens and we as {len(wanted)}; they part at token {at}: "
                f"{list(found[at : at + 4])} and {list(wanted[at : at + 4])}.",
                "Nothing can be compared before both read the same prompt.",
            )


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder. `weights`: of all its matrices but embedding and output head; `width`: heads times their size."""

    weights: int
    layers: int
    hidden: int
    width: int
    vocabulary: int


def read_shape(folder: Path) -> Shape:
    """Counted on the model itself, built without memory for its weights."""
    import torch

    model, layers = _sketch(folder)
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    matrices = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    heads: int = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return Shape(sum(matrices), layers, config.hidden_size, width, config.vocab_size)


def _sketch(folder: Path) -> tuple[Any, int]:
    """The model without its weights, and the number of its layers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config), config.num_hidden_layers


def needed_flops(shape: Shape, lengths: Sequence[int], shared: int, new_tokens: float = 0.0) -> float:
    """Operations that a run cannot do without: every needed token once.

    `lengths` are the prompts' tokens (of distinct prompts), the first `shared` of them common to all; `new_tokens` is the mean
    number of tokens generated for a prompt, 0 where only the answer's probabilities are read off.

        tokens = shared + sum(length - shared) + prompts * max(new_tokens - 1, 0)    (the last one is not read again)
        flops  = 2 * weights * tokens                                all matrices but embedding and head
               + 2 * 2 * width * layers * sum of contexts            q·k and p·v; a token's context: it and all before it
               + 2 * hidden * vocabulary * prompts * max(new_tokens, 1)    the head: once per answer or generated token

    Softmax, norms and activations are left out, as in all such counts. Padding, prompts computed more than once and tokens
    written beyond an answer's end are work done but not needed: they lower the share of the machine's rate.
    """
    own = sum(length - shared for length in lengths)
    read_again = max(new_tokens - 1, 0.0)
    tokens = shared + own + len(lengths) * read_again
    contexts = shared * (shared + 1) / 2 + sum((length * (length + 1) - shared * (shared + 1)) / 2 for length in lengths)
    contexts += sum(read_again * (length + (read_again + 1) / 2) for length in lengths)
    heads = 2 * shape.hidden * shape.vocabulary * len(lengths) * max(new_tokens, 1.0)
    return 2 * shape.weights * tokens + 4 * shape.width * shape.layers * contexts + heads


def shared_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts start with; each keeps at least one of its own. A single prompt shares nothing."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)  # what these two share in lexical order, all others share
    limit = min(map(len, prompts)) - 1
    return next((i for i in range(limit) if low[i] != high[i]), limit)


def prompts_flops(folder: Path, prompts: Sequence[Sequence[int]], new_tokens: float) -> float:
    distinct = sorted({tuple(ids) for ids in prompts})
    return needed_flops(read_shape(folder), [len(ids) for ids in distinct], shared_length(distinct), new_tokens)


def gemm_rates(folder: Path, cores: int, dtype: str) -> dict[str, float]:
    """GFLOP/s of the matrix products of one layer of the model, as the model calls them, by shape (inner x outer).

    `layer` is the rate of all of them together: their operations by the sum of their seconds. This is the rate that shares
    refer to. The best of several repetitions counts.
    """
    import torch

    torch.set_num_threads(cores)
    shapes = layer_products(folder)
    found: list[dict[str, float]] = []
    for tokens in GEMM_TOKENS:
        seconds = {size: _gemm_seconds(torch, tokens, *size, getattr(torch, dtype)) for size in shapes}
        rates = {f"{inner}x{outer}": 2 * tokens * inner * outer / seconds[inner, outer] / 1e9 for inner, outer in shapes}
        flops = sum(2 * tokens * inner * outer * count for (inner, outer), count in shapes.items())
        found.append({"layer": flops / sum(seconds[size] * count for size, count in shapes.items()) / 1e9, **rates})
    best = max(found, key=lambda rates: rates["layer"])
    return {name: round(rate, 1) for name, rate in best.items()}


def layer_products(folder: Path) -> dict[tuple[int, int], int]:
    """Inner and outer size of each matrix of a layer, and how many of it there are."""
    import torch

    model, layers = _sketch(folder)
    head = model.get_output_embeddings()
    sizes = Counter(
        (m.in_features, m.out_features) for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head
    )
    return {size: count // layers for size, count in sizes.items() if count >= layers}


def _gemm_seconds(torch: Any, tokens: int, inner: int, outer: int, dtype: Any) -> float:
    left, weight = torch.rand(tokens, inner).to(dtype), torch.rand(outer, inner).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(GEMM_REPETITIONS):
            started = time.perf_counter()
            for _ in range(5):  # long enough for the clock
                torch.nn.functional.linear(left, weight)
            best = min(best, (time.perf_counter() - started) / 5)
    return best

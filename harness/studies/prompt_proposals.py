"""New instructions from a language model: what it is asked, and the check of what it answers.

It reads the instructions tried so far with their scores, and rows that the best one got wrong, and writes a new one: the
reflective mutation of GEPA (Agrawal et al. 2025, arXiv:2507.19457) and the instruction proposal of MIPROv2 (Opsahl-Ong et al.
2024, arXiv:2406.11695). The rows are validation rows, so an instruction that quotes one is refused: it would show its label.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.core.engine import Messages
from harness.core.errors import RunError
from harness.core.types import Example, LabelSpace
from harness.data.duplicates import normalized
from harness.parsing.prompt_check import LONG_PROMPT, Severity, check_prompt
from harness.parsing.stripping import without_control_tokens, without_thinking
from harness.specs.prompts import Prompt
from harness.studies.prompt_files import Template, prompt_text

SHOWN_ROWS = 6
SHOWN_INSTRUCTIONS = 4
SHOWN_CHARACTERS = 600
"""Of a row's text."""
QUOTE, SHORTEST = 30, 15
"""Characters in a row that an instruction may not share with a row; a shorter text counts as a whole, from `SHORTEST` on."""


class ProposalRejected(RunError):
    """The proposer's answer is no usable instruction."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A validation row that the best prompt got wrong. `given`: None where no answer could be read."""

    text: str
    truth: str
    given: str | None


@dataclass(frozen=True, slots=True)
class Tried:
    """An instruction and its best value."""

    instruction: str
    value: float


@dataclass(frozen=True)
class Brief:
    """What the proposer is told. `tried`: best first. `rejected`: why earlier answers were refused."""

    task: str
    labels: LabelSpace
    answers: Sequence[str]
    languages: Sequence[str]
    metric: str
    lower_is_better: bool
    parent: Template
    tried: Sequence[Tried]
    mistakes: Sequence[Mistake]
    rejected: Sequence[str]


def instruction_of(template: Template) -> str:
    """What a proposal replaces: the system turn where there is one, else the template of the user's turn."""
    prompt = template.base
    return (prompt.spec.system or prompt.body).strip()


def pick_mistakes(rows: Sequence[Mistake], seed: int, slot: str) -> list[Mistake]:
    """A few, of different true labels first; fixed by the seed and the name of the proposal."""

    def rank(row: Mistake) -> str:
        return hashlib.sha256(f"{seed}\0{slot}\0{row.text}".encode(errors="surrogatepass")).hexdigest()

    seen: dict[str, int] = {}
    ordered: list[tuple[int, Mistake]] = []
    for row in sorted(rows, key=rank):
        seen[row.truth] = seen.get(row.truth, -1) + 1
        ordered.append((seen[row.truth], row))
    return [row for _, row in sorted(ordered, key=lambda pair: pair[0])][:SHOWN_ROWS]


def chat_of(brief: Brief) -> Messages:
    """The proposer's only turn."""
    better = "lower is better" if brief.lower_is_better else "higher is better"
    parts = [
        "You improve the instruction of a prompt that makes a language model classify texts.",
        f"Task: {brief.task}\nLanguages of the texts: {', '.join(brief.languages)}\nLabels: {', '.join(brief.labels.names)}\n"
        f"The model must answer in exactly this form: {', '.join(brief.answers)}",
        f"Instructions that were tried, the best one first, with their {brief.metric} ({better}):",
        *(
            f"{brief.metric} {tried.value:.3f}:\n<instruction>\n{tried.instruction}\n</instruction>"
            for tried in brief.tried[:SHOWN_INSTRUCTIONS]
        ),
    ]
    if brief.mistakes:
        parts.append("Texts that the best instruction got wrong:")
        parts += [_shown(row) for row in brief.mistakes]
    if brief.rejected:
        parts.append("Your earlier proposals were refused:\n" + "\n".join(f"- {reason}" for reason in brief.rejected))
    parts.append(_order(brief))
    return [{"role": "user", "content": "\n\n".join(parts)}]


def _shown(row: Mistake) -> str:
    text = row.text if len(row.text) <= SHOWN_CHARACTERS else row.text[:SHOWN_CHARACTERS] + " ..."
    given = "none that could be read" if row.given is None else row.given
    return f"Text: {text}\nRight answer: {row.truth}\nModel's answer: {given}"


def _order(brief: Brief) -> str:
    where = (
        "It is a system message. The text to classify follows in another message: do not write {{ text }}."
        if brief.parent.base.spec.system
        else "It must contain {{ text }} exactly once, at its end: the text to classify is put there."
    )
    return (
        "Find what the model misunderstands. Write one new instruction that avoids these mistakes and works for new texts.\n"
        f"- {where}\n"
        "- Keep the form of the answer. You may use {{ first }} and {{ last }}, the lowest and the highest answer.\n"
        "- State general rules. Quote none of the texts above.\n"
        "Reply with the new instruction alone, between <instruction> and </instruction>."
    )


def instruction_in(answer: str, *, complete: bool = True) -> str:
    """The instruction in a proposer's answer, which may be cut. Raises `ProposalRejected` for an answer without a whole one."""
    text = without_thinking(answer)
    if text is None:
        raise ProposalRejected("The answer was cut while the model was thinking: raise --proposal-tokens.")
    text = without_control_tokens(text).strip()
    marked = re.findall(r"<instruction>(.*?)(?:</instruction>|\Z)", text, re.DOTALL | re.IGNORECASE)
    fenced = re.fullmatch(r"```\w*\n(.*?)\n?```", (marked[-1] if marked else text).strip(), re.DOTALL)
    found = (fenced[1] if fenced else marked[-1] if marked else text).strip()
    if not found:
        raise ProposalRejected("The answer is empty.")
    if not complete and "</instruction>" not in text.lower():
        raise ProposalRejected("The answer was cut before its end: raise --proposal-tokens.")
    return found


def proposed(brief: Brief, instruction: str, description: str) -> str:
    """The text of the new template's file: the parent's with another instruction, without examples and calibration."""
    prompt = brief.parent.base
    system = bool(prompt.spec.system)
    changed = {
        "description": description,
        "shots": 0,
        "shots_seed": None,
        "system": f"{instruction}\n" if system else None,
    }
    return prompt_text(prompt.spec.model_copy(update=changed), prompt.body if system else instruction)


def check_proposal(prompt: Prompt, labels: LabelSpace, rows: Sequence[Example], known: Iterable[Template]) -> None:
    """`rows`: all validation rows of the search. Raises `ProposalRejected` for a template that can't be rendered or does not
    show the text, that is too long, that is an earlier one, or that quotes a row."""
    instruction = instruction_of(Template(prompt.name, {None: prompt}))
    if len(instruction) > LONG_PROMPT:
        raise ProposalRejected(f"It has {len(instruction):,} characters; {LONG_PROMPT:,} are allowed.")
    if instruction in map(instruction_of, known):
        raise ProposalRejected("It is an instruction that was tried before.")
    some = [row for lang in {row.lang: None for row in rows} for row in [row for row in rows if row.lang == lang][:SHOWN_ROWS]]
    for problem in check_prompt(prompt, labels, some, []):
        if problem.severity is Severity.ERROR:
            raise ProposalRejected(problem.message.replace(f"{prompt.path}: ", "").replace(f"{prompt.path}:", "line "))
    if (quoted := quoted_row(instruction, rows)) is not None:
        raise ProposalRejected(f"It quotes the validation row {quoted}.")


def quoted_row(instruction: str, rows: Iterable[Example]) -> str | None:
    """The id of the first row of which the instruction quotes `QUOTE` characters in a row."""
    shown = normalized(instruction)
    pieces = {shown[start : start + QUOTE] for start in range(len(shown) - QUOTE + 1)}
    for row in rows:
        text = normalized(row.text)
        if len(text) < QUOTE:
            if len(text) >= SHORTEST and text in shown:
                return row.id
        elif any(text[start : start + QUOTE] in pieces for start in range(len(text) - QUOTE + 1)):
            return row.id
    return None

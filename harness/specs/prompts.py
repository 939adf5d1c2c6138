"""Prompts: Jinja files with YAML front matter. Templates run in a sandbox; texts of rows are values, never template code."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from harness.core.errors import PromptError, SpecError
from harness.core.options import MAX_SEED
from harness.core.types import Calibration, Decision, Decoding, LabelKind, ShotsBy
from harness.specs.parser_spec import ParserSpec
from harness.specs.yamlspec import Spec, parse_yaml_spec, read_text

VARIABLES = ("text", "lang", "language", "labels", "scale", "first", "last", "shots")
"""The variables of a template; `system` can use all but `text`."""

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "ms": "Malay",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak",
    "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

_FILE_NAME = re.compile(r"(?P<name>[A-Za-z0-9_-]+)(\.(?P<lang>[a-z]{2,3}))?\.j2")


class PromptSpec(Spec):
    """The front matter of a prompt."""

    description: str = Field(min_length=1, description="what the prompt asks for, in a sentence")
    parser: ParserSpec = Field(
        description="how the answer is parsed: integer, label, json or json_list, optionally with options"
    )
    decoding: Decoding = Field(
        default=Decoding.FREE,
        description="free (generate and parse), constrained (only valid answers), score (probabilities of the answers)",
    )
    calibration: Calibration = Field(default=Calibration.NONE, description="of the model's bias towards an answer; for `score`")
    decision: Decision = Field(
        default=Decision.ARGMAX,
        description="for `score`: the likeliest label (argmax), or (ordinal) the rounded expected value, or the median",
    )
    system: str | None = Field(default=None, description="template of the system turn; it has all variables but `text`")
    max_new_tokens: int = Field(default=16, ge=1, le=4096, description="maximum length of the answer")
    shots: int = Field(
        default=0,
        ge=0,
        description="few-shot examples per class, or in all for `nearest`; earlier turns of the chat unless the template uses"
        " `shots`",
    )
    shots_seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="random: draws the examples; default: the seed of the run",
    )
    shots_by: ShotsBy = Field(
        default=ShotsBy.RANDOM,
        description="random: the same for every text; nearest: the training rows most like each text; nearest_per_class: those"
        " of each class",
    )
    shots_encoder: str = Field(default="embed-e5", description="nearest: the backend whose frozen embeddings say what is alike")
    kinds: tuple[LabelKind, ...] = Field(default=tuple(LabelKind), min_length=1, description="kinds of labels that it is for")

    def seed_of_shots(self, run_seed: int) -> int:
        """The seed that draws the few-shot examples in a run with `run_seed`."""
        return run_seed if self.shots_seed is None else self.shots_seed


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file. `lang`: of a variant (`NAME.ja.j2`); `*_line`: first line of a template in `path`."""

    name: str
    lang: str | None
    spec: PromptSpec
    body: str
    path: Path
    sha256: str
    body_line: int = 1
    system_line: int = 1


def load_prompt(path: Path) -> Prompt:
    """Read `NAME.j2` or `NAME.LANG.j2`; a variant is held against the `NAME.j2` beside it, where there is one.

    Raises `SpecError` for bad front matter, `PromptError` for a bad file name or a variant that differs in kind.
    The templates are compiled by `Renderer`, not here.
    """
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise PromptError(f"{path}: is not named like a prompt.", "Call it NAME.j2, or NAME.ja.j2 for the Japanese variant.")
    text = read_text(path, "utf-8-sig")
    front, body, body_line = _split(text, path)
    spec = parse_yaml_spec(front, path, PromptSpec, first_line=2)
    digest = hashlib.sha256(text.encode()).hexdigest()
    prompt = Prompt(match["name"], match["lang"], spec, body, path, digest, body_line, _system_line(front))
    base = path.with_name(f"{prompt.name}.j2")
    if prompt.lang is not None and base.is_file():
        require_same_kind(prompt, load_prompt(base))
    return prompt


def require_same_kind(variant: Prompt, base: Prompt) -> None:
    """Raise `PromptError` if a language's variant measures something else than its base."""
    for field in ("parser", "decoding", "calibration", "decision", "shots", "shots_seed", "shots_by", "shots_encoder", "kinds"):
        found, wanted = getattr(variant.spec, field), getattr(base.spec, field)
        if found != wanted:
            raise PromptError(
                f"{variant.path}: {field!r} differs from {base.path.name}: {_plain(found)} instead of {_plain(wanted)}.",
                "A variant may change the text, 'system' and 'max_new_tokens'. Give another kind of prompt its own name.",
            )


def _plain(value: Any) -> str:
    return repr([str(item) for item in value]) if isinstance(value, tuple) else f"({value})"


def _split(text: str, path: Path) -> tuple[str, str, int]:
    """Front matter, body without blank lines around it, and the body's first line (1-based)."""
    lines = text.split("\n")
    hint = "A prompt starts with YAML between two lines of '---': description, parser, ..."
    if lines[0].rstrip() != "---":
        raise SpecError(path, 1, "has no front matter", hint)
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if end is None:
        raise SpecError(path, 1, "has front matter without a closing '---'", hint)
    first = next((number for number, line in enumerate(lines[end + 1 :], start=end + 1) if line.strip()), end + 1)
    return "\n".join(lines[1:end]), "\n".join(lines[first:]).rstrip(), first + 1


def _system_line(front: str) -> int:
    """Line of the file where the text of `system` starts; the front matter itself starts at line 2."""
    node = yaml.compose(front, Loader=yaml.SafeLoader)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if key.value == "system":
            return int(value.start_mark.line) + 2 + (value.style in ("|", ">"))
    return 1

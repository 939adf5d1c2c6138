"""Find the names of labels in a model's text; linear in the text's length."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.core.errors import PromptError
from harness.core.types import LabelSpace
from harness.parsing._answers import CONNECTOR, FILLER, LETTER, MARKER, WORD_CHARACTER, fold, without_fences, without_thinking

_NEGATION_BEFORE = re.compile(
    rf"(?<!{LETTER})(?:not|no|non|never|neither|nor|without|cannot|hardly|[a-z]+n['’]t|nicht|kein\w{{0,2}}|nie|weder|pas|"
    rf"aucune?|jamais|ni|sin|nunca|não|sem|нет|не)(?!{LETTER})|不|没|沒|非(?!常)|無|无|未|안 |못 "
)
_NEGATION_AFTER = re.compile(r"[^.。!?\n]{0,8}?(?:ない|なく|ません|아니|아닌|않|없)|[^.。!?\n]{0,20}(?:とは言え|\?|？)")
_SENTENCE_END = re.compile(r"[.。!?！？;]")
_WINDOW = 60  # characters before a name in which a negation counts; keeps the look back linear
LABEL_MARKED = re.compile(rf"{MARKER}[\"*'`]*+{FILLER}[\"*'`]*+{CONNECTOR}")
DECORATION = " \t\"'`*#>“”‘’«»„「」『』()[]{}<>.,:;!。、"


class Names:
    """Finds label names in text that `fold` has folded."""

    def __init__(self, labels: LabelSpace) -> None:
        self.original = labels.names
        self.index: dict[str, int] = {}
        for index, name in enumerate(labels.names):
            folded = fold(name)
            if not folded or folded in self.index:
                problem = "is empty" if not folded else f"reads the same as {labels.names[self.index[folded]]!r}"
                raise PromptError(f"The label {name!r} {problem}.", "Give every label a name that can be told from the others.")
            if without_thinking(name) != name or without_fences(name) != name:
                raise PromptError(
                    f"The label {name!r} holds what is stripped from answers.", "Rename it: no <think>, no code fence."
                )
            self.index[folded] = index
        longest_first = sorted(self.index, key=len, reverse=True)
        # A look-ahead, so that a name that begins inside another one is seen as well.
        self.pattern = re.compile(f"(?=({'|'.join(map(_bounded, longest_first))}))")

    def exact(self, text: str) -> int | None:
        """The label whose name `text` is, decoration aside."""
        folded = fold(text)
        bare = folded.strip(DECORATION)
        return self.index.get(folded, self.index.get(bare))

    def within(self, line: str) -> Iterator[tuple[int, int, int]]:
        """(label, start, end) of each name in a folded line, save those that are part of a longer one."""
        covered = 0
        for match in self.pattern.finditer(line):
            if match.end(1) > covered:
                covered = match.end(1)
                yield self.index[match[1]], match.start(1), covered


def _bounded(name: str) -> str:
    """A pattern for `name` as a word of its own, where its script has words; digits must be no part of a number."""
    before, after = "", ""
    if re.match(WORD_CHARACTER, name):
        before = rf"(?<!{WORD_CHARACTER})(?<!{WORD_CHARACTER}[-'’])"
    if re.search(rf"{WORD_CHARACTER}\Z", name):
        after = rf"(?!{WORD_CHARACTER})(?![-'’]{WORD_CHARACTER})"
    if name[0].isdigit():
        before += r"(?<![-+−–.,/:~])"
    if name[-1].isdigit():
        after += r"(?![.,/:~–−-] ?\d)(?! ?[%/])"
    return f"{before}{re.escape(name)}{after}"


def denied(line: str, start: int, end: int) -> bool:
    """Whether line[start:end] is negated before it in its sentence or (Japanese, Korean) right after it, or is in question."""
    sentence = _SENTENCE_END.split(line[max(0, start - _WINDOW) : start])[-1]
    return bool(_NEGATION_BEFORE.search(sentence) or _NEGATION_AFTER.match(line, end))

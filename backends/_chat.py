"""From chat messages to the token ids of a prompt and of the answers that could follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends._chat_template import THINKING, ChatTemplate, probes
from backends._choices import ChoiceTree
from backends._control_tokens import DisarmedTokenizer, Quotes, any_of, control_tokens
from backends._loading import DAMAGED, read_config
from harness.core.engine import Encoded, Generation, Messages
from harness.core.errors import UserError

ANSWER = "AnswerOfTheModel"
Tails = tuple[tuple[int, ...], ...]
"""The tokens of each choice, from where they part from the prompt."""


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """What the engines that hold a tokenizer put into `Encoded.content`. `tree` is shared by rows whose choices agree."""

    ids: list[int]
    tree: ChoiceTree | None


class ChatEncoder:
    """Applies a tokenizer's chat template. Data stays data: a control token spelled out in a turn is read as characters.

    Between rendering and encoding a prompt is *marked*: such tokens are quoted in it, so that those that it holds as they are
    were all written by the template.
    """

    def __init__(self, tokenizer: Any, template: str | None = None) -> None:
        """`template`: the name of one, of a checkpoint with several. Raises `UserError` where it can't be used."""
        self._tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer, template)
        self.has_template = self.template.jinja is not None
        self._control = control_tokens(tokenizer)
        self._quotes = Quotes(self._control)
        self._control_ids = frozenset(tokenizer.convert_tokens_to_ids(list(self._control)))
        self._disarmed: DisarmedTokenizer | None = None  # made for the first text that needs it
        self._special = any_of(sorted(tokenizer.all_special_tokens, key=len, reverse=True))
        self._thinking_marks = any_of(mark for pair in THINKING.items() for mark in pair)
        self._written: dict[tuple[tuple[str, ...], bool, bool], list[str]] = {}
        self._trees: dict[Tails, ChoiceTree] = {}
        self._border: tuple[tuple[str, tuple[str, ...]], tuple[list[int], int, Tails]] | None = None

    @property
    def system_role(self) -> bool:
        return self.template.system_role

    def render(self, chat: Messages, answer: str | None = None) -> str:
        """The prompt as a model reads it that may think first; with `answer`, the chat after the model gave that answer."""
        return self._quotes.undone(self.marked(chat, answer))

    def marked(self, chat: Messages, answer: str | None = None, thinks: bool = True) -> str:
        turns = [{**turn, "content": self._quotes.quoted(turn["content"])} for turn in chat]
        text = self.template.render(turns, answer, thinks)
        if self._quotes.written(text) != self._template_writes(
            tuple(turn["role"] for turn in chat), answer is not None, thinks
        ):
            turns = [{**turn, "content": self._quotes.fenced(turn["content"])} for turn in chat]
            text = self.template.render(turns, answer, thinks)
        return text

    def _template_writes(self, roles: tuple[str, ...], answered: bool, thinks: bool) -> list[str]:
        """The control tokens in such a chat, whatever its texts."""
        shape = roles, answered, thinks
        if shape not in self._written:
            text = self.template.render(probes(roles), ANSWER if answered else None, thinks)
            self._written[shape] = self._quotes.written(text)
        return self._written[shape]

    def tokens(self, marked: Sequence[str]) -> list[list[int]]:
        texts = [(self._quotes.undone if self._tokenizer.is_fast else self._quotes.broken)(text) for text in marked]
        # The template writes the special tokens itself; without one the tokenizer adds its own (a leading BOS, say).
        found: list[list[int]] = self._tokenizer(texts, add_special_tokens=not self.has_template)["input_ids"]
        for row, (text, ids) in enumerate(zip(marked, found, strict=True)):
            if self._tokenizer.is_fast and self._suspicious(text, ids):
                self._disarmed = self._disarmed or DisarmedTokenizer(self._tokenizer, self._control)
                found[row] = ids = self._disarmed.ids(self._quotes, text, add_special_tokens=not self.has_template)
            if not self.has_template and ids and ids[-1] == self._tokenizer.eos_token_id:
                del ids[-1]  # some end every text with EOS, and nothing follows that
        return found

    def _suspicious(self, marked: str, ids: list[int]) -> bool:
        """Whether some control token may come from a turn: one is quoted there, or there are more than belong to it."""
        written = len(self._quotes.written(marked)) if self.has_template else self._tokenizer.num_special_tokens_to_add()
        return self._quotes.in_use(marked) or sum(map(self._control_ids.__contains__, ids)) > written

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        """Prompts with a `TokenPrompt` each; those of `choices` end behind the model's thinking, if it has any.

        Raises `UserError` if two choices have the same tokens, and if the template loses a turn.
        """
        if not chats:
            return []
        for roles in {tuple(turn["role"] for turn in chat): None for chat in chats}:
            self.template.check(roles)
        if choices is None:
            prompts = self.tokens([self.marked(chat) for chat in chats])
            return [Encoded(len(ids), TokenPrompt(ids, None)) for ids in prompts]
        texts = [self.marked(chat, thinks=False) for chat in chats]
        before, closing = self._around_answers(chats[0], texts[0])
        if before.strip():
            # A block of no thinking, say, or the name of a channel: part of the prompt, as nobody asks how likely it is.
            texts, before = [text + before for text in texts], ""
        answers = tuple(before + self._quotes.quoted(choice) for choice in choices)
        encoded = []
        for text, ids in zip(texts, self.tokens(texts), strict=True):
            kept, tails = self._split(text, ids, answers)
            tree = self._tree(tails, closing, choices)
            encoded.append(Encoded(len(kept) + len(tree), TokenPrompt(kept, tree)))
        return encoded

    def _around_answers(self, chat: Messages, prompt: str) -> tuple[str, int]:
        """What the template puts before an answer, and the token that ends it.

        One chat tells it for all: what stands in the user's turn has no part in it.
        """
        try:
            whole, found, after = self.marked(chat, ANSWER, thinks=False).rpartition(ANSWER)
        except UserError:  # it takes no chat that ends with an answer
            found = ""
        if not found:
            return "", self._tokenizer.eos_token_id
        before = whole[len(prompt) :] if whole.startswith(prompt) else ""
        closing = next((token for token in self._control if after.startswith(token)), self._tokenizer.eos_token)
        return before, self._tokenizer.convert_tokens_to_ids(closing)

    def _split(self, text: str, ids: list[int], answers: tuple[str, ...]) -> tuple[list[int], Tails]:
        """The prompt's ids, and those of each answer as it would follow.

        An answer is found by encoding the prompt with and without it, so that a tokenizer's merges across the border are
        the model's own. Where encodings part before the prompt ends, the prompt is cut there and the answers start there.
        """
        # A tokenizer treats what stands between two special tokens by itself: the last such stretch tells all, and it is
        # the same for all rows of most templates.
        start = max((text.rfind(token) for token in self._control), default=-1) if self.has_template else -1
        if start > 0:
            key = text[start:], answers
            if self._border is None or self._border[0] != key:
                self._border = key, self._parted(*key)
            border, cut, tails = self._border[1]
            before = len(ids) - len(border)
            if ids[before:] == border:  # else this tokenizer looks across a special token
                return ids[: before + cut], tails
        _, cut, tails = self._parted(text, answers)
        return ids[:cut], tails

    def _parted(self, text: str, answers: tuple[str, ...]) -> tuple[list[int], int, Tails]:
        """Ids of `text`, how many of them stand before every answer, and what follows these for each answer."""
        ids, *wholes = self.tokens([text, *(text + answer for answer in answers)])
        cut = len(common_prefix([ids, *wholes]))
        return ids, cut, tuple(tuple(whole[cut:]) for whole in wholes)

    def _tree(self, tails: Tails, closing: int, choices: Sequence[str]) -> ChoiceTree:
        if tails not in self._trees:
            if len(set(tails)) < len(tails) or not all(tails):
                raise UserError(
                    f"This model's tokenizer can't tell the answers {', '.join(map(repr, choices))} apart.",
                    "Use the decoding `free`, or other answers in the prompt.",
                )
            # "1" begins "10": only with the end of the answer is the one no part of the other. Then all get it, so that
            # all are measured alike.
            begins = any(a != b and b[: len(a)] == a for a in tails for b in tails)
            self._trees[tails] = ChoiceTree([(*tail, closing) for tail in tails] if begins else tails)
        return self._trees[tails]

    def generation(self, prompt: list[int], new: list[int], ends: Sequence[int]) -> Generation:
        """What a model wrote after `prompt`, up to the first of the tokens that end an answer. Its thinking stands between
        `<think>` and `</think>`, whatever the model writes for these; where it was cut, there is no end."""
        end = next((i for i, token in enumerate(new) if token in ends), None)
        ids = new if end is None else new[:end]
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        whole = self._tokenizer.decode(ids, skip_special_tokens=False)
        if marks := self._thinking_marks.findall(whole):
            # Those that are special tokens are not in `text`.
            parts = [self._special.sub("", part) for part in self._thinking_marks.split(whole)]
            tags = ["<think>" if mark in THINKING else "</think>" for mark in marks]
            text = "".join(part for pair in zip(parts, [*tags, ""], strict=True) for part in pair)
        if self.template.opening is not None and not text.lstrip().startswith("<think>"):
            text = f"<think>{text}"
        return Generation(text, end is not None, len(prompt), len(new) if end is None else end + 1)


def end_tokens(source: Path, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: those of the checkpoint's generation settings, else of its tokenizer. Raises `UserError`
    where these settings hold something else."""
    from transformers import GenerationConfig

    try:
        ends = GenerationConfig.from_pretrained(source, local_files_only=True).eos_token_id
    except OSError:  # it has none
        ends = GenerationConfig.from_model_config(read_config(source)).eos_token_id
    found = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(end) is int and end >= 0 for end in found):
        raise UserError(f"{source}: its settings name {ends!r} for eos_token_id, which is no number of a token.", DAMAGED)
    return found or [tokenizer.eos_token_id]


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list of tokens that all sequences start with."""
    # The smallest and the largest in lexical order bound what all others share.
    low, high = min(sequences), max(sequences)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    return low[:shared]

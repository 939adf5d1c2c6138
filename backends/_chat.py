"""From chat messages to the token ids of a prompt and of the answers that could follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends._choices import ChoiceTree
from backends._loading import read_config
from backends.base import Encoded, Generation, Messages
from harness.errors import UserError

Tails = tuple[tuple[int, ...], ...]
"""The tokens of each choice, from where they part from the prompt."""


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """What the engines that hold a tokenizer put into `Encoded.content`. `tree` is shared by rows whose choices agree."""

    ids: list[int]
    tree: ChoiceTree | None


class ChatEncoder:
    """Applies a tokenizer's chat template. Data stays data: a special token spelled out in a text is broken up."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.has_template = tokenizer.chat_template is not None
        special = {*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())}
        self._special = sorted((token for token in special if token.strip()), key=len, reverse=True)
        self.system_role = self.has_template and self._takes_system()
        self._trees: dict[Tails, ChoiceTree] = {}
        self._border: tuple[tuple[str, tuple[str, ...]], tuple[list[int], int, Tails]] | None = None

    def _takes_system(self) -> bool:
        """Some templates refuse a system turn (Mistral 7B v0.2, Gemma), and some drop it in silence."""
        from jinja2 import TemplateError

        probe = [{"role": "system", "content": "sentinel"}, {"role": "user", "content": "hello"}]
        try:
            return "sentinel" in self._tokenizer.apply_chat_template(probe, tokenize=False, add_generation_prompt=True)
        except TemplateError:
            return False

    def render(self, chat: Messages, answer: str | None = None) -> str:
        """The prompt as the model reads it; with `answer`, the same conversation after the model gave that answer."""
        turns = [{**turn, "content": self._neutral(turn["content"])} for turn in chat]
        if not self.system_role and turns[0]["role"] == "system":
            turns = [{"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}, *turns[2:]]
        if not self.has_template:
            # A base model: plain text, one blank line between turns.
            return "\n\n".join(turn["content"] for turn in turns) + "\n" + (answer or "")
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None)
        return text

    def _neutral(self, text: str) -> str:
        for token in self._special:
            if token in text:
                text = text.replace(token, f"{token[0]}\u200b{token[1:]}")
        return text

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        # The template writes the special tokens itself; without one the tokenizer adds its own (a leading BOS, say).
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=not self.has_template)["input_ids"]
        if not self.has_template:
            for ids in encoded:
                if ids and ids[-1] == self._tokenizer.eos_token_id:
                    del ids[-1]  # some end every text with EOS, and nothing follows that
        return encoded

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        """Prompts with a `TokenPrompt` each. Raises `UserError` if two choices have the same tokens."""
        if not chats:
            return []
        texts = [self.render(chat) for chat in chats]
        prompts = self.tokens(texts)
        if choices is None:
            return [Encoded(len(ids), TokenPrompt(ids, None)) for ids in prompts]
        answers, closing = self._answers(chats[0], texts[0], choices)
        encoded = []
        for text, ids in zip(texts, prompts, strict=True):
            kept, tails = self._split(text, ids, answers)
            tree = self._tree(tails, closing, choices)
            encoded.append(Encoded(len(kept) + len(tree), TokenPrompt(kept, tree)))
        return encoded

    def _answers(self, chat: Messages, prompt_text: str, choices: Sequence[str]) -> tuple[tuple[str, ...], int]:
        """Each choice with whatever the template puts before it, and the token that ends an answer.

        One chat tells it for all: what stands in the user's turn has no part in it.
        """
        answers, after = [], ""
        for choice in choices:
            whole = self.render(chat, choice)
            rest = whole[len(prompt_text) :] if whole.startswith(prompt_text) else ""
            start = rest.find(choice)
            end = start + len(choice)
            answers.append(choice if start < 0 else rest[:end])
            after = "" if start < 0 else rest[end:]
        closing = next((token for token in self._special if after.startswith(token)), self._tokenizer.eos_token)
        return tuple(answers), self._tokenizer.convert_tokens_to_ids(closing)

    def _split(self, text: str, ids: list[int], answers: tuple[str, ...]) -> tuple[list[int], Tails]:
        """The prompt's ids, and those of each answer as it would follow.

        An answer is found by encoding the prompt with and without it, so that a tokenizer's merges across the border are
        the model's own. Where encodings part before the prompt ends, the prompt is cut there and the answers start there.
        """
        # A tokenizer treats what stands between two special tokens by itself: the last such stretch tells all, and it is
        # the same for all rows of most templates.
        start = max((text.rfind(token) for token in self._special), default=-1) if self.has_template else -1
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
        """What a model wrote after `prompt`, up to the first of the tokens that end an answer."""
        end = next((i for i, token in enumerate(new) if token in ends), None)
        text = self._tokenizer.decode(new if end is None else new[:end], skip_special_tokens=True)
        return Generation(text, end is not None, len(prompt), len(new) if end is None else end + 1)


def end_tokens(source: Path, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: those of the checkpoint's generation settings, else of its tokenizer."""
    from transformers import GenerationConfig

    try:
        ends = GenerationConfig.from_pretrained(source, local_files_only=True).eos_token_id
    except OSError:  # it has none
        ends = GenerationConfig.from_model_config(read_config(source)).eos_token_id
    return ends if isinstance(ends, list) else [tokenizer.eos_token_id if ends is None else ends]


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list of tokens that all sequences start with."""
    # The smallest and the largest in lexical order bound what all others share.
    low, high = min(sequences), max(sequences)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    return low[:shared]

"""From chat messages to the token ids of a prompt and of the answers that could follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends.base import Messages
from harness.errors import UserError


class ChatEncoder:
    """Applies a tokenizer's chat template. Data stays data: a special token spelled out in a text is broken up."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.has_template = tokenizer.chat_template is not None
        special = {*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())}
        self._special = sorted((token for token in special if token.strip()), key=len, reverse=True)
        self.system_role = self.has_template and self._takes_system()

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

    def encode(self, text: str) -> list[int]:
        # The template writes the special tokens itself; without one the tokenizer adds its own (a leading BOS, say).
        ids: list[int] = self._tokenizer(text, add_special_tokens=not self.has_template)["input_ids"]
        if not self.has_template and ids and ids[-1] == self._tokenizer.eos_token_id:
            del ids[-1]  # some end every text with EOS, and nothing follows that
        return ids

    def prompt(self, chat: Messages) -> list[int]:
        return self.encode(self.render(chat))

    def prompt_and_choices(self, chat: Messages, choices: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Token ids of the prompt, and of each choice as it would follow it.

        A choice is found by encoding the whole conversation with and without it, so that a template's leading space and
        a tokenizer's merges across the border are the model's own. Where encodings part before the prompt ends, the
        prompt is cut there and the choices start there.
        Raises `UserError` if two choices have the same tokens.
        """
        prompt_text = self.render(chat)
        prompt = self.encode(prompt_text)
        wholes = [self.encode(prompt_text + self._answer_text(chat, prompt_text, choice)) for choice in choices]
        start = len(common_prefix([prompt, *wholes]))
        tails = [whole[start:] for whole in wholes]
        if len({tuple(tail) for tail in tails}) < len(tails) or not all(tails):
            raise UserError(
                f"This model's tokenizer can't tell the answers {', '.join(map(repr, choices))} apart.",
                "Use the decoding `free`, or other answers in the prompt.",
            )
        return prompt[:start], tails

    def _answer_text(self, chat: Messages, prompt_text: str, choice: str) -> str:
        """`choice` with whatever the template puts before it."""
        if not self.has_template:
            return choice
        whole = self.render(chat, choice)
        if not whole.startswith(prompt_text):
            return choice
        rest = whole[len(prompt_text) :]
        end = rest.find(choice)
        return choice if end < 0 else rest[: end + len(choice)]


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list of tokens that all sequences start with."""
    # The smallest and the largest in lexical order bound what all others share.
    low, high = min(sequences), max(sequences)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    return low[:shared]

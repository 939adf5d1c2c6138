"""A tokenizer's chat template: which one, what it takes, and what it makes of a chat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from backends._control_tokens import control_tokens
from backends._loading import read_tokenizer
from harness.core.engine import Messages
from harness.core.errors import UnknownName, UserError

DATE = datetime(2024, 7, 26)
"""Today, for templates that ask (`strftime_now`), so that a run is the same on any day. Llama's own default."""

THINKING = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",  # gpt-oss
}
"""What begins a model's thinking, and what ends it."""


class ChatTemplate:
    """Raises `UserError` where the template can't be used: `jinja` is None where a checkpoint has none."""

    def __init__(self, tokenizer: Any, name: str | None = None) -> None:
        """`name`: which, of a checkpoint with several."""
        self._tokenizer = tokenizer
        self._model = tokenizer.name_or_path or "this model"
        self.jinja = self._named(name)
        self.parts: dict[str, bool] = {"user": False, "assistant": False, "system": False}
        self.system_role = False
        self.opening: str | None = None
        """What begins the thinking that a prompt ends in, if the model is to answer freely."""
        self._closing = ""
        self._checked: set[tuple[str, ...]] = set()
        if self.jinja is not None:
            self._probe()

    def _named(self, name: str | None) -> str | None:
        templates = self._tokenizer.chat_template
        if not isinstance(templates, dict):
            if name is None:
                return None if templates is None else str(templates)
            raise UserError(f"{self._model} has no named chat templates.", "Leave `chat_template` out.")
        if name is not None and name not in templates:
            raise UnknownName("chat template", name, templates)
        if name is None and "default" not in templates:
            names = sorted(templates)
            raise UserError(
                f"{self._model} has named chat templates and no default: {', '.join(names)}.",
                f"Choose one of them: --set chat_template={names[0]}",
            )
        return str(templates[name or "default"])

    def _probe(self) -> None:
        self._choose_form("user", ["user"])
        # What a template makes of earlier turns matters only to chats that have some: `check` sees to them.
        self._choose_form("assistant", ["user", "assistant", "user"], must=False)
        # Some templates refuse a system turn (Mistral 7B v0.2, Gemma), and some drop it in silence.
        self.system_role = self._choose_form("system", ["system", "user"], must=False)
        self.opening = _left_open(self._tail(thinks=True))
        begun = _left_open(self._tail(thinks=False))
        if begun is not None:
            self._closing = f"{'' if self._tail(thinks=False).endswith(chr(10)) else chr(10)}\n{THINKING[begun]}\n\n"

    def _choose_form(self, role: str, roles: Sequence[str], must: bool = True) -> bool:
        """Whether the template shows the turn of `role`, as a text or, like those of vision models, as a list of parts."""
        chat = probes(roles)
        wanted = chat[roles.index(role)]["content"]
        problem: UserError | None = None
        for form in (False, True):
            self.parts[role] = form
            try:
                shown = self._apply(chat)
            except UserError as error:
                problem = problem or error
                continue
            if wanted in shown and not (form and repr(wanted) in shown):  # else the list itself is printed
                return True
            if not form:
                problem = self._lost(role, wanted, shown, roles)
        self.parts[role] = False
        if must:
            assert problem is not None
            raise problem
        return False

    def check(self, roles: tuple[str, ...]) -> None:
        """Raises `UserError` unless each turn of such a chat is in the prompt as it is."""
        if self.jinja is None or roles in self._checked:
            return
        chat = probes(roles)
        shown = self.render(chat)
        for turn in chat:
            if turn["content"] not in shown:
                raise self._lost(turn["role"], turn["content"], shown, roles)
        self._checked.add(roles)

    def _lost(self, role: str, text: str, shown: str, roles: Sequence[str]) -> UserError:
        changed = text.split()[0].lower() in shown.lower()
        hint = "Choose another checkpoint"
        if "assistant" in roles:
            hint = "Use a prompt with `shots: 0`, or one whose template shows `shots` itself"
        elif isinstance(self._tokenizer.chat_template, dict):
            hint += f", or another of its templates with --set chat_template=NAME: {', '.join(self._tokenizer.chat_template)}"
        return UserError(
            f"The chat template of {self._model} {'cuts or changes' if changed else 'drops'} the text of the {role}'s turn.",
            f"{hint}.",
        )

    def _tail(self, thinks: bool) -> str:
        """What the template writes after the user's last turn."""
        chat = probes(["user"])
        return self.render(chat, thinks=thinks).rpartition(chat[0]["content"])[2]

    def render(self, turns: Messages, answer: str | None = None, thinks: bool = True) -> str:
        """The chat as a prompt; with `answer`, the chat after the model gave that answer.

        Where the model does not get to think (`thinks`), the prompt ends behind its thinking.
        """
        if not self.system_role and turns[0]["role"] == "system":
            turns = [{"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}, *turns[2:]]
        if self.jinja is None:
            # A base model: plain text, one blank line between turns.
            return "\n\n".join(turn["content"] for turn in turns) + "\n" + (answer or "")
        if answer is not None:
            return self._apply([*turns, {"role": "assistant", "content": answer}], thinks, generation=False)
        return self._apply(turns, thinks) + ("" if thinks else self._closing)

    def _apply(self, turns: Messages, thinks: bool = True, generation: bool = True) -> str:
        # Templates know thinking by one of two names.
        switch = {} if thinks else {"enable_thinking": False, "thinking": False}
        chat = [
            {**turn, "content": [{"type": "text", "text": turn["content"]}] if self.parts[turn["role"]] else turn["content"]}
            for turn in turns
        ]
        try:
            text: str = self._tokenizer.apply_chat_template(
                chat,
                chat_template=self.jinja,
                tokenize=False,
                add_generation_prompt=generation,
                strftime_now=DATE.strftime,
                **switch,
            )
        except Exception as error:  # a template can fail in any way that Python code can
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"The chat template of {self._model} can't be applied: {said}",
                "Nothing but the turns of a chat is given to it (no tools, no documents). Mend the template, or choose another "
                "checkpoint.",
            ) from error
        return text

    def facts(self) -> dict[str, str]:
        """What the outcome of a run depends on beyond the checkpoint, where there is something."""
        if self.jinja is None:
            return {}
        closed = self._tail(thinks=False) != self._tail(thinks=True)
        return {
            **({"template_date": f"{DATE:%Y-%m-%d}"} if "strftime_now" in self.jinja else {}),
            **({"content": "parts"} if self.parts["user"] else {}),
            **({"thinking": "closed"} if closed else {}),
        }


@lru_cache(maxsize=8)
def _facts(source: Path, name: str | None) -> dict[str, str]:
    try:
        tokenizer = read_tokenizer(source, "eos_token")
    except UserError:  # `load` says what is wrong with it
        return {}
    control = control_tokens(tokenizer)
    words = [text for token in tokenizer.added_tokens_decoder.values() if (text := str(token)).strip() and text not in control]
    # Added words were broken up before bench told them from control tokens: such a run is not the same one.
    return {**ChatTemplate(tokenizer, name).facts(), **({"added_words": "whole"} if words else {})}


def template_facts(source: Path, name: str | None) -> dict[str, str]:
    """What the template of the checkpoint in `source` adds to an engine's `facts`. Raises `UserError` as `ChatTemplate`."""
    return {**({"chat_template": name} if name else {}), **_facts(source, name)}


def probes(roles: Sequence[str]) -> Messages:
    """A chat to try a template with: each turn has a text of its own, long enough to be cut, with letters of both cases."""
    texts = (" ".join(f"Turn{index}word{word}." for word in range(200)) for index in range(len(roles)))
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def _left_open(text: str) -> str | None:
    """The beginning of thinking that has no end in `text`."""
    marks = {**dict.fromkeys(THINKING, True), **dict.fromkeys(THINKING.values(), False)}
    found = re.findall("|".join(map(re.escape, marks)), text)
    return found[-1] if found and marks[found[-1]] else None

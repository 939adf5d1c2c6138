"""From chats to token ids, and from tokens back to answers: what the engines share that hold a tokenizer.

Choices as a tree of tokens, chat templates, the encoder of chats, and the base class of these engines.
"""

from __future__ import annotations

import json
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from backends._control_tokens import DisarmedTokenizer, Quotes, any_of, control_tokens
from backends._lists import ListPrompt, ListWalk, Paths
from backends._loading import DAMAGED, read_config, read_tokenizer
from backends._thinking import MOST_THOUGHT, THINKING, Thinking, closing_of, left_open
from backends._torch import Device, DType, lazy_torch, resolve_device, resolve_dtype
from harness.core.arrays import FloatArray
from harness.core.engine import (
    Allowed,
    Encoded,
    Generation,
    LanguageModel,
    ListOf,
    Messages,
    Pending,
    Scores,
    at_once,
    later_option,
)
from harness.core.errors import UnknownName, UserError

ANSWER = "AnswerOfTheModel"

Arguments = Mapping[str, bool | int | float | str]
"""Of a chat template, by name."""
RESERVED = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "strftime_now"}
"""What a template reads beside its arguments. bench passes the turns, whether an answer follows, and the date."""

SWITCHES = ("enable_thinking", "thinking")
"""The names by which templates know whether a model may think."""

ASKS = ("defined", "undefined", "default", "d")
"""Tests and filters of Jinja that tell whether a name has a value."""

Tokens = tuple[int, ...]
Tails = tuple[Tokens, ...]
"""The tokens of each choice, from where they part from the prompt."""

DATE = datetime(2024, 7, 26)
"""Today's date for templates that ask (`strftime_now`), so that a run is the same on any day. Llama's own default."""


class ChoiceTree:
    """Choices by their tokens. No choice may be the beginning of another (a closing token after each ensures that).

    `nodes` are the beginnings after which a token is to be chosen: first the empty one, then each after the one that it
    extends. `edges` are pairs (index into `nodes`, a token that may follow there), in the order of the nodes.
    """

    def __init__(self, choices: Sequence[Tokens]) -> None:
        self.choices = tuple(choices)
        beginnings = {choice[:length] for choice in choices for length in range(len(choice))}
        self.nodes: list[Tokens] = sorted(beginnings, key=lambda node: (len(node), node))
        at = {node: index for index, node in enumerate(self.nodes)}
        steps = {(at[choice[:length]], choice[length]) for choice in choices for length in range(len(choice))}
        self.edges: list[tuple[int, int]] = sorted(steps)
        edge = {pair: index for index, pair in enumerate(self.edges)}
        self._uses = np.zeros((len(self.edges), len(self.choices)))
        for column, choice in enumerate(self.choices):
            for length, token in enumerate(choice):
                self._uses[edge[at[choice[:length]], token], column] = 1

    def __len__(self) -> int:
        """Tokens beyond the prompt that a model must read to know all edges."""
        return len(self.nodes) - 1

    @property
    def longest(self) -> int:
        return max(map(len, self.choices))

    def following(self, node: Tokens) -> list[int]:
        """The tokens that may follow; none where a choice is complete."""
        return sorted({choice[len(node)] for choice in self.choices if len(choice) > len(node) and choice[: len(node)] == node})

    def log_p(self, edges: FloatArray) -> FloatArray:
        """log p of each whole choice, shape (rows, choices), from log p of each edge, shape (rows, edges).

        The chain rule: log p(t1 ... tn | prompt) is the sum of log p(ti | prompt, t1 ... ti-1).
        """
        return np.asarray(edges @ self._uses)

    def greedy(self, edges: FloatArray) -> int:
        """The choice reached by always taking the likeliest allowed token; `edges` is of one row."""
        node: Tokens = ()
        while node not in self.choices:
            at = self.nodes.index(node)
            allowed = (edge for edge in range(len(self.edges)) if self.edges[edge][0] == at)
            node = (*node, self.edges[max(allowed, key=lambda edge: float(edges[edge]))][1])
        return self.choices.index(node)


class ChatTemplate:
    """A tokenizer's chat template: which one, what it takes, and what it makes of a chat. `jinja` is None where a checkpoint
    has none. Raises `UserError` where it can't be used."""

    def __init__(
        self, tokenizer: Any, name: str | None = None, arguments: Arguments | None = None, thinking: bool = False
    ) -> None:
        """`name`: which, of a checkpoint with several; `arguments`: what the template is told beside the turns; `thinking`: it
        is told to let the model think."""
        self._tokenizer = tokenizer
        self._model = tokenizer.name_or_path or "this model"
        self.jinja = self._named(name)
        self._arguments = dict(arguments or {})
        self._check_arguments()
        self._thinking = dict.fromkeys(SWITCHES, True) if thinking else {}
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

    def _check_arguments(self) -> None:
        """An argument that the template does not read would change nothing, and be recorded as if it did."""
        if not self._arguments:
            return
        if self.jinja is None:
            raise UserError(f"{self._model} has no chat template that could take arguments.", "Leave `template_arguments` out.")
        known = self._readable(self.jinja)
        if unknown := sorted(self._arguments.keys() - known):
            reads = f"Those it reads: {', '.join(sorted(known))}" if known else "It reads none"
            raise UserError(
                f"The chat template of {self._model} reads no argument {', '.join(map(repr, unknown))}.",
                f"{reads}. Correct `template_arguments`, or clear them: --set template_arguments={{}}",
            )

    def _readable(self, jinja: str) -> set[str]:
        """The names of the template's arguments."""
        from jinja2 import TemplateError, meta, nodes
        from transformers.utils.chat_template_utils import _compile_jinja_template

        try:
            environment = _compile_jinja_template(jinja).environment  # with the tags and functions of chat templates
            parsed = environment.parse(jinja)
        except TemplateError as error:
            raise self._failed(error) from error
        read: set[str] = meta.find_undeclared_variables(parsed)
        # What a template sets itself is an argument only where it asks first whether there is one.
        asked = (node.node for node in parsed.find_all((nodes.Test, nodes.Filter)) if node.name in ASKS)
        given = {node.name for node in asked if isinstance(node, nodes.Name)}
        own = {node.name for node in parsed.find_all(nodes.Name) if node.ctx == "store"} - given
        return read - {*own, *environment.globals, *RESERVED, *self._tokenizer.special_tokens_map}

    def _probe(self) -> None:
        if problem := self._hidden("user", ["user"]):
            raise problem
        # How a template shows earlier turns matters only to chats that have some: `check` tests that.
        self._hidden("assistant", ["user", "assistant", "user"])
        # Some templates refuse a system turn (Mistral 7B v0.2, Gemma), and some drop it silently.
        self.system_role = self._hidden("system", ["system", "user"]) is None
        self.opening = left_open(self._tail(thinks=True))
        tail = self._tail(thinks=False)
        begun = left_open(tail)
        if begun is not None:
            self._closing = f"{'' if tail.endswith(chr(10)) else chr(10)}\n{THINKING[begun]}\n\n"

    def _hidden(self, role: str, roles: Sequence[str]) -> UserError | None:
        """Why the turn of `role` is not in the prompt, neither as a text nor, as vision models want it, as a list of parts."""
        chat = probes(roles)
        wanted = chat[roles.index(role)]["content"]
        problems = []
        for form in (False, True):
            self.parts[role] = form
            try:
                shown = self._apply(chat)
            except UserError as error:
                problems.append(error)
                continue
            if wanted in shown and not (form and repr(wanted) in shown):  # else the list itself is printed
                return None
            problems.append(self._lost(role, wanted, shown, roles))
        self.parts[role] = False
        return problems[0]

    @property
    def closes_thinking(self) -> bool:
        """Whether a prompt for an answer without thinking differs from one for an answer that may begin with it."""
        return self.jinja is not None and self._tail(thinks=False) != self._tail(thinks=True)

    def require_thinking(self, asked: Thinking) -> None:
        """Raises `UserError` where the option `thinking` would change nothing, or the template does not know it."""
        knows = self.jinja is not None and bool(set(SWITCHES) & self._readable(self.jinja))
        if knows or self.opening is not None:
            return
        raise UserError(
            f"The chat template of {self._model} has no switch for thinking and begins none, so thinking={asked} would change "
            "nothing.",
            "Leave `thinking` out.",
        )

    def check(self, roles: tuple[str, ...]) -> None:
        """Raises `UserError` unless each turn of such a chat is in the prompt unchanged."""
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

        Without `thinks` the prompt ends after an empty block of thinking.
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
        switch = self._thinking if thinks else dict.fromkeys(SWITCHES, False)
        arguments = {**self._arguments, **switch}
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
                **arguments,
            )
        except Exception as error:  # a template can fail in any way that Python code can
            raise self._failed(error) from error
        return text

    def _failed(self, error: Exception) -> UserError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return UserError(
            f"The chat template of {self._model} can't be applied: {reason}",
            "bench passes it only the turns of a chat (no tools, no documents). Correct the template, or choose another "
            "checkpoint.",
        )

    def facts(self) -> dict[str, str]:
        """What the results depend on beyond the checkpoint."""
        if self.jinja is None:
            return {}
        return {
            **({"template_date": f"{DATE:%Y-%m-%d}"} if "strftime_now" in self.jinja else {}),
            **({"content": "parts"} if self.parts["user"] else {}),
            **({"thinking": "closed"} if self.closes_thinking else {}),
            **({"template_arguments": json.dumps(self._arguments, sort_keys=True)} if self._arguments else {}),
        }


@lru_cache(maxsize=8)
def _facts(source: Path, name: str | None, arguments: str) -> dict[str, str]:
    """`arguments`: as JSON, in which 1 and true differ."""
    try:
        tokenizer = read_tokenizer(source, "eos_token")
    except UserError:  # `load` reports it
        return {}
    control = control_tokens(tokenizer)
    words = [text for token in tokenizer.added_tokens_decoder.values() if (text := str(token)).strip() and text not in control]
    # Earlier versions of bench broke added words up: such a run is not the same one.
    return {**ChatTemplate(tokenizer, name, json.loads(arguments)).facts(), **({"added_words": "whole"} if words else {})}


def template_facts(source: Path, name: str | None, arguments: Arguments | None = None) -> dict[str, str]:
    """What the template of the checkpoint in `source` adds to an engine's `facts`. Raises `UserError` as `ChatTemplate`."""
    return {**({"chat_template": name} if name else {}), **_facts(source, name, json.dumps(dict(arguments or {})))}


def probes(roles: Sequence[str]) -> Messages:
    """A chat to test a template with: each turn has a distinct text, long enough to be cut, with letters of both cases."""
    texts = (" ".join(f"Turn{index}word{word}." for word in range(200)) for index in range(len(roles)))
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """`Encoded.content` of the engines that hold a tokenizer. `tree` is shared by rows whose choices have the same tokens."""

    ids: list[int]
    tree: ChoiceTree | None


class ChatEncoder:
    """Applies a tokenizer's chat template. A control token spelled out in a turn is read as characters.

    Between rendering and encoding a prompt is *marked*: control tokens of the turns are quoted, so that the unquoted ones
    were all written by the template.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str | None = None,
        arguments: Arguments | None = None,
        thinking: Thinking | None = None,
    ) -> None:
        """`template`: which, of a checkpoint with several; `arguments`: of the template. `thinking`: before free answers; None:
        as the template has it. Raises `UserError` where a template can't be used so."""
        self._tokenizer = tokenizer
        self._thinks = thinking != "off"
        self.thought = 0 if thinking in (None, "off") else MOST_THOUGHT if thinking == "on" else int(thinking)
        """Tokens of thinking at most; 0: no limit of its own."""
        self.template = ChatTemplate(tokenizer, template, arguments, thinking=self.thought > 0)
        if thinking is not None:
            self.template.require_thinking(thinking)
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

    def render(self, chat: Messages, answer: str | None = None) -> str:
        """The prompt for a free answer; with `answer`, the chat after the model gave it."""
        return self._quotes.undone(self.marked(chat, answer, self._thinks))

    def marked(self, chat: Messages, answer: str | None = None, thinks: bool = True) -> str:
        turns = [{**turn, "content": self._quotes.quoted(turn["content"])} for turn in chat]
        text = self.template.render(turns, answer, thinks)
        roles = tuple(turn["role"] for turn in chat)
        if self._quotes.written(text) != self._template_writes(roles, answer is not None, thinks):
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
                del ids[-1]  # some tokenizers end every text with EOS, and nothing follows that
        return found

    def _suspicious(self, marked: str, ids: list[int]) -> bool:
        """Whether a control token may come from a turn: one is quoted there, or there are more than the template's own."""
        written = len(self._quotes.written(marked)) if self.has_template else self._tokenizer.num_special_tokens_to_add()
        return self._quotes.in_use(marked) or sum(map(self._control_ids.__contains__, ids)) > written

    def encode(self, chats: Sequence[Messages], choices: Allowed | None) -> list[Encoded]:
        """Prompts with a `TokenPrompt` each; with `choices` they end after the model's thinking, if it has any.

        Raises `UserError` if two choices have the same tokens, and if the template loses a turn.
        """
        if not chats:
            return []
        for roles in {tuple(turn["role"] for turn in chat): None for chat in chats}:
            self.template.check(roles)
        if choices is None:
            prompts = self.tokens([self.marked(chat, thinks=self._thinks) for chat in chats])
            return [Encoded(len(ids) + self.thought, TokenPrompt(ids, None)) for ids in prompts]
        if self.thought:
            raise UserError(
                "With thinking only free answers are possible: scores and constrained answers follow a closed block of it.",
                "Use --decoding free, or leave `thinking` out.",
            )
        texts = [self.marked(chat, thinks=False) for chat in chats]
        before, closing = self._around_answers(chats[0], texts[0])
        if before.strip():
            # An empty block of thinking, say, or the name of a channel: part of the prompt, its probability doesn't matter.
            texts, before = [text + before for text in texts], ""
        if isinstance(choices, ListOf):
            begun = [text + before for text in texts]
            lists = [self._list_prompt(text, ids, choices) for text, ids in zip(begun, self.tokens(begun), strict=True)]
            return [Encoded(len(prompt.ids), prompt) for prompt in lists]
        answers = tuple(before + self._quotes.quoted(choice) for choice in choices)
        encoded = []
        for text, ids in zip(texts, self.tokens(texts), strict=True):
            kept, tails = self._split(text, ids, answers)
            tree = self._tree(tails, closing, choices)
            encoded.append(Encoded(len(kept) + len(tree), TokenPrompt(kept, tree)))
        return encoded

    def answered(self, chats: Sequence[Messages], answers: Sequence[str]) -> list[tuple[list[int], int]]:
        """The ids of each chat with its answer and the token that ends it, and where the answer begins: the same tokens as
        those by which `encode` scores the answer among choices."""
        if not chats:
            return []
        for roles in {tuple(turn["role"] for turn in chat): None for chat in chats}:
            self.template.check(roles)
        texts = [self.marked(chat, thinks=False) for chat in chats]
        before, closing = self._around_answers(chats[0], texts[0])
        if before.strip():
            texts, before = [text + before for text in texts], ""
        rows = []
        for text, ids, answer in zip(texts, self.tokens(texts), answers, strict=True):
            kept, (tail,) = self._split(text, ids, (before + self._quotes.quoted(answer),))
            rows.append(([*kept, *tail, closing], len(kept)))
        return rows

    def _list_prompt(self, text: str, ids: list[int], lists: ListOf) -> ListPrompt:
        longest = sorted(lists.names, key=lambda name: len(name.encode()), reverse=True)[: lists.most]
        parted = (lists.text(()), lists.text(longest))
        kept, tails = self._split(text, ids, tuple(map(self._quotes.quoted, parted)))
        return ListPrompt(kept, text, ids, max(map(len, tails)) + len(lists.names))

    def list_walk(self, prompt: ListPrompt, lists: ListOf) -> ListWalk:
        """The walk to an answer. Raises `UserError` where the tokenizer does not tell lists apart."""
        return ListWalk(partial(self._paths_after, prompt, lists))

    def _paths_after(self, prompt: ListPrompt, lists: ListOf, chosen: tuple[str, ...]) -> Paths:
        """Tokens as the tokenizer itself cuts a whole list. A name with a comma ends where a list that goes on and one that
        breaks off there part, so that it holds nothing of the next name."""
        left = [name for name in lists.names if name not in chosen]
        outcomes = [((*chosen, name), True) for name in left] + ([((), True)] if not chosen else [])
        go_on = left if len(left) > 1 and len(chosen) + 1 < lists.most else []
        longer = [lists.text((*chosen, name, left[0] if name != left[0] else left[1])) for name in go_on]
        commas = [lists.text((*chosen, name))[:-1] + "," for name in go_on]
        texts = [*(lists.text(names) for names, _ in outcomes), *longer, *commas]
        kept, tails = self._split(prompt.text, prompt.text_ids, tuple(map(self._quotes.quoted, texts)))
        whole = [tuple([*kept, *tail][len(prompt.ids) :]) for tail in tails]
        paths = dict(zip(whole, outcomes, strict=False))
        for place, name in enumerate(go_on, start=len(outcomes)):
            path = common_prefix([list(whole[place]), list(whole[place + len(go_on)])])
            paths[tuple(path)] = ((*chosen, name), False)
        if len(paths) < len(outcomes) + len(go_on):
            raise UserError("This model's tokenizer gives two labels the same tokens.", "Use the decoding `free`.")
        return paths

    def _around_answers(self, chat: Messages, prompt: str) -> tuple[str, int]:
        """What the template puts before an answer, and the token that ends it: the same for all chats, whatever the user's
        turn says."""
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
        # A tokenizer treats the text between two special tokens by itself: the last such stretch is enough, and it is the
        # same for all rows of most templates.
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
            # "1" begins "10": a closing token tells them apart. Then every choice gets it, so that all are scored alike.
            begins = any(a != b and b[: len(a)] == a for a in tails for b in tails)
            self._trees[tails] = ChoiceTree([(*tail, closing) for tail in tails] if begins else tails)
        return self._trees[tails]

    def after_thinking(self, new: list[int], ends: Sequence[int]) -> list[int] | None:
        """What a model wrote within the limit of its thinking, up to where its answer begins or goes on: thinking without an
        end is closed. None where there is nothing to go on from: the answer has ended, or the model does not think."""
        if any(token in ends for token in new):
            return None
        written = self._tokenizer.decode(new, skip_special_tokens=False)
        begun = left_open((self.template.opening or "") + written)
        if begun is not None:
            closing: list[int] = self._tokenizer(closing_of(begun), add_special_tokens=False)["input_ids"]
            return new + closing
        return new if self._thinking_marks.search(written) else None

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
        if self._thinks and self.template.opening is not None and not text.lstrip().startswith("<think>"):
            text = f"<think>{text}"
        return Generation(text, end is not None, len(prompt), len(new) if end is None else end + 1)


def end_tokens(source: Path, tokenizer: Any) -> list[int]:
    """The tokens that end an answer, from the checkpoint's generation settings or else its tokenizer. Raises `UserError`
    where these settings hold something else."""
    from transformers import GenerationConfig

    try:
        ends = GenerationConfig.from_pretrained(source, local_files_only=True).eos_token_id
    except OSError:  # it has none
        ends = GenerationConfig.from_model_config(read_config(source)).eos_token_id
    found = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(end) is int and end >= 0 for end in found):
        raise UserError(f"{source}: its settings name {ends!r} as eos_token_id, which is not the id of a token.", DAMAGED)
    return found or [tokenizer.eos_token_id]


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list of tokens that all sequences start with."""
    # The smallest and the largest in lexical order bound what all others share.
    low, high = min(sequences), max(sequences)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    return low[:shared]


class TokenModelOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: DType = Field("auto", description="of the weights; with nf4, of the computation")
    # These two are part of a run's identity by `facts`, and only where they were asked for.
    chat_template: str | None = Field(None, exclude=True, description="which one, of a checkpoint with several")
    thinking: Thinking | None = later_option(
        None,
        description="before free answers: `off`, `on`, or at most so many tokens, after which it is closed; default: as the "
        "chat template has it",
    )
    template_arguments: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(
        {}, exclude=True, description="what the chat template is told beside the turns: `{enable_thinking: false}`"
    )


class TokenModel(LanguageModel):
    """A decoder-only model that takes and returns token ids: those of the checkpoint's own tokenizer and template."""

    options: TokenModelOptions
    score_tokens = 0  # generated to score a row
    _context: int
    """Tokens of prompt and answer that the model can read."""

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert isinstance(model, Path)
        super().__init__(options, model)
        self._source = model
        self._torch = lazy_torch(self.extra, f"The engine {type(self).__module__.rpartition('.')[2]}")
        device: Device = getattr(self.options, "device", "auto")
        self._device = resolve_device(device)
        self._dtype = resolve_dtype(self._device, self.options.dtype)

    def facts(self) -> dict[str, str]:
        template = template_facts(self._source, self.options.chat_template, self.options.template_arguments)
        return {"device": self._device, "dtype": self._dtype, **template}

    def _read_tokenizer(self) -> None:
        self._tokenizer = read_tokenizer(self._source, "eos_token")
        options = self.options
        self._chat = ChatEncoder(self._tokenizer, options.chat_template, options.template_arguments, options.thinking)
        self._ends = end_tokens(self._source, self._tokenizer)

    def context(self) -> int | None:
        return None if self._context == sys.maxsize else self._context

    def rendered(self, chat: Messages) -> str | None:
        return self._chat.render(chat)

    def encode(self, chats: Sequence[Messages], choices: Allowed | None) -> list[Encoded]:
        return self._chat.encode(chats, choices)

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Allowed | None) -> list[Generation]:
        return self.launch_generate(prompts, max_new_tokens, choices)()

    def launch_generate(
        self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Allowed | None
    ) -> Pending[list[Generation]]:
        if isinstance(choices, ListOf):
            return self._launch_lists(prompts, choices)
        answers = [Generation("", False, len(prompt.content.ids), 0, error="prompt_too_long") for prompt in prompts]
        if choices is not None:
            rows = self._fitting(prompts)
            chosen = self._choose([prompts[i].content for i in rows])

            def with_choices() -> list[Generation]:
                for i, choice in zip(rows, chosen(), strict=True):
                    ids, tree = prompts[i].content.ids, prompts[i].content.tree
                    answers[i] = Generation(choices[choice], True, len(ids), len(tree.choices[choice]))
                return answers

            return with_choices
        rows = [i for i, prompt in enumerate(prompts) if prompt.tokens + max_new_tokens <= self._context]
        written = self._written([prompts[i].content.ids for i in rows], max_new_tokens)

        def with_texts() -> list[Generation]:
            for i, new in zip(rows, written(), strict=True):
                answers[i] = self._chat.generation(prompts[i].content.ids, new, self._ends)
            return answers

        return with_texts

    def _launch_lists(self, prompts: Sequence[Encoded], lists: ListOf) -> Pending[list[Generation]]:
        answers = [Generation("", False, len(prompt.content.ids), 0, error="prompt_too_long") for prompt in prompts]
        rows = [i for i, prompt in enumerate(prompts) if prompt.tokens + prompt.content.room <= self._context]
        walks = [self._chat.list_walk(prompts[i].content, lists) for i in rows]
        walked = self._walk([prompts[i].content for i in rows], walks)

        def with_lists() -> list[Generation]:
            walked()
            for i, walk in zip(rows, walks, strict=True):
                answers[i] = Generation(lists.text(walk.names), walk.done, prompts[i].tokens, len(walk.tokens))
            return answers

        return with_lists

    def _written(self, prompts: list[list[int]], max_new_tokens: int) -> Pending[list[list[int]]]:
        """The new tokens of each answer. Thinking has a limit of its own, so that a model that thinks long still answers."""
        if not self._chat.thought:
            return self._write(prompts, max_new_tokens)
        thought = self._write(prompts, self._chat.thought)()
        begun = [self._chat.after_thinking(new, self._ends) for new in thought]
        open_ = [i for i, tokens in enumerate(begun) if tokens is not None]
        answers = self._write([prompts[i] + (begun[i] or []) for i in open_], max_new_tokens)() if open_ else []
        for i, answer in zip(open_, answers, strict=True):
            thought[i] = (begun[i] or []) + answer
        return at_once(thought)

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        return self.launch_score(prompts, choices)()

    def launch_score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> Pending[list[Scores]]:
        scores = [Scores(None, len(prompt.content.ids), error="prompt_too_long") for prompt in prompts]
        rows = self._fitting(prompts)
        edges = self._edges([prompts[i].content for i in rows])

        def with_scores() -> list[Scores]:
            for i, values in zip(rows, edges(), strict=True):
                scores[i] = Scores(prompts[i].content.tree.log_p(values), len(prompts[i].content.ids), self.score_tokens)
            return scores

        return with_scores

    def _fitting(self, prompts: Sequence[Encoded]) -> list[int]:
        """The rows whose prompt and longest choice fit into the context."""
        return [i for i, p in enumerate(prompts) if len(p.content.ids) + p.content.tree.longest <= self._context]

    def _choose(self, prompts: Sequence[TokenPrompt]) -> Pending[list[int]]:
        """The constrained greedy answer of each prompt, as an index into its choices."""
        edges = self._edges(prompts)
        return lambda: [p.tree.greedy(values) for p, values in zip(prompts, edges(), strict=True) if p.tree is not None]

    @abstractmethod
    def _write(self, prompts: list[list[int]], max_new_tokens: int) -> Pending[list[list[int]]]:
        """The new tokens of each greedy answer, perhaps with tokens after its end."""

    @abstractmethod
    def _walk(self, prompts: Sequence[ListPrompt], walks: Sequence[ListWalk]) -> Pending[Any]:
        """Go each walk to its end, always with the likeliest token of those that may follow."""

    @abstractmethod
    def _edges(self, prompts: Sequence[TokenPrompt]) -> Pending[list[FloatArray]]:
        """log p of every edge of each prompt's tree, shape (edges,)."""

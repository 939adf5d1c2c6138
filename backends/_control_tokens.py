"""Control tokens that are spelled out in a text must reach the model as characters, not as the tokens.

A tokenizer searches every text for its added tokens, and some vocabularies hold them besides (a Unigram model prefers `</s>`
to `<`, `/s`, `>`). Added tokens that are ordinary words stay tokens.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

# An added token that is not marked as special is a control token too if it looks like markup: <think>, [INST].
_MARKUP = re.compile(r"(?:<.*\w.*>|\[.*\w.*\]|\{.*\w.*\}|\|.*\w.*\|)", re.DOTALL)
# Except for HTML, which some vocabularies have tokens for because it is frequent in texts (Gemma).
_HTML = re.compile(
    r"</?(?:a|b|big|blockquote|br|caption|center|code|dd|div|dl|dt|em|font|h[1-6]|hr|i|img|li|ol|p|pre|s|small|span|strike|strong"
    r"|sub|sup|table|tbody|td|tfoot|th|thead|tr|tt|u|ul) ?/?>",
    re.IGNORECASE,
)


def control_tokens(tokenizer: Any) -> dict[str, Any]:
    """The control tokens, longest first: text -> `AddedToken`."""
    from tokenizers import AddedToken

    special = {str(token): AddedToken(str(token), special=True, normalized=False) for token in tokenizer.all_special_tokens}
    added = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    found = special | {text: token for text, token in added.items() if token.special or text in special or _is_markup(text)}
    return {text: found[text] for text in sorted(found, key=len, reverse=True) if text.strip()}


def _is_markup(text: str) -> bool:
    return bool(_MARKUP.fullmatch(text)) and not _HTML.fullmatch(text)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any of `texts`, the first one first."""
    return re.compile("|".join(map(re.escape, texts)) or r"(?!)")


def read_as_text(tokenizer: Any) -> None:
    """Change `tokenizer` so that no text can yield a control token; those that it adds itself stay."""
    control = control_tokens(tokenizer)
    if tokenizer.is_fast:
        tokenizer.split_special_tokens = True
        disarm(tokenizer.backend_tokenizer, control)
        return
    # A tokenizer written in Python: the tokens are broken up in the text.
    pattern, prepare = any_of(control), tokenizer.prepare_for_tokenization
    tokenizer.prepare_for_tokenization = lambda text, **kwargs: prepare(pattern.sub(broken, text), **kwargs)


def broken(match: re.Match[str]) -> str:
    return f"{match[0][0]} {match[0][1:]}" if len(match[0]) > 1 else "\ufffd"


class Quotes:
    """Marks the control tokens of texts, to distinguish them from those that a template writes.

    A quoted token is a number after a random word.
    """

    def __init__(self, control: Iterable[str]) -> None:
        self._control = list(control)
        self._pattern = any_of(self._control)
        self._word = secrets.token_hex(8)
        self._quoted = re.compile(f"{self._word}([0-9]*);")
        self._number = {token: str(number) for number, token in enumerate(self._control)}

    def quoted(self, text: str) -> str:
        return self._pattern.sub(lambda match: f"{self._word}{self._number[match[0]]};", text)

    def fenced(self, text: str) -> str:
        """Quoted, and separated from what a template writes right before and after it: the other half of a token, say."""
        core = text.strip()  # templates strip too
        before, _, after = text.partition(core) if core else ("", "", text)
        return f"{before}{self._word};{self.quoted(core)}{self._word};{after}"

    def undone(self, text: str) -> str:
        return self._quoted.sub(lambda match: self._control[int(match[1])] if match[1] else "", text)

    def broken(self, text: str) -> str:
        """Undone, with each token broken up."""
        return self._quoted.sub(
            lambda match: self._pattern.sub(broken, self._control[int(match[1])]) if match[1] else " ", text
        )

    def in_use(self, text: str) -> bool:
        return self._word in text

    def written(self, text: str) -> list[str]:
        """The control tokens that are not quoted."""
        return self._pattern.findall(text)

    def replaced(self, text: str, others: Mapping[str, str]) -> str:
        """`text` with `others` in place of control tokens that are not quoted, and nothing quoted any more."""
        return self.undone(self._pattern.sub(lambda match: others[match[0]], text))


class DisarmedTokenizer:
    """Encodes marked prompts: a control token is one only where it is not quoted."""

    def __init__(self, tokenizer: Any, control: Mapping[str, Any]) -> None:
        from tokenizers import AddedToken, Tokenizer

        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        disarm(self._backend, control)
        # Random names for the tokens, which no text contains.
        self._names = {token: secrets.token_hex(8) for token in control}
        named = [(self._names[text], token) for text, token in control.items()]
        self._backend.add_tokens([AddedToken(n, lstrip=t.lstrip, rstrip=t.rstrip, normalized=False) for n, t in named])
        real = tokenizer.convert_tokens_to_ids
        self._ids = {self._backend.token_to_id(name): real(text) for text, name in self._names.items()}

    def ids(self, quotes: Quotes, marked: str, add_special_tokens: bool) -> list[int]:
        text = quotes.replaced(marked, self._names)
        ids = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return [self._ids.get(token, token) for token in ids]


def disarm(backend: Any, control: Mapping[str, Any]) -> None:
    """Make a `tokenizers.Tokenizer` find no token of `control` in a text; other texts keep their ids."""
    from tokenizers import AddedToken, Regex
    from tokenizers.pre_tokenizers import Sequence, Split

    # `encode_special_tokens` skips only tokens that are marked as special.
    kept = ("single_word", "lstrip", "rstrip", "normalized")
    plain = {text: token for text, token in control.items() if not token.special}
    backend.add_special_tokens(
        [AddedToken(text, special=True, **{name: getattr(token, name) for name in kept}) for text, token in plain.items()]
    )
    backend.encode_special_tokens = True
    # The model itself must not compose one: its first character becomes a piece of its own.
    before = backend.pre_tokenizer
    whole = [
        text
        for text in control
        if len(text) > 1
        and backend.model.token_to_id(text) is not None
        and any(text in piece for piece, _ in (before.pre_tokenize_str(text) if before else [(text, None)]))
    ]
    if whole:
        starts = "|".join(f"{_escaped(text[0])}(?={_escaped(text[1:])})" for text in whole)
        split = Split(Regex(starts), "isolated")
        backend.pre_tokenizer = split if before is None else Sequence([before, split])


def _escaped(text: str) -> str:
    """For the regular expressions of `tokenizers`."""
    return "".join(
        character if character.isalnum() or not character.isascii() else f"\\x{ord(character):02x}" for character in text
    )

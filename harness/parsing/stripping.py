"""Take away what stands around an answer and is no part of it: thinking, control tokens, code fences, the next example."""

from __future__ import annotations

import re

from harness.parsing import answer_words as words

_NAMES = (
    "think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|deliberation|cot|chain_of_thought|"
    "thought_process|inner_monologue|inner_thoughts|antthinking|reasoning_content|seed:think"
)
_THINKING = re.compile(
    rf"(?P<open><(?:{_NAMES})(?:\s[^<>]{{0,80}})?>|\[think(?:ing)?\]|◁think(?:ing)?▷|<[|｜](?:{_NAMES})[|｜]>"
    r"|<\|start_thinking\|>|<\|begin_of_thought\|>|<\|thought_start\|>|<\|channel>thought\b|<\|begin_of_thinking\|>)"
    rf"|(?P<close></(?:{_NAMES})>|\[/think(?:ing)?\]|◁/think(?:ing)?▷|<[|｜]/(?:{_NAMES})[|｜]>"
    r"|<\|end_thinking\|>|<\|end_of_thought\|>|<\|thought_end\|>|<channel\|>|<\|end_of_thinking\|>)",
    re.IGNORECASE,
)
"""Opening and closing tags of thinking: DeepSeek, Qwen, GLM, Claude (`<think>` and its variants), Magistral (`[THINK]`), Kimi
(`◁think▷`), Seed (`<seed:think>`), Command A (`<|START_THINKING|>`), OpenThinker (`<|begin_of_thought|>`), Gemma."""

# gpt-oss ("harmony"): messages in channels; without its control tokens the names of channel and role stay behind.
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]{0,40}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>")
_CHANNEL = re.compile(r"<\|channel\|>")
_BARE_CHANNEL = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'(\d\s])")
_BARE_FINAL = "assistantfinal"

# Ollama prints this around thinking
_OLLAMA = re.compile(r"\s*Thinking\.\.\.\n")
_OLLAMA_END = re.compile(r"^\s*\.\.\.done thinking\.\s*$", re.MULTILINE)

_TURN = re.compile(
    r"\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<[|｜]begin▁of▁sentence[|｜]>"
    r"|(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<\|turn>|<\|start_of_role\|>)\s*(?:assistant|model|ai)\b"
    r"(?:<\|end_header_id\|>|<\|end_of_role\|>|<\|message\|>)?"
    r"|<[|｜]assistant[|｜]>|\[/INST\]|<\|START_RESPONSE\|>|<\|begin_of_solution\|>|<\|START_OF_TURN_TOKEN\|><\|CHATBOT_TOKEN\|>)",
    re.IGNORECASE,
)
_END = re.compile(
    r"<\|(?:im_end|im_start|eot_id|eom_id|end|end_of_text|endoftext|return|call|start_header_id|start|user|system|end_of_role"
    r"|start_of_role|end_of_turn_token|start_of_turn_token|end_response|end_of_solution|eos|pad|endofprompt|end_of_turn)\|>"
    r"|<[｜|](?:end▁of▁sentence|User|end_of_sentence)[｜|]>|</s>|<s>|<eos>|<pad>|<end_of_turn>|<start_of_turn>|<turn\|>|<\|turn>"
    r"|\[/?INST\]|\[e~\[|<end_of_utterance>|<\|observation\|>",
    re.IGNORECASE,
)

_END_FIRST = re.compile(rf"\s*(?:{_END.pattern})", re.IGNORECASE)

_FENCE = re.compile(r"(?:```|~~~)(?:(?:jsonc?|json5|text|txt|plaintext|markdown|md|yaml|python|latex)\b)?", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([_*#])")
_BOXED = re.compile(r"\\boxed\s?\{((?:[^{}\n]|\{[^{}\n]{0,80}\}){0,80})\}")
_LATEX = re.compile(r"\\(?:text|textbf|textit|texttt|mathrm|mathbf|mathit|emph)\s?\{([^{}\n]{0,80})\}")
_TAGGED = re.compile(
    r"</?(?:final_?)?(?:answer|label|output|response|result|sentiment|category|class|score|rating|solution|prediction)>",
    re.IGNORECASE,
)
_MATH = re.compile(r"(?<![\w$\\])\$\$?([^\s$]{1,40})\$\$?(?![\w$])|\\[(\[]\s?([^\\\n]{1,40}?)\s?\\[)\]]")

_INPUTS = "|".join(words.INPUTS)
_NEXT = re.compile(
    rf"^[ \t>*_-]*(?:(?:{_INPUTS})[ \t]?[#№]?[ \t]?\d{{0,4}}[*_\"]*[ \t]?[:：]"
    rf"|\#{{1,6}}[ \t]*(?:{_INPUTS})[ \t]?\d{{0,4}}[ \t]*[:：]?[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that begins another example: "Review: ...", "### Input"."""


def without_thinking(text: str) -> str | None:
    """`text` without its thinking; None where one was opened and never closed.

    A closing tag without an opening one ends thinking that the chat template opened in the prompt.
    """
    if _CHANNEL.search(text):
        final = list(_FINAL.finditer(text))
        return text[final[-1].end() :] if final else None
    if _BARE_CHANNEL.match(text) and _BARE_FINAL in text:
        return text.rpartition(_BARE_FINAL)[2]
    if _OLLAMA.match(text):
        parts = _OLLAMA_END.split(text, maxsplit=1)
        return parts[1] if len(parts) > 1 else None
    kept: list[str] = []
    depth, position = 0, 0
    for tag in _THINKING.finditer(text):
        if tag["open"] is not None:
            if depth == 0:
                kept.append(text[position : tag.start()])
            depth += 1
        elif depth == 0:
            kept = []
        else:
            depth -= 1
        position = tag.end()
    return None if depth else "\n".join([*kept, text[position:]])


def without_control_tokens(text: str) -> str:
    """`text` without the tokens that open the model's turn, up to the first that ends it: `3<|im_end|>` is `3`.

    The channels of harmony are left as they are: `without_thinking` reads them.
    """
    if _CHANNEL.search(text):
        return text
    start = 0
    while token := _TURN.match(text, start) or _END_FIRST.match(text, start):
        start = token.end()
    end = _END.search(text, start)
    return text[start:] if end is None else text[start : end.start()]


def without_markup(text: str) -> str:
    r"""`text` with code fences as line breaks, `$...$` and `\text{...}` as what they hold, and `<answer>...</answer>` and
    `\boxed{...}` as an announced answer on a line of its own."""
    text = _ESCAPED.sub(r"\1", _FENCE.sub("\n", text))
    text = _BOXED.sub(r"<answer>\1</answer>", text)
    text = _TAGGED.sub(lambda tag: "\n" if tag[0][1] == "/" else "\nAnswer: ", text)
    return _MATH.sub(lambda found: found[1] or found[2] or "", _LATEX.sub(r"\1", text))


def before_next_example(text: str) -> str | None:
    """What precedes the first line that begins another example; None where no line does, or nothing precedes it."""
    following = next((found for found in _NEXT.finditer(text) if text[: found.start()].strip()), None)
    return None if following is None else text[: following.start()]

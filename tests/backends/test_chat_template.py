"""Chat templates that checkpoints come with: which one, in what form it takes turns, on what day, and thinking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHATML, byte_level_tokenizer, write_mistral

from backends._chat import THINKING, ChatEncoder, ChatTemplate, template_facts
from backends.causal_lm import CausalLM, CausalLMOptions
from harness.core.engine import Messages, Pending, at_once
from harness.core.errors import UnknownName, UserError
from harness.core.types import LabelKind, LabelSpace
from harness.parsing.parsers import make_parser
from harness.specs.parser_spec import ParserSpec

USER = {"role": "user", "content": "Review: the kettle works"}
SYSTEM = {"role": "system", "content": "Rate it."}
SHOT: Messages = [{"role": "user", "content": "Review: bad lid"}, {"role": "assistant", "content": "1"}]
TURN = "{{ turn['content'] }}"
IN_PARTS = CHATML.replace(TURN, "{% for part in turn['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}")


def chatml(change: tuple[str, str] | None = None, before: str = "") -> Any:
    return byte_level_tokenizer(before + (CHATML.replace(*change) if change else CHATML))


@pytest.mark.parametrize("how", ["[0]['text']", "[-1].text"])
def test_turns_as_lists_of_parts(how: str) -> None:
    for template in (IN_PARTS, CHATML.replace(TURN, f"{{{{ turn['content']{how} }}}}")):
        chat = ChatEncoder(byte_level_tokenizer(template))
        assert chat.render([SYSTEM, *SHOT, USER]) == ChatEncoder(chatml()).render([SYSTEM, *SHOT, USER])


def test_a_text_in_quotes_is_the_text() -> None:
    chat = ChatEncoder(chatml((TURN, f"'{TURN}'")))
    assert "'Review: the kettle works'" in chat.render([USER])


def test_only_the_users_turn_as_a_list_of_parts() -> None:
    mixed = (
        f"{{% if turn['role'] == 'user' %}}{{{{ turn['content'][0]['text'] }}}}{{% else %}}{TURN[:-3]} | trim }}}}{{% endif %}}"
    )
    chat = ChatEncoder(chatml((TURN, mixed)))
    assert chat.render([SYSTEM, *SHOT, USER]) == ChatEncoder(chatml()).render([SYSTEM, *SHOT, USER])


@pytest.mark.parametrize(
    ("turn", "verb"),
    [
        ("", "drops"),
        ("{{ turn['text'] }}", "drops"),
        ("{{ turn['content'] | upper }}", "cuts or changes"),
        ("{{ turn['content'][:100] }}", "cuts or changes"),
        ("{{ turn['content'] | replace('word1', 'w') }}", "cuts or changes"),
    ],
)
def test_a_template_that_loses_the_text_is_refused(turn: str, verb: str) -> None:
    tokenizer = chatml((TURN, turn))
    tokenizer.name_or_path = "org/lossy"
    with pytest.raises(UserError, match=f"The chat template of org/lossy {verb} the text of the user's turn") as caught:
        ChatEncoder(tokenizer)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "lossy",
    [
        ("{% for turn in messages %}", "{% for turn in messages[-1:] %}"),
        ("{% for turn in messages %}", "{% for turn in messages if turn['role'] == 'user' %}"),
        (TURN, "{% if turn['role'] == 'user' %}{{ turn['content'] }}{% else %}{{ turn['content'] | upper }}{% endif %}"),
    ],
)
def test_a_template_that_loses_few_shot_examples_is_refused_where_there_are_some(lossy: tuple[str, str]) -> None:
    chat = ChatEncoder(chatml(lossy))
    assert chat.encode([[USER]], None)
    with pytest.raises(UserError, match=r"the text of the (user|assistant)'s turn") as caught:
        chat.encode([[*SHOT, USER]], None)
    assert "shots: 0" in caught.value.hint


@pytest.mark.parametrize("shots", [1, 4])
def test_a_template_that_forgets_the_older_turns(shots: int) -> None:
    chat = ChatEncoder(chatml(("{% for turn in messages %}", "{% for turn in messages[-4:] %}")))
    chats = [[*SHOT * shots, USER]]
    if shots == 1:
        assert chat.encode(chats, ["0", "1"])
    else:
        with pytest.raises(UserError, match="drops the text of the user's turn"):
            chat.encode(chats, ["0", "1"])


def test_a_template_that_takes_one_turn_only() -> None:
    chat = ChatEncoder(chatml(before="{% if messages | length > 1 %}{{ raise_exception('One turn only.') }}{% endif %}"))
    assert not chat.template.system_role
    assert "Rate it.\n\nReview" in chat.render([SYSTEM, USER])
    with pytest.raises(UserError, match=r"can't be applied: One turn only\."):
        chat.encode([[*SHOT, USER]], None)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('No.') }}",
        "{% for turn in messages %}{{ turn['content'] }}",
        "{{ documents[0]['text'] }}{{ messages[0]['content'] }}",
        "{% for tool in tools %}{{ tool }}{% endfor %}{{ messages[0]['content'] }}",
        "{{ 1 // 0 }}",
        "{{ messages[0]['content'].format_map() }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for a in range(1000000) %}{% endfor %}",
        "{{ nothing.at.all }}",
    ],
)
def test_a_template_that_fails_is_a_users_error(template: str) -> None:
    tokenizer = byte_level_tokenizer(template)
    tokenizer.name_or_path = "org/odd"
    with pytest.raises(UserError, match=r"The chat template of org/odd can't be applied: \S"):
        ChatEncoder(tokenizer)


def test_a_template_that_takes_no_answer_at_the_end() -> None:
    refuses = "{% if messages[-1]['role'] == 'assistant' %}{{ raise_exception('No answer here.') }}{% endif %}"
    for template in (chatml(before=refuses), chatml((TURN, "{{ turn['content'] if loop.index0 % 2 == 0 else '-' }}"))):
        prompt = ChatEncoder(template).encode([[USER]], ["1", "10"])[0].content
        assert [list(tokens)[-1] for tokens in prompt.tree.choices] == [template.eos_token_id] * 2


# Several templates


def named(**templates: str) -> Any:
    tokenizer = byte_level_tokenizer(CHATML)
    tokenizer.chat_template = templates
    return tokenizer


def test_the_default_of_several_templates() -> None:
    tokenizer = named(default=CHATML, rag="{{ documents[0] }}")
    assert ChatEncoder(tokenizer).render([USER]) == ChatEncoder(chatml()).render([USER])


def test_several_templates_and_no_default() -> None:
    with pytest.raises(UserError, match=r"named chat templates and no default: rag, tools\.") as caught:
        ChatEncoder(named(tools=CHATML, rag=CHATML))
    assert "--set chat_template=rag" in caught.value.hint


def test_a_template_by_its_name() -> None:
    tokenizer = named(default="{{ messages[0]['content'] }}", rag=CHATML)
    assert ChatEncoder(tokenizer, "rag").render([USER]) == ChatEncoder(chatml()).render([USER])
    with pytest.raises(UnknownName, match="no chat template named 'rug'"):
        ChatEncoder(tokenizer, "rug")
    with pytest.raises(UserError, match="no named chat templates"):
        ChatEncoder(chatml(), "rag")


def test_a_template_by_its_name_is_another_run(tmp_path: Path) -> None:
    named(default=CHATML, rag=CHATML).save_pretrained(tmp_path)
    assert template_facts(tmp_path, None) == {}
    assert template_facts(tmp_path, "rag") == {"chat_template": "rag"}
    assert "chat_template" not in CausalLMOptions(chat_template="rag").model_dump()


# Dates

OF_LLAMA = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}\n"
MACRO = "{% macro today() %}{{ strftime_now('%Y-%m-%d') }}{% endmacro %}{{ today() }}\n"


@pytest.mark.parametrize(
    ("dated", "shown"),
    [("Today is {{ strftime_now('%d %b %Y') }}.\n", "26 Jul 2024"), (OF_LLAMA, "26 Jul 2024"), (MACRO, "2024-07-26")],
)
def test_a_dated_template_has_one_date(dated: str, shown: str, tmp_path: Path) -> None:
    tokenizer = chatml(before=dated)
    assert shown in ChatEncoder(tokenizer).render([USER])
    tokenizer.save_pretrained(tmp_path)
    assert template_facts(tmp_path, None) == {"template_date": "2024-07-26"}


def test_what_is_known_of_a_plain_template(tmp_path: Path) -> None:
    for number, template in enumerate((CHATML, None)):
        byte_level_tokenizer(template).save_pretrained(tmp_path / str(number))
        assert template_facts(tmp_path / str(number), None) == {}
    byte_level_tokenizer(IN_PARTS).save_pretrained(tmp_path / "parts")
    assert template_facts(tmp_path / "parts", None) == {"content": "parts"}
    assert template_facts(tmp_path / "missing", None) == {}  # `load` says what is wrong


def test_added_words_make_another_run(tmp_path: Path) -> None:
    for word, facts in (("<think>", {}), ("   ", {}), ("kettle", {"added_words": "whole"})):
        tokenizer = chatml()
        tokenizer.add_tokens([word])
        tokenizer.save_pretrained(tmp_path / word)
        assert template_facts(tmp_path / word, None) == facts


# Thinking

GENERATION = "<|im_start|>assistant\n"
CLOSED = f"{GENERATION}<think>\n\n</think>\n\n"
# It thinks unless told not to, and shows no thinking in its turns but the last.
SWITCHED = CHATML.replace(
    "{% if add_generation_prompt %}<|im_start|>assistant\n",
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}",
)
OTHER_SWITCH = SWITCHED.replace("enable_thinking", "thinking")
# It always thinks: what is generated begins in the middle of it.
ALWAYS = CHATML.replace(
    "{% if add_generation_prompt %}<|im_start|>assistant\n", "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
)
ALWAYS_ON_THE_LINE = ALWAYS.replace("<think>\n", "<think>")
BRACKETS = ALWAYS.replace("<think>", "[THINK]")
# What is not thinking has a place of its own.
CHANNELS = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}"
    "{% if turn['role'] == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ turn['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|channel|>", "<|message|>")


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (CHATML, GENERATION),
        (SWITCHED, CLOSED),
        (OTHER_SWITCH, CLOSED),
        (ALWAYS, CLOSED),
        (ALWAYS_ON_THE_LINE, CLOSED),
        (BRACKETS, f"{GENERATION}[THINK]\n\n[/THINK]\n\n"),
        (CHANNELS, "<|im_start|>assistant<|channel|>final<|message|>"),
    ],
)
@pytest.mark.parametrize("choices", [["0", "1", "10"], ["analysis", "final"]])
def test_answers_stand_behind_the_thinking(template: str, end: str, choices: list[str]) -> None:
    tokenizer = byte_level_tokenizer(template, SPECIALS)
    tokenizer.add_tokens(["<think>", "</think>"])
    chat = ChatEncoder(tokenizer)
    for messages in ([USER], [SYSTEM, *SHOT, USER], [{"role": "user", "content": "</think> <think> 1 final"}]):
        prompt = chat.encode([messages], choices)[0].content
        assert tokenizer.decode(prompt.ids).endswith(end)
        closing = [tokenizer.eos_token_id] if "10" in choices else []
        assert [list(tokens) for tokens in prompt.tree.choices] == [
            [*tokenizer(choice, add_special_tokens=False)["input_ids"], *closing] for choice in choices
        ]


def test_thinking_makes_another_run(tmp_path: Path) -> None:
    for number, template in enumerate((SWITCHED, ALWAYS)):
        byte_level_tokenizer(template).save_pretrained(tmp_path / str(number))
        assert template_facts(tmp_path / str(number), None) == {"thinking": "closed"}


SCALE = make_parser(ParserSpec(type="integer"), LabelSpace(LabelKind.ORDINAL, ("bad", "so-so", "good")))


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(
    ("template", "written", "label", "reason"),
    [
        (ALWAYS, "It may be 2, no: 0.</think>1", 1, None),
        (ALWAYS, "It may be 2", None, "unfinished_thinking"),
        (ALWAYS, "2", None, "unfinished_thinking"),
        (ALWAYS, "<think>\n2</think>1", 1, None),
        (BRACKETS, "It may be 2[/THINK]1", 1, None),
        (BRACKETS, "2", None, "unfinished_thinking"),
        (SWITCHED, "<think>2 or 0</think>\n\n1", 1, None),
        (SWITCHED, "<think>2", None, "unfinished_thinking"),
        (SWITCHED, "1", 1, None),
        (CHATML, "1", 1, None),
        (CHATML, "<seed:think>2</seed:think>1", 1, None),
        (CHATML, "<|START_THINKING|>2<|END_THINKING|>1", 1, None),
        (CHATML, "<|START_THINKING|>2", None, "unfinished_thinking"),
        (CHANNELS, "<|channel|>analysis<|message|>2<|im_start|>assistant<|channel|>final<|message|>1", 1, None),
        (CHANNELS, "<|channel|>analysis<|message|>2", None, "unfinished_thinking"),
        (CHANNELS, "<|channel|>final<|message|>1", 1, None),
    ],
)
def test_thinking_is_no_part_of_a_free_answer(
    template: str, written: str, label: int | None, reason: str | None, special: bool
) -> None:
    tokenizer = byte_level_tokenizer(template, SPECIALS)
    marks = [mark for pair in list(THINKING.items())[:-1] for mark in pair]
    tokenizer.add_tokens(marks, special_tokens=special)
    chat = ChatEncoder(tokenizer)
    new = tokenizer(written, add_special_tokens=False)["input_ids"]
    for end in ([], [tokenizer.eos_token_id]):
        answer = chat.generation([0], [*new, *end], [tokenizer.eos_token_id])
        assert answer.new_tokens == len(new) + len(end)
        parsed = SCALE.parse(answer.text)
        assert (parsed.label, parsed.reason) == (label, reason)


def test_an_engine_with_such_a_template(tmp_path: Path) -> None:
    engine = CausalLM(CausalLMOptions(), write_mistral(tmp_path, byte_level_tokenizer(ALWAYS)))
    assert engine.facts()["thinking"] == "closed"
    engine.load()
    free = engine.generate(engine.encode([[USER]], None), 4, None)[0]
    assert SCALE.parse(free.text).reason == "unfinished_thinking"
    assert engine.rendered([USER]) == f"<|im_start|>user\n{USER['content']}<|im_end|>\n{GENERATION}<think>\n"
    (scores,) = engine.score(engine.encode([[USER]], ["0", "1"]), ["0", "1"])
    closed = ALWAYS.replace("<think>\n", CLOSED.removeprefix(GENERATION))
    plain = CausalLM(CausalLMOptions(), write_mistral(tmp_path / "plain", byte_level_tokenizer(closed)))
    plain.load()
    (expected,) = plain.score(plain.encode([[USER]], ["0", "1"]), ["0", "1"])
    assert scores.log_p is not None
    assert expected.log_p is not None
    assert scores.log_p.tolist() == expected.log_p.tolist()


def test_a_template_without_one() -> None:
    template = ChatTemplate(byte_level_tokenizer(None))
    assert template.jinja is None
    assert template.facts() == {}


# Arguments


def test_an_argument_reaches_the_template(tmp_path: Path) -> None:
    tokenizer = chatml(before="{% if style is defined %}{{ style }}: {% endif %}")
    assert ChatEncoder(tokenizer, arguments={"style": "terse"}).render([USER]).startswith("terse: <|im_start|>user")
    tokenizer.save_pretrained(tmp_path)
    assert template_facts(tmp_path, None, {"style": "terse"}) == {"template_arguments": '{"style": "terse"}'}
    assert template_facts(tmp_path, None, {"style": True}) != template_facts(tmp_path, None, {"style": 1})


@pytest.mark.parametrize("template", [SWITCHED, OTHER_SWITCH])
def test_a_model_that_is_told_not_to_think_answers_freely_at_once(template: str, tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer(template)
    name = "enable_thinking" if template == SWITCHED else "thinking"
    chat = ChatEncoder(tokenizer, arguments={name: False})
    assert chat.render([SYSTEM, *SHOT, USER]).endswith(CLOSED)
    assert chat.template.opening is None
    free, scored = (chat.encode([[USER]], choices)[0].content.ids for choices in (None, ["0", "1"]))
    assert free == scored == ChatEncoder(tokenizer).encode([[USER]], ["0", "1"])[0].content.ids
    tokenizer.save_pretrained(tmp_path)
    assert template_facts(tmp_path, None, {name: False}) == {"template_arguments": f'{{"{name}": false}}'}


def test_answers_with_probabilities_follow_no_thinking_whatever_the_arguments_say() -> None:
    chat = ChatEncoder(byte_level_tokenizer(SWITCHED), arguments={"enable_thinking": True})
    assert chat.marked([USER], thinks=False).endswith(CLOSED)
    assert chat.render([USER]).endswith(GENERATION)


@pytest.mark.parametrize("argument", ["enable_thinkin", "messages", "add_generation_prompt", "bos_token", "raise_exception"])
def test_an_argument_that_the_template_does_not_take_is_refused(argument: str) -> None:
    tokenizer = chatml(
        (TURN, f"{{{{ bos_token }}}}{TURN}{{% if enable_thinking or style %}}{{{{ raise_exception('no') }}}}{{% endif %}}")
    )
    tokenizer.name_or_path = "org/chat"
    with pytest.raises(UserError) as caught:
        ChatTemplate(tokenizer, None, {argument: False})
    assert f"org/chat reads no argument {argument!r}" in caught.value.message
    assert "enable_thinking, style. " in caught.value.hint
    assert caught.value.exit_code == 2


def test_arguments_need_a_template_that_takes_some() -> None:
    with pytest.raises(UserError) as caught:
        ChatTemplate(chatml(), None, {"enable_thinking": False})
    assert "It reads none" in caught.value.hint
    with pytest.raises(UserError, match="no chat template"):
        ChatTemplate(byte_level_tokenizer(None), None, {"enable_thinking": False})


def test_what_a_template_sets_itself_is_no_argument_unless_it_asks_for_one() -> None:
    both = "{% if messages %}{% set told = 'a' %}{% else %}{% set told = 'b' %}{% endif %}{{ told }}"
    tokenizer = chatml(before=OF_LLAMA + both + "{% set style = style | default('terse') %}{{ style }}")
    with pytest.raises(UserError) as caught:
        ChatTemplate(tokenizer, None, {"told": "c"})
    assert caught.value.hint.startswith("Those it reads: date_string, style. ")
    assert "1 May" in ChatEncoder(tokenizer, arguments={"date_string": "1 May"}).render([USER])


def test_a_template_with_tags_of_its_own_kind() -> None:
    tagged = chatml((TURN, f"{{% generation %}}{TURN}{{% endgeneration %}}{{% if style %}}!{{% endif %}}"))
    assert "works!<|im_end|>" in ChatEncoder(tagged, arguments={"style": 1}).render([USER])
    with pytest.raises(UserError, match="can't be applied"):
        ChatTemplate(byte_level_tokenizer("{% for %}"), None, {"style": 1})


def test_arguments_are_part_of_a_run_only_where_there_are_some(tmp_path: Path) -> None:
    write_mistral(tmp_path, byte_level_tokenizer(SWITCHED))
    plain, told = (CausalLM(CausalLMOptions(template_arguments=given), tmp_path) for given in ({}, {"enable_thinking": False}))
    assert plain.options.model_dump() == told.options.model_dump()
    assert plain.facts() == {**plain.facts(), "thinking": "closed"}
    assert "template_arguments" not in plain.facts()
    assert told.facts()["template_arguments"] == '{"enable_thinking": false}'
    told.load()
    assert (told.rendered([USER]) or "").endswith(CLOSED)


# Thinking with a limit


class Scripted(CausalLM):
    """Writes what it is told, in the order of the calls: a text for each prompt."""

    def script(self, *calls: list[str]) -> None:
        self.calls, self.seen = list(calls), list[tuple[list[str], int]]()

    def _write(self, prompts: list[list[int]], max_new_tokens: int) -> Pending[list[list[int]]]:
        self.seen.append(([self._tokenizer.decode(prompt) for prompt in prompts], max_new_tokens))
        return at_once([self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in self.calls.pop(0)])


def scripted(folder: Path, template: str, **options: Any) -> Scripted:
    tokenizer = byte_level_tokenizer(template)
    tokenizer.add_tokens(["<think>", "</think>"])
    engine = Scripted(CausalLMOptions(**options), write_mistral(folder, tokenizer, max_position_embeddings=1024))
    engine.load()
    return engine


@pytest.mark.parametrize("template", [SWITCHED, ALWAYS])
def test_thinking_that_is_too_long_is_closed_and_answered(template: str, tmp_path: Path) -> None:
    engine = scripted(tmp_path, template, thinking=9)
    begun = "" if template == ALWAYS else "<think>"
    written = [f"{begun}It may be 2, or", f"{begun}0.</think>\n\n", f"{begun}0.</think>\n\n1<|im_end|>"]
    written += ["2 and no thinking"] if template == SWITCHED else []
    engine.script(written, ["1<|im_end|>", "2<|im_end|>"])
    prompts = engine.encode([[USER]] * len(written), None)
    assert prompts[0].tokens == len(prompts[0].content.ids) + 9
    answers = engine.generate(prompts, 4, None)
    (first, limit), (second, room) = engine.seen
    assert (len(first), limit, room) == (len(prompts), 9, 4)
    assert [text.endswith(tail) for text, tail in zip(second, ("or\n</think>\n\n", "0.</think>\n\n"), strict=True)] == [
        True
    ] * 2
    read = [SCALE.parse(answer.text) for answer in answers[:3]]
    assert [parsed.label for parsed in read] == [1, 2, 1]
    assert [answer.complete for answer in answers] == [True, True, True, False][: len(answers)]
    closing = len(engine._tokenizer("\n</think>\n\n", add_special_tokens=False)["input_ids"])
    cut = len(engine._tokenizer(f"{begun}It may be 2, or", add_special_tokens=False)["input_ids"])
    assert answers[0].new_tokens == cut + closing + 2


def test_thinking_off_closes_the_block_before_a_free_answer(tmp_path: Path) -> None:
    engine = scripted(tmp_path, ALWAYS, thinking="off")
    engine.script(["1<|im_end|>"])
    (answer,) = engine.generate(engine.encode([[USER]], None), 4, None)
    ((prompts, _),) = engine.seen
    assert prompts[0].endswith(CLOSED)
    assert SCALE.parse(answer.text).label == 1
    assert engine.rendered([USER]) == prompts[0]


def test_thinking_on_tells_the_template_so(tmp_path: Path) -> None:
    template = SWITCHED.replace("enable_thinking is defined and not enable_thinking", "not enable_thinking")  # off by default
    engine = scripted(tmp_path, template, thinking="on")
    assert engine.rendered([USER]).endswith(GENERATION)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="closed block"):
        engine.encode([[USER]], ["0", "1"])


def test_thinking_is_refused_where_it_would_change_nothing(tmp_path: Path) -> None:
    for number, thinking in enumerate(("off", "on", 5)):
        with pytest.raises(UserError, match="change nothing"):
            scripted(tmp_path / str(number), CHATML, thinking=thinking)


def test_yaml_reads_off_and_on_as_booleans() -> None:
    assert [CausalLMOptions.model_validate({"thinking": value}).thinking for value in (False, True, 7)] == ["off", "on", 7]
    assert "thinking" not in CausalLMOptions().model_dump()
    for value in (0, "maybe", 1.5):
        with pytest.raises(ValueError, match="thinking"):
            CausalLMOptions.model_validate({"thinking": value})

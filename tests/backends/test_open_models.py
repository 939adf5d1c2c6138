"""The families of open models that have backends: each architecture with a template of the shape that its checkpoints have."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import CHATS, DIGITS, MIXED, generate, loaded, oracle_choice, oracle_scores, oracle_text, prompt_ids, score
from tiny_models import byte_level_tokenizer, write_family

from backends._chat import ChatEncoder
from backends._loading import META, load_language_model, read_tokenizer
from backends.causal_lm import CausalLM
from backends.vllm import VLLM, VLLMOptions
from harness.core.engine import Messages
from harness.core.errors import ModelUnavailable, UserError
from harness.specs.backend_specs import load_backend

pytestmark = pytest.mark.slow

BACKENDS = Path(__file__).parents[2] / "backends"

# A default instruction where the chat has none.
QWEN2 = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{%- endif %}"
    "{%- for turn in messages %}{{- '<|im_start|>' + turn.role + '\\n' + turn.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# It thinks unless told not to; an answer at the end is shown behind its thinking, earlier ones are not.
QWEN3 = (
    "{%- for turn in messages %}{{- '<|im_start|>' + turn.role + '\\n' }}"
    "{%- if turn.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{- turn.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
# The system turn stands in the user's first; a turn is a text or a list of parts; the assistant is called model.
GEMMA3 = (
    "{{ bos_token }}{%- set first = '' -%}{%- set rest = messages -%}"
    "{%- if messages[0]['role'] == 'system' -%}{%- set first = messages[0]['content'] + '\\n\\n' -%}"
    "{%- set rest = messages[1:] -%}{%- endif -%}"
    "{%- for turn in rest -%}{%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Roles must alternate.') }}{%- endif -%}"
    "{{ '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else turn['role']) + '\\n' }}"
    "{%- if loop.first -%}{{ first }}{%- endif -%}"
    "{%- if turn['content'] is string -%}{{ turn['content'] | trim }}{%- else -%}"
    "{%- for part in turn['content'] -%}{{ part['text'] | trim }}{%- endfor -%}{%- endif -%}"
    "{{ '<end_of_turn>\\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)
# A dated system turn, whether or not the chat has one.
LLAMA3 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{%- set told = '' %}{%- set rest = messages %}{%- if messages[0]['role'] == 'system' %}"
    "{%- set told = messages[0]['content'] | trim %}{%- set rest = messages[1:] %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date_string + '\\n\\n' + told + '<|eot_id|>' }}"
    "{%- for turn in rest %}{{- '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- turn['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
# No space around a text, and a long dated instruction where the chat has none.
MISTRAL_SMALL = (
    "{%- set today = strftime_now('%Y-%m-%d') %}{{- bos_token }}{%- set rest = messages %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set told = messages[0]['content'] %}{%- set rest = messages[1:] %}"
    "{%- else %}{%- set told = 'You help. It is ' + today + '.' %}{%- endif %}"
    "{{- '[SYSTEM_PROMPT]' + told + '[/SYSTEM_PROMPT]' }}"
    "{%- for turn in rest %}{%- if turn['role'] == 'user' %}{{- '[INST]' + turn['content'] + '[/INST]' }}"
    "{%- else %}{{- turn['content'] + eos_token }}{%- endif %}{%- endfor %}"
)

CHATML = ("<|im_start|>", "<|im_end|>")
GEMMA = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>")
LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TEKKEN = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
KINDS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "qwen2": ("qwen2", QWEN2, CHATML, "<|im_end|>"),
    "qwen3": ("qwen3", QWEN3, CHATML, "<|im_end|>"),
    "gemma3": ("gemma3, narrow window", GEMMA3, GEMMA, "<end_of_turn>"),
    "gemma3, images": ("gemma3, images", GEMMA3, GEMMA, "<end_of_turn>"),
    "llama3": ("llama, rope of 3.1", LLAMA3, LLAMA, "<|eot_id|>"),
    "mistral small": ("llama", MISTRAL_SMALL, TEKKEN, "</s>"),
    "mistral small, images": ("mistral3", MISTRAL_SMALL, TEKKEN, "</s>"),
}
"""Of each kind: architecture, template, its control tokens, and the token that ends a turn."""
IMAGES = [kind for kind in KINDS if "images" in kind]


def write_kind(folder: Path, kind: str) -> Path:
    family, template, tokens, end = KINDS[kind]
    tokenizer = byte_level_tokenizer(template, tokens)
    tokenizer.eos_token = end
    if kind == "qwen3":
        tokenizer.add_tokens(["<think>", "</think>"])
    return write_family(folder, family, tokenizer)


@pytest.fixture(scope="module")
def kinds(built_once: Callable[..., Path]) -> dict[str, Path]:
    root = built_once("open models", lambda root: [write_kind(root / kind, kind) for kind in KINDS])
    return {kind: root / kind for kind in KINDS}


@pytest.fixture(scope="module")
def engines(kinds: dict[str, Path]) -> Iterator[dict[str, CausalLM]]:
    found = {kind: loaded(folder, **told(kind)) for kind, folder in kinds.items()}
    yield found
    for engine in found.values():
        engine.close()


def told(kind: str) -> dict[str, Any]:
    return {"template_arguments": {"enable_thinking": False}} if kind == "qwen3" else {}


SHOTS: list[Messages] = [
    [chat[0], {"role": "user", "content": "Review: bad lid"}, {"role": "assistant", "content": "1"}, chat[1]] for chat in CHATS
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_decoding(kind: str, engines: dict[str, CausalLM]) -> None:
    """The instruction that the prompts share is longer than the narrow windows."""
    engine = engines[kind]
    for chats in (CHATS, SHOTS):
        for choices in (DIGITS, MIXED):
            expected = oracle_scores(engine, chats, choices)
            found = score(engine, chats, choices)
            np.testing.assert_allclose(found, expected, atol=1e-4)
            assert np.ptp(found, axis=0).min() > 1e-3
            answers = generate(engine, chats, 1, choices)
            assert [answer.text for answer in answers] == [oracle_choice(engine, chat, choices) for chat in chats]
        free = generate(engine, chats, 6, None)
        assert [answer.text for answer in free] == [oracle_text(engine, chat, 6) for chat in chats]


@pytest.mark.parametrize("kind", KINDS)
def test_the_shared_beginning_is_computed_once_where_a_window_allows_it(kind: str, engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    engine.reset()
    score(engine, CHATS, DIGITS)
    assert min(len(prompt_ids(engine, chat)) for chat in CHATS) > 24
    assert (engine._prefix is not None and len(engine._prefix) > 24) == ("gemma3" not in kind)
    assert engine._in_place


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{"quantization": "nf4"}, {"dtype": "bfloat16"}, {"quantization": "nf4", "dtype": "bfloat16"}]
)
def test_precisions(kind: str, options: dict[str, str], kinds: dict[str, Path], engines: dict[str, CausalLM]) -> None:
    pytest.importorskip("bitsandbytes")
    engine = loaded(kinds[kind], **told(kind), **options)
    (layer,) = (m for name, m in engine._model.named_modules() if name.endswith("layers.0.mlp.up_proj"))
    assert (type(layer).__name__ == "Linear4bit") == ("quantization" in options)
    assert str(engine._model.dtype) == f"torch.{options.get('dtype', 'float32')}"
    assert engine.parameters == engines[kind].parameters
    assert np.isfinite(score(engine, CHATS, MIXED)).all()
    assert {answer.text for answer in generate(engine, CHATS, 8, MIXED)} <= set(MIXED)
    assert all(answer.error is None for answer in generate(engine, CHATS, 4, None))
    engine.close()


def test_the_experts_of_a_mixture_stay_as_they_are(tmp_path: Path) -> None:
    """As docs/backends.md says: bitsandbytes quantizes linear layers."""
    import torch

    engine = loaded(write_family(tmp_path, "qwen3, experts"), quantization="nf4")
    dtypes = {name: weight.dtype for name, weight in engine._model.model.layers[0].named_parameters()}
    assert dtypes["self_attn.q_proj.weight"] == torch.uint8
    assert {dtype for name, dtype in dtypes.items() if "experts" in name} == {torch.float32}
    engine.close()


# Models of images and texts


@pytest.mark.parametrize("kind", IMAGES)
def test_the_text_model_alone_says_what_the_whole_says(kind: str, kinds: dict[str, Path], engines: dict[str, CausalLM]) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    engine = engines[kind]
    whole = AutoModelForImageTextToText.from_pretrained(kinds[kind]).eval()
    for chat in CHATS:
        ids = torch.tensor([prompt_ids(engine, chat)])
        with torch.no_grad():
            torch.testing.assert_close(engine._model(input_ids=ids).logits, whole(input_ids=ids).logits)
    assert "vision" not in " ".join(name for name, _ in engine._model.named_modules())
    images = sum(p.numel() for name, p in whole.named_parameters() if "language_model" not in name and "lm_head" not in name)
    assert engine.parameters == sum(p.numel() for p in whole.parameters()) - images


def with_tensors(source: Path, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], **config: Any) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**json.loads((folder / "config.json").read_text()), **config}))
    return folder


def newer(name: str) -> str:
    """What transformers has called the same weight since 4.52, in checkpoints that it wrote itself."""
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    return f"model.{name.replace('language_model.model.', 'language_model.')}"


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("rename", [str, newer])
@pytest.mark.parametrize("tied", [True, False])
def test_both_names_of_the_weights(
    kind: str, rename: Callable[[str], str], tied: bool, kinds: dict[str, Path], engines: dict[str, CausalLM], tmp_path: Path
) -> None:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        assert "language_model.model.norm.weight" in tensors
        if not tied:
            embeddings = tensors["language_model.model.embed_tokens.weight"]
            tensors["language_model.lm_head.weight"] = embeddings.flip(0).contiguous()
        return {rename(name): tensor for name, tensor in tensors.items()}

    # Some checkpoints have an output layer of their own and leave the word out, which transformers takes for true.
    engine = loaded(with_tensors(kinds[kind], tmp_path / "m", change))
    same = np.allclose(score(engine, CHATS, DIGITS), score(engines[kind], CHATS, DIGITS), atol=1e-4)
    assert same == tied
    own = loaded(with_tensors(kinds[kind], tmp_path / "own", change, tie_word_embeddings=tied))
    np.testing.assert_array_equal(score(own, CHATS, DIGITS), score(engine, CHATS, DIGITS))
    assert own.parameters == engine.parameters


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("engine", ["causal_lm", "causal_lm nf4", "vllm"])
@pytest.mark.parametrize(
    ("weight", "said"),
    [("language_model.model.norm.weight", "model.norm.weight"), ("language_model.model.layers.1.", "and 6 more|and 10 more")],
)
def test_a_text_weight_that_is_missing(
    kind: str, engine: str, weight: str, said: str, kinds: dict[str, Path], tmp_path: Path
) -> None:
    folder = with_tensors(kinds[kind], tmp_path / "m", lambda old: {n: t for n, t in old.items() if not n.startswith(weight)})
    quantization = "nf4" if engine.endswith("nf4") else "none"
    load = VLLM(VLLMOptions(), folder).load if engine == "vllm" else lambda: loaded(folder, quantization=quantization)
    with pytest.raises(ModelUnavailable, match=f"would be random: .*({said})"):
        load()


@pytest.mark.parametrize("kind", IMAGES)
def test_a_text_layer_too_many(kind: str, kinds: dict[str, Path], tmp_path: Path) -> None:
    name = "language_model.model.layers.2.input_layernorm.weight"
    folder = with_tensors(
        kinds[kind], tmp_path / "m", lambda old: {**old, name: old["language_model.model.norm.weight"].clone()}
    )
    with pytest.raises(ModelUnavailable, match="have no place"):
        load_language_model(folder, **META)


# Mistral's tokenizer


@pytest.mark.parametrize("tekken", [True, False])
def test_words_are_split_as_in_the_tekken_file_beside_the_tokenizer(tekken: bool, tmp_path: Path) -> None:
    """transformers corrects it in tokenizers of more than 100,000 tokens, and only says so elsewhere."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {token: number for number, token in enumerate([*letters, "<s>", "</s>", *map(str, range(10, 100_100))])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    split = pre_tokenizers.Split(Regex(r"\p{L}+|\s+|[^\s\p{L}]+"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral", "transformers_version": "4.49.0"}))
    if tekken:
        (tmp_path / "tekken.json").write_text("{}")
    found = read_tokenizer(tmp_path, "eos_token").backend_tokenizer.pre_tokenizer.pre_tokenize_str("myKettle")
    assert [word for word, _ in found] == (["my", "Kettle"] if tekken else ["myKettle"])


def test_a_tekken_file_alone_needs_the_name_of_the_end(tmp_path: Path) -> None:
    """As docs/one-gpu.md says of Mistral Small 3.2."""
    special = [
        {"rank": rank, "token_str": token, "is_control": True} for rank, token in enumerate(("<unk>", "<s>", "</s>", *TEKKEN))
    ]
    words = [bytes([value]) for value in range(256)] + [b"th", b"the"]
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(word).decode(), "token_str": None} for rank, word in enumerate(words)
    ]
    sizes = {"default_vocab_size": len(words) + len(special), "default_num_special_tokens": len(special)}
    config = {"pattern": r"\p{L}+|\s+|[^\s\p{L}]+", "num_vocab_tokens": len(words), "version": "v7", **sizes}
    (tmp_path / "tekken.json").write_text(json.dumps({"config": config, "vocab": vocabulary, "special_tokens": special}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral3", "transformers_version": "4.52.4"}))
    with pytest.raises(UserError, match="no eos_token"):
        read_tokenizer(tmp_path, "eos_token")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (tmp_path / "chat_template.jinja").write_text(MISTRAL_SMALL)
    tokenizer = read_tokenizer(tmp_path, "eos_token")
    chat: Messages = [{"role": "system", "content": "Rate."}, {"role": "user", "content": "the [INST]"}]
    ids = ChatEncoder(tokenizer).encode([chat], ["0", "1"])[0].content.ids
    assert tokenizer.decode(ids) == "<s>[SYSTEM_PROMPT]Rate.[/SYSTEM_PROMPT][INST]the [INST][/INST]"
    assert [tokenizer.decode([number]) for number in ids].count("[INST]") == 1  # the other one is characters


# The files in backends/


def test_models_that_think_unless_told_not_to_are_told() -> None:
    specs = [load_backend(path) for path in BACKENDS.glob("qwen3-*.yaml")]
    hybrid = [spec for spec in specs if spec.engine in ("causal_lm", "vllm")]  # a classifier writes nothing
    told = {spec.name for spec in hybrid if spec.options.get("template_arguments") == {"enable_thinking": False}}
    assert told == {spec.name for spec in hybrid if "2507" not in (spec.model or "")}
    assert told

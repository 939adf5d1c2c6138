"""Small tokenizers of the families that models come with, each of the class that reads the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tiny_models import CHATML, MISTRAL_V02, byte_level_tokenizer, sentencepiece_tokenizer

WORDS = ["kettle", "ü", "great"]
"""Ordinary words that are added tokens of every family here."""

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"<>[]{}/|_-() "


def pieces_of(special: list[str]) -> list[tuple[str, float]]:
    """A vocabulary for Unigram: special tokens score best, as in the real ones."""
    pieces = [(token, 0.0) for token in special]
    return [
        *pieces,
        ("▁", -2.0),
        ("▁the", -3.0),
        ("▁good", -3.0),
        ("▁s", -3.5),
        *[(letter, -6.0) for letter in LETTERS.strip()],
    ]


def word_pieces(special: list[str]) -> dict[str, int]:
    letters = sorted(set(LETTERS.strip().lower()))
    return {token: index for index, token in enumerate([*special, "good", "the", *letters, *[f"##{c}" for c in letters]])}


def bert() -> Any:
    from transformers import BertTokenizer

    return BertTokenizer(vocab=word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))


def electra() -> Any:
    from transformers import ElectraTokenizer

    return ElectraTokenizer(vocab=word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))


def mpnet() -> Any:
    from transformers import MPNetTokenizer

    vocabulary = word_pieces(["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"])
    return MPNetTokenizer(vocab=vocabulary)


def byte_bpe(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-level BPE; the special tokens come first."""
    learnt = json.loads(byte_level_tokenizer(None, ()).backend_tokenizer.to_str())["model"]
    words = [word for word in sorted(learnt["vocab"], key=learnt["vocab"].get) if word not in ("<s>", "</s>")]
    vocabulary = {token: index for index, token in enumerate([*special, *words])}
    return vocabulary, [tuple(merge) for merge in learnt["merges"]]


def roberta() -> Any:
    from transformers import RobertaTokenizer

    vocabulary, merges = byte_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return RobertaTokenizer(vocab=vocabulary, merges=merges)


def gpt2() -> Any:
    from transformers import GPT2Tokenizer

    vocabulary, merges = byte_bpe(["<|endoftext|>"])
    tokenizer = GPT2Tokenizer(vocab=vocabulary, merges=merges)
    tokenizer.pad_token = "<|endoftext|>"
    return tokenizer


def qwen2() -> Any:
    from transformers import Qwen2Tokenizer

    vocabulary, merges = byte_bpe(["<|endoftext|>"])
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"], "eos_token": "<|im_end|>"})
    return tokenizer


def llama3() -> Any:
    """As tiktoken's: a word that is in the vocabulary is a token whatever the merges say."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = byte_bpe(["<s>"])  # in the model's own vocabulary too
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    words = Regex(r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    special += [f"<|reserved_special_token_{index}|>" for index in range(20)]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    begin = "<|begin_of_text|>"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, backend.token_to_id(begin))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=begin, eos_token="<|eot_id|>", pad_token=special[-1])


def xlm_roberta() -> Any:
    from transformers import XLMRobertaTokenizer

    tokenizer = XLMRobertaTokenizer(vocab=pieces_of(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))
    tokenizer.backend_tokenizer.normalizer = nfkc()
    return tokenizer


def nfkc() -> Any:
    from tokenizers import normalizers

    return normalizers.NFKC()  # what SentencePiece's own table does to most characters


def t5() -> Any:
    from transformers import T5Tokenizer

    extra = [f"<extra_id_{index}>" for index in range(3)]
    tokenizer = T5Tokenizer(vocab=pieces_of(["<pad>", "</s>", "<unk>", *extra]), extra_ids=3)
    tokenizer.backend_tokenizer.normalizer = nfkc()
    return tokenizer


def deberta_v3() -> Any:
    from transformers import DebertaV2Tokenizer

    return DebertaV2Tokenizer(vocab=pieces_of(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), unk_id=1)


def llama2() -> Any:
    tokenizer = sentencepiece_tokenizer(MISTRAL_V02)
    tokenizer.pad_token = "</s>"
    return tokenizer


def gemma() -> Any:
    """Whose merges can put its control tokens together."""
    from transformers import GemmaTokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    parts = ["<st", "<start", "<start_of", "<start_of_turn", "art", "st", "art", "_of", "_turn", "of", "tur", "turn"]
    letters = sorted({*LETTERS.strip(), "▁"})
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*special, *bytes_, *letters, *parts, "ar", "tu"]))}
    merges = [
        ("a", "r"),
        ("ar", "t"),
        ("s", "t"),
        ("<", "st"),
        ("<st", "art"),
        ("o", "f"),
        ("_", "of"),
        ("t", "u"),
        ("tu", "r"),
    ]
    merges += [("tur", "n"), ("_", "turn"), ("<start", "_of"), ("<start_of", "_turn"), ("<start_of_turn", ">")]
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    tokenizer.add_tokens(["<b>", "</b>", "<br>"])
    return tokenizer


def tekken() -> Any:
    return byte_level_tokenizer(MISTRAL_V02, ("[INST]", "[/INST]", "[TOOL_CALLS]", "[IMG]"))


FAMILIES: dict[str, Callable[[], Any]] = {
    "bert": bert,
    "electra": electra,
    "mpnet": mpnet,
    "roberta": roberta,
    "gpt2": gpt2,
    "qwen2": qwen2,
    "llama3": llama3,
    "xlm-roberta": xlm_roberta,
    "t5": t5,
    "deberta-v3": deberta_v3,
    "llama2": llama2,
    "gemma": gemma,
    "tekken": tekken,
    "chatml": partial(byte_level_tokenizer, CHATML),
}

TEMPLATES = {
    "gemma": (
        "{{ bos_token }}{% for turn in messages %}<start_of_turn>{{ turn['role'] }}\n{{ turn['content'] | trim }}"
        "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for turn in messages %}<|start_header_id|>{{ turn['role'] }}<|end_header_id|>\n\n"
        "{{ turn['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "tekken": (
        "{{ bos_token }}{% for turn in messages %}{% if turn['role'] == 'user' %}[INST]{{ turn['content'] }}[/INST]"
        "{% else %}{{ turn['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    ),
}
# For the others: their own special tokens right beside the texts, which may hold the half of one.
PLAIN = "{% for turn in messages %}{{ bos_token or cls_token }}<{{ turn['content'] }}>{{ eos_token or sep_token }}{% endfor %}"


def family(name: str) -> Any:
    """With added words, and with control tokens that are not marked as special."""
    tokenizer = FAMILIES[name]()
    tokenizer.add_tokens([*WORDS, "<think>", "</think>", "<tool_call>", "[INST]"])
    if name not in ("llama2", "chatml"):
        tokenizer.chat_template = TEMPLATES.get(name, CHATML if name == "qwen2" else PLAIN)
    return tokenizer

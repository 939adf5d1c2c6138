"""Checkpoints small enough to be built in the test: a BERT of 8k parameters and Mistrals of 100k, real architectures.

Their weights are random (seeded), so the tests compare an engine with a plain forward pass, never with sense.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Sentences of our own, enough for a tokenizer to learn some merges, digits and punctuation.
SENTENCES = [
    "Rate the review from 0 to 4. Reply with the number only.",
    "Review: the kettle works well and looks good, I love it.",
    "Review: broken on arrival, bad lid, never again!",
    "Answer: positive. Answer: negative. Answer: neutral.",
    "It does the job, but the handle came loose after 10 days.",
    "system user assistant INST 0 1 2 3 4 10 very good, very bad",
]

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As in Mistral 7B Instruct v0.2: roles must alternate, there is no system turn, and a space comes before an answer.
MISTRAL_V02 = (
    "{{ bos_token }}{% for turn in messages %}"
    "{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if turn['role'] == 'user' %}{{ ' [INST] ' + turn['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn['content'] + eos_token }}{% endif %}{% endfor %}"
)

CHAT_KINDS = ["chatml", "mistral", "plain"]


def byte_level_tokenizer(template: str | None, specials: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")) -> Any:
    """Byte-level BPE, as GPT-2, SmolLM2 or Qwen have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=["<s>", "</s>", *specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    end = "<|im_end|>" if "<|im_end|>" in specials else "</s>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=end, pad_token="</s>")
    fast.chat_template = template
    return fast


def sentencepiece_tokenizer(template: str | None) -> Any:
    """BPE over "▁words", digits apart, unknown characters as bytes, BOS before every text: as Llama 2 and Mistral have it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # The Metaspace step is there to learn merges within words; Llama's tokenizer itself replaces spaces and runs BPE on all.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.Metaspace()])
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    llama = Tokenizer(
        models.BPE(
            vocab=learnt["vocab"],
            merges=[tuple(merge) for merge in learnt["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    llama.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    llama.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ("<unk>", "<s>", "</s>")])
    llama.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=llama, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    return fast


def tokenizer_of(kind: str) -> Any:
    if kind == "chatml":
        return byte_level_tokenizer(CHATML)
    return sentencepiece_tokenizer(MISTRAL_V02 if kind == "mistral" else None)


def write_mistral(folder: Path, tokenizer: Any, **config: Any) -> Path:
    """A random Mistral for `tokenizer`; `config` changes its shape."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,  # a multiple of 64, as 4-bit blocks on CPU want it
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "sliding_window": None,
        # Large weights, so that answers differ from row to row instead of being all the same.
        "initializer_range": 0.15,
    }
    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
            **(shape | config),
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
SLIDING, FULL = "sliding_attention", "full_attention"
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
OPT = {
    "hidden_size": 64,
    "word_embed_proj_dim": 64,
    "ffn_dim": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "pad_token_id": 1,
    "init_std": 0.15,
}
GEMMA2 = {**SHAPE, "head_dim": 16, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
GEMMA3 = {**GEMMA2, "attn_logit_softcapping": None, "final_logit_softcapping": None, "layer_types": [SLIDING, FULL]}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
VISION |= {"patch_size": 14}
PIXTRAL = {"model_type": "pixtral", **VISION}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 = {**SHAPE, "tie_word_embeddings": True, "rope_parameters": {**LLAMA3_ROPE, "original_max_position_embeddings": 64}}
OSS = {**SHAPE, "head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1, "rope_parameters": {"rope_type": "default"}}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SHAPE),
    "llama, rope of 3.1": ("Llama", LLAMA3),
    "qwen2": ("Qwen2", SHAPE),
    "qwen3": ("Qwen3", {**SHAPE, "head_dim": 16}),
    "qwen3, experts": ("Qwen3Moe", {**SHAPE, **EXPERTS, "head_dim": 16}),
    "gemma2, wide window": ("Gemma2", {**GEMMA2, "sliding_window": 200}),  # sliding and full layers in turn
    "gemma2, narrow window": ("Gemma2", {**GEMMA2, "sliding_window": 24}),
    "gemma3, wide window": ("Gemma3Text", {**GEMMA3, "sliding_window": 200}),
    "gemma3, narrow window": ("Gemma3Text", {**GEMMA3, "sliding_window": 24}),
    # With a part that reads images, whose weights are in the file too.
    "gemma3, images": ("Gemma3", {"text_config": {**GEMMA3, "sliding_window": 24}, "vision_config": VISION}),
    "mistral3": (
        "Mistral3",
        {"text_config": {"model_type": "mistral", **SHAPE, "sliding_window": None}, "vision_config": PIXTRAL},
    ),
    "gpt2": ("GPT2", GPT2),  # learned absolute positions
    "opt": ("OPT", OPT),  # the same, and they start at 2
    "bloom": ("Bloom", {"hidden_size": 64, "n_layer": 2, "n_head": 4}),  # ALiBi: takes no positions
    "lfm2": ("Lfm2", {**SHAPE, "layer_types": ["conv", "full_attention"]}),  # short convolutions keep a state
    "mamba": ("Mamba", {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 2}),  # nothing but states
    "gpt-oss": ("GptOss", {**OSS, "sliding_window": 200}),  # attention sinks: only in eager attention
    "gpt-j": ("GPTJ", {**GPT2, "rotary_dim": 8}),  # only eager attention
    "falcon, alibi": (
        "Falcon",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True},  # takes positions, uses none
    ),
}
"""Architecture and shape of causal language models that differ in what their layers see of a row."""


def write_family(folder: Path, name: str, tokenizer: Any = None, **changes: Any) -> Path:
    """A random model of one of `FAMILIES`; without `tokenizer`, with that of `chatml`. `changes`: of its shape."""
    import torch
    import transformers

    tokenizer = tokenizer or tokenizer_of("chatml")
    architecture, shape = FAMILIES[name]
    shape = {**shape, **changes}
    own = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id, "initializer_range": 0.15}
    own |= {"pad_token_id": None}
    images = "text_config" in shape
    whole = {**shape, "text_config": {**own, **shape["text_config"]}} if images else {**own, **shape}
    config = getattr(transformers, f"{architecture}Config")(**whole)
    auto = transformers.AutoModelForImageTextToText if images else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    auto.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


WORDS = ["good", "great", "lovely", "bad", "awful", "poor", "the", "kettle", "lid", "is", "very", "and", "it"]


def write_bert(folder: Path) -> Path:
    """An untrained BERT without a classification head, words as its vocabulary, 32 positions."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
            initializer_range=0.1,
        )
    ).save_pretrained(folder)
    return folder


THREE = ("contradiction", "neutral", "entailment")


def write_nli(folder: Path, classes: Sequence[str] = THREE) -> Path:
    """A random BERT that says whether a text entails a sentence."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    write_bert(folder)
    config = BertConfig.from_pretrained(folder)
    config.id2label, config.label2id = dict(enumerate(classes)), {name: index for index, name in enumerate(classes)}
    torch.manual_seed(1)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder

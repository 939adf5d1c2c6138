"""How to use a fine-tuned encoder without bench: Python that gives the labels that bench measured, for each sort of head."""

from __future__ import annotations

import json
from typing import Any

from harness.reports.cards.facts import Subject

_LOGITS = """\
import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

labels = {labels}
tokenizer = AutoTokenizer.from_pretrained({repo})
model = AutoModelForSequenceClassification.from_pretrained({repo}).eval()


def classify(texts):
    batch = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**batch).logits.double().numpy()
{probabilities}
    return {answer}


print(classify(["Put your text here."]))
"""

_PIPELINE = """\
from transformers import pipeline

classifier = pipeline("text-classification", model={repo})


def classify(texts):
    return [answer["label"] for answer in classifier(texts, truncation=True)]


print(classify(["Put your text here."]))
"""

_MULTILABEL = """\
from transformers import pipeline

thresholds = {thresholds}
classifier = pipeline("text-classification", model={repo}, top_k=None)


def classify(texts):
    scores = [{{a["label"]: a["score"] for a in answer}} for answer in classifier(texts, truncation=True)]
    return [[label for label, least in thresholds.items() if score[label] >= least] for score in scores]


print(classify(["Put your text here."]))
"""

_SETFIT = """\
import numpy as np
from huggingface_hub import hf_hub_download
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

labels = {labels}
encoder = SentenceTransformer({repo})
head = load_file(hf_hub_download({repo}, "head.safetensors"))


def classify(texts):
    logits = encoder.encode(texts).astype(np.float64) @ head["weights"].T + head["biases"]
{probabilities}
    return {answer}


print(classify(["Put your text here."]))
"""

_SOFTMAX = """\
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)"""

_ABOVE = """\
    above = 1 / (1 + np.exp(-logits))
    above = {joined}  # column k: the probability of more than label k
    p = -np.diff(np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0))), axis=1)"""

_PROBABILITIES = {
    "softmax": _SOFTMAX,
    "setfit": _SOFTMAX,
    "one_hot": "    p = 1 / (1 + np.exp(-logits))\n    p /= p.sum(axis=1, keepdims=True)",
    "coral": _ABOVE.format(joined="np.minimum.accumulate(above, axis=1)"),
    "corn": _ABOVE.format(joined="above.cumprod(axis=1)"),
}

_INDEX = {
    "argmax": "p.argmax(axis=1)",
    "median": "(p.cumsum(axis=1) >= 0.5 - 1e-9).argmax(axis=1)",
    "expected": "np.floor(p @ np.arange(len(labels)) + 0.5).astype(int)",
}

_WORDS = {
    "softmax": "The head is an ordinary softmax over the labels.",
    "one_hot": "The head has a yes or no (a sigmoid) for each label; their shares of the sum are the probabilities. "
    "A `pipeline` finds the same labels, but other scores.",
    "coral": "The head is ordinal (CORAL): output k says how likely the answer is above label k. "
    "A `pipeline` shows these outputs, not the labels; the code below turns them into labels.",
    "corn": "The head is ordinal (CORN): output k says how likely the answer is above label k, if it is not below it. "
    "A `pipeline` shows these outputs, not the labels; the code below turns them into labels.",
    "multilabel": "Each label has a probability of its own, and a row gets every label that reaches its threshold: maybe none.",
    "setfit": "The body is a sentence encoder, the head a logistic regression in `head.safetensors`; it is no checkpoint of "
    "the setfit library, whose heads are pickles.",
}

_DECISIONS = {
    "median": "The answer is the median of the probabilities, as it was measured, not the likeliest label.",
    "expected": "The answer is the label next to the expected value, as it was measured, not the likeliest label.",
}


def code(subject: Subject, repository: str) -> str:
    """Python that defines `classify(texts)`, which returns the labels."""
    decision, head = _decision(subject), subject.head
    given = {"repo": json.dumps(repository), "labels": _literal(subject.labels)}
    multilabel = subject.identity["label_kind"] == "multilabel"
    if head == "multilabel":
        named = dict(zip(subject.labels, thresholds(subject), strict=True))
        return _MULTILABEL.format(**given, thresholds=_literal(named))
    if head == "softmax" and decision == "argmax":
        return _PIPELINE.format(**given)
    if multilabel:
        limits = _literal(thresholds(subject))
        answer = f"[[labels[k] for k in np.flatnonzero(row >= {limits})] for row in p]"
        return _SETFIT.format(**given, probabilities="    p = 1 / (1 + np.exp(-logits))", answer=answer)
    frame = _SETFIT if head == "setfit" else _LOGITS
    answer = f"[labels[k] for k in {_INDEX[decision]}]"
    return frame.format(**given, probabilities=_PROBABILITIES[head], answer=answer)


def words(subject: Subject) -> list[str]:
    """What to know of the head before its code is read."""
    said = [_WORDS[subject.head]]
    decision = _decision(subject)
    return [*said, *([_DECISIONS[decision]] if decision in _DECISIONS else [])]


def thresholds(subject: Subject) -> list[float]:
    """Of a multilabel task: the probability from which a row gets a label; a half where the record tells of none."""
    found = subject.training.get("thresholds")
    return list(found) if found else [0.5] * len(subject.labels)


def output_names(subject: Subject) -> list[str]:
    """What each output of the model is called: its label, or for an ordinal head the label that it says to be above."""
    labels = subject.labels
    return [f"> {name}" for name in labels[:-1]] if subject.head in ("coral", "corn") else labels


def problem_type(subject: Subject) -> str:
    """What `config.json` has to say for a `pipeline` to take the right function of the outputs."""
    return "single_label_classification" if subject.head == "softmax" else "multi_label_classification"


def _decision(subject: Subject) -> str:
    return str(subject.identity.get("decision", "argmax"))


def _literal(value: Any) -> str:
    """On one line, so that no label can end a block of code; what does not print is escaped."""
    return repr(value)

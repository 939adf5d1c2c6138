"""What every metric and column of the page means, in plain words; the same that docs/metrics.md and docs/leaderboard.md say."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.types import LabelKind
from harness.records.entries import Entry
from harness.statistics.metrics import LOWER_IS_BETTER

METRICS = {
    "accuracy": "Share of the rows whose answer is the true label, from 0 to 1.",
    "macro_f1": "F1 (the harmonic mean of precision and recall) of each label, averaged with the same weight for rare labels "
    "as for common ones; from 0 to 1.",
    "weighted_f1": "F1 of each label, averaged with the number of rows that it has as its weight; from 0 to 1.",
    "micro_f1": "F1 of all labels' decisions counted together, so that common labels weigh more; from 0 to 1.",
    "subset_accuracy": "Share of the rows whose whole set of labels is exactly right, from 0 to 1.",
    "hamming_loss": "Share of all yes-or-no decisions, one for each row and label, that are wrong; from 0 to 1.",
    "mae": "Mean absolute error: by how many steps of the scale an answer misses on average; 0 is perfect.",
    "qwk": "Quadratic weighted kappa: agreement with the true labels beyond chance, where an error counts by the square of "
    "its steps; 1 is perfect, 0 is chance, below 0 is worse than chance.",
    "spearman": "Spearman's correlation of answers and true labels, from -1 to 1: only their order counts.",
    "off_by_one": "Share of the rows whose answer is the true label or next to it, from 0 to 1.",
    "binary_accuracy": "Share of the rows whose answer is on the right side of the task's threshold (low labels against high "
    "ones), from 0 to 1.",
    "roc_auc": "Chance that a row of a label gets a higher probability of it than a row of another label, averaged over the "
    "labels; 0.5 is guessing, 1 is perfect. Only where there are probabilities.",
    "log_loss": "Mean of minus the natural logarithm of the probability that was given to the true label; 0 is perfect. Only "
    "where there are probabilities.",
    "brier": "Mean squared distance between the probabilities and the truth, summed over the labels; from 0 (perfect) to 2. "
    "Only where there are probabilities.",
    "ece": "Expected calibration error: how far the confidence of answers lies from the share of them that is right, over 15 "
    "equal bins; 0 is perfect, and the value is too high where bins hold few rows. Only where there are probabilities.",
    "parse_rate": "Share of the rows with an answer that could be read, from 0 to 1.",
}
MISS = "a miss of its true label"
FARTHEST = (
    "the label farthest from the truth, which can come out better than a wrong answer: look at the share of unread answers"
)
EMPTY_SET = "the empty set of labels (all of them where none is right)"
LAST = "ranked last for its true labels"
UNREAD = {
    **dict.fromkeys(("accuracy", "subset_accuracy", "off_by_one", "binary_accuracy"), "wrong"),
    **dict.fromkeys(("macro_f1", "weighted_f1"), MISS),
    **dict.fromkeys(("micro_f1", "hamming_loss"), EMPTY_SET),
    **dict.fromkeys(("qwk", "spearman"), FARTHEST),
    "mae": "the largest possible error for its true label",
    "roc_auc": LAST,
    "log_loss": "all probability on a wrong label (36.04)",
    "brier": "all probability on a wrong label (2)",
    "ece": "a bin of its own with confidence 1 and nothing right",
    "parse_rate": "not read",
}
"""What a row without a parsed answer counts as."""
INTERVALS = {
    "wilson": "Wilson's interval of a share",
    "bc_bootstrap": "the bias-corrected bootstrap of the counts, 2,000 replicates",
    "skewed_t": "Student's t, corrected for skewness",
    "delong": "DeLong's variance, on the logit scale",
    "bootstrap": "in records of an earlier version of bench a plain bootstrap, too sure of itself where rows are few (`bench "
    "rescore` renews it)",
}
"""How a 95% interval is made, by the method that the record names."""
COLUMNS = {
    "rank": "Rows of one rank can't be told apart from its first row at the 5% level: tested pair by pair on the same test "
    "rows (McNemar's exact test for the accuracy, a paired bootstrap for other metrics), after Holm's correction. That is "
    'not "equally good": more rows might tell them apart, and two rows of one rank may differ from each other. ‡ is no rank: '
    "see the finding.",
    "finding": "What stands against a run, which then has no rank. One answer: it gave one answer to all rows, or to 99% of "
    "them. Unparsed: half of its answers or more could not be parsed. At chance: it is not shown to be better than always "
    "answering one label, as its answers agree with the true labels no more often than chance would have it. It is about all "
    "rows that the run was tested on.",
    "tested_on": "How many rows the run was tested on, where it was more than these: its figures here are of these alone, so "
    "that it can be compared with what was run on fewer.",
    "model": "The backend (a named configuration of an engine, with its model), and how it was used: what it was trained on, "
    "or how it was prompted. Of rows that would read alike, also what their configurations differ in.",
    "backend": "The named configuration of an engine, with its model; the model stands beside it where `--model` gave it, or "
    "where runs of the backend have several.",
    "size": "Parameters of the model; empty where they are not known, as with most served models.",
    "engine": "The program that runs the model: encoder, causal_lm, vllm, openai (any compatible server), baseline.",
    "how": "What was trained on, or the prompt and its decoding, and the settings that were changed. Of several seeds their "
    "number.",
    "run": "The run whose figures the row shows; of several seeds the one in the middle by the first metric (of an even "
    "number the worse of the two there).",
    "task": "The data set with its labels.",
    "split": "Which part of the data set was tested on. Validation rows may have chosen the model: figures on them flatter it.",
    "lang": "Language of the test rows.",
    "rows": "The test rows: their number, and the first digits of their fingerprint (ids, texts and labels). Only runs on "
    "the same rows share a table.",
    "few": "Fewer than 100 rows, or fewer than 10 of one label: intervals are wide, and tests miss differences that matter.",
    "seeds": "The seeds of the runs that share the row. A seed draws initial weights and the order of training, the "
    "exemplars of a prompt, and perhaps the training rows.",
    "over_seeds": "Lowest, middle and highest value over the runs that only their seeds tell apart. It says nothing of the "
    "sampling of rows, as the interval in brackets says nothing of seeds: neither holds the other.",
    "unparsed": "Share of the rows (of all seeds) whose answer could not be read. They count as wrong in every metric. Lower "
    "is better.",
    "failed": "Share of the rows (of all seeds) that got no answer at all. They count as wrong in every metric. Lower is "
    "better.",
    "rate": "Test rows per second: inference alone, without loading, training and warm-up, on the machine and at the load "
    "that the record names. Compare it within one machine only. Higher is better; no interval.",
    "cost": "US dollars per 1,000 predictions, as `bench analyze cost` counts them: the measured time at the price of the machine, "
    "or the tokens at their price, and the training shared among 1,000,000 predictions; labels are counted as free. Lower "
    "is better; no interval; empty where a price is missing.",
    "p50_ms": "Half of the rows, one at a time and without lag, took at most so many milliseconds (`bench analyze latency`, same "
    "backend and prompt, whatever it was trained on; the machine may be another one). Lower is better.",
    "p95_ms": "95% of the rows, one at a time and without lag, took at most so many milliseconds (`bench analyze latency`, same "
    "backend and prompt, whatever it was trained on; the machine may be another one). Lower is better; empty where it was "
    "not measured, or on fewer than 200 rows.",
    "train_count": "Rows that the model was trained on, of all training languages together; empty for prompted models.",
    "labelled": "Labels that people had to give: of training and validation rows, and of a prompt's exemplars. Empty for a "
    "model that was continued from another one: the labels of the first training are not in its record.",
    "train_langs": "Languages of the training rows.",
    "validation_langs": "Languages of the validation rows, which chose the checkpoint.",
    "prompt": "Name of the prompt's template; one for a language of its own ends in its code.",
    "decoding": "free: the model writes text, which is read; constrained: it can only write valid answers; score: "
    "probabilities of the answers, no text.",
    "exemplars": "Solved examples that the prompt shows.",
    "machine": "GPU, or processor and its cores, that the run had.",
    "load": "Load average of the machine when the run ended, of all cores together. Above their number something else was "
    "running too, so times, and what they cost, are too high.",
    "finished": "When the run ended.",
    "settings": "What `--set` changed.",
    "pareto": "Nothing else that the filters leave is at least as good in both, and better in one. It goes by the values "
    "alone, without their intervals.",
    "confusion": "How often each true label (row) got each answer (column); the last column: no answer that could be read. "
    "Of a task with several labels a row, for each label whether it was true and whether it was given.",
    "per_class": "Precision, recall and F1 of each label, and on how many rows it is the true one. Few rows: take care.",
    "precision": "Of the answers that name this label, the share that is right; empty where none does. Higher is better.",
    "recall": "Of the rows with this true label, the share that got it; empty where there are none. Higher is better.",
    "f1": "Harmonic mean of precision and recall. Higher is better.",
    "support": "Rows with this true label.",
    "bins": "Answers in bins of the probability that the model gave to its answer: on the diagonal its confidence is the "
    "share that is right; below it, the model is too sure of itself. Unread answers are in no bin.",
    "evaluations": "What the validation rows said during training; the best step by one metric is what was kept.",
    "loss": "What training makes small, here on the validation rows. Lower is better.",
    "epoch": "How often training had seen each row.",
    "step": "Updates of the weights so far.",
    "answers": "Answers of two runs on the same rows: where both are right, only one, or neither.",
    "spreads": "The prompts of one model on the same rows: lowest, middle and highest value (of a prompt with several seeds "
    "their mean; of an even number of prompts the worse of the two in the middle, of two prompts none). By chance: the range "
    "that the sampling of rows (and of exemplars, where there are several seeds) alone would give, were all prompts equally "
    "good.",
    "matrices": "Trained in one language (row), tested in another (column), with the same settings and as many training rows "
    "of each language. Below: the 95% interval of the sampling of rows, or, of several seeds (the value is their mean), "
    "the smallest and the largest value.",
    "curves": "Quality by the number of labels, as `bench study curve` measured it: bands are 95% intervals, dots are seeds, level "
    "lines are prompted models.",
    "reported": "Published figures, on other rows and by other code: never ranked with what was measured here.",
}
OTHER = "What {name} of Hugging Face evaluate returns; bench does not know which direction is better. No interval."


def explanations(entries: Sequence[Entry]) -> dict[str, str]:
    """By metric (of all that the runs have) and by column; how an interval is made is what the records say of it."""
    names = sorted({name for entry in entries for name in entry.metrics["values"]})
    return {**COLUMNS, **{name: _metric(name, entries) for name in names}}


def _metric(name: str, entries: Sequence[Entry]) -> str:
    if name not in METRICS:
        return OTHER.format(name=name.removeprefix("evaluate/"))
    having = [entry for entry in entries if name in entry.metrics["values"]]
    kinds = {entry.manifest["identity"]["label_kind"] for entry in having}
    methods = {entry.metrics["values"][name].get("method") or "" for entry in having} - {""}
    direction = "Lower is better." if name in LOWER_IS_BETTER else "Higher is better."
    return " ".join([METRICS[name], direction, _unread(name, kinds), _interval(sorted(methods))])


def _unread(name: str, kinds: set[str]) -> str:
    counts = {MISS: EMPTY_SET} if kinds == {LabelKind.MULTILABEL} else {}
    words = counts.get(UNREAD[name], UNREAD[name])
    if words == MISS and LabelKind.MULTILABEL in kinds:
        words = f"{MISS}, or with several labels a row as {EMPTY_SET}"
    return f"A row without an answer that could be read counts as {words}."


def _interval(methods: Sequence[str]) -> str:
    if not methods:
        return "No interval."
    return f"95% interval of the sampling of rows: {'; '.join(INTERVALS.get(method, method) for method in methods)}."

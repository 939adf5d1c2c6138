"""What a model card says in sentences: what the model is, what it is worth, and where its limits are, from records alone.

Every string is Markdown: what comes from a file is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.analysis.related_runs import chose_checkpoint, is_outdated
from harness.records.entries import TITLES, Entry
from harness.reports.cards.facts import Subject, main_runs, rows_used, used_alike
from harness.reports.markdown import escape
from harness.reports.text.formats import listed
from harness.statistics.intervals import small

FEW_TRAINING_ROWS = 1000


def introduction(subject: Subject) -> list[str]:
    """What it is, what it answers, and for whom it may be."""
    identity, backend = subject.identity, subject.identity["backend"]
    way = "trained with SetFit" if subject.head == "setfit" else "fine-tuned"
    doing = f": {_sentence(subject.task.description)}" if subject.task is not None else "."
    labels, langs = subject.labels, escape(", ".join(subject.langs))
    answer = "any number of its" if identity["label_kind"] == "multilabel" else "one of"
    order = ", in order," if identity["label_kind"] == "ordinal" else ""
    return [
        f"{escape(str(backend['model']))}, {way} on {identity['train']['train_count']} labelled texts ({langs}) of the task "
        f"{escape(identity['task'])}{doing}",
        f"It reads a text and gives it {answer} {len(labels)} labels{order} {_listed(labels)}. "
        f"It is for those who have many such texts in {langs}, and can live with the error rates below. Try it on some hundred "
        "labelled texts of your own first: these figures hold for texts like those it was tested on.",
    ]


def verdict(subject: Subject) -> str:
    """The first headline metric of each main run, in a sentence."""
    name = subject.headline[0]
    parts = []
    for run in main_runs(subject):
        value = run.metrics["values"][name]
        if value["value"] is not None:
            interval = "" if value["low"] is None else f", 95% interval {value['low']:.3f} to {value['high']:.3f}"
            parts.append(f"**{value['value']:.3f}** on {_rows(run)} (n = {rows_used(run)}{interval})")
    title = TITLES.get(name, name)
    return f"{title[0].upper()}{title[1:]}: {'; '.join(parts)}." if parts else ""


def always_the_same(subject: Subject) -> str:
    """What the accuracies are to be compared with at the least."""
    support = [label["support"] for label in subject.entry.metrics.get("per_class", [])]
    if "accuracy" not in subject.headline or not sum(support):
        return ""
    share = max(support) / subject.entry.metrics["n"]
    return f" Always the same answer would have an accuracy of {share:.3f} at most on {_rows(subject.entry)}."


def sampled(subject: Subject) -> str:
    """Which rows of the split were answered."""
    entry = subject.entry
    n, total = entry.metrics["n"], (entry.manifest.get("rows_from") or {}).get("split_rows")
    if entry.manifest.get("limit") is None or n == total:
        return f"All {n} of {_rows(entry)} of the task were used."
    drawn = "drawn by a digest of their ids: the same ones for every model"
    if total is None:
        return f"At most {entry.manifest['limit']} of {_rows(entry)} were used, {drawn}."
    return f"Of the {total} {_rows(entry).removeprefix('the ')} of the task {n} were used, {drawn}."


def chosen(subject: Subject) -> str:
    """What the checkpoint was chosen by, as a part of a sentence."""
    names = [name for name in subject.training.get("best") or {} if name != "step"]
    by = f" with the best {escape(TITLES.get(names[0], names[0]))}" if names else ""
    return f": the one{by} on the {subject.training.get('validation_rows')} validation rows"


def limits(subject: Subject) -> list[str]:
    """One string a limit, the ones that decide most first."""
    return [*_languages(subject), *_few(subject), *_labels(subject), *_confidence(subject), *_seen(subject), *_use(subject)]


def _languages(subject: Subject) -> Iterator[str]:
    trained = subject.langs
    before = (subject.identity["train"].get("continued_from") or {}).get("langs", [])
    tested = list(dict.fromkeys(run.manifest["identity"]["lang"] for run in subject.runs if _split(run) == "test"))
    untested = [lang for lang in trained if lang not in tested]
    if untested:
        yield f"Not tested in {_codes(untested)}, though trained on it."
    across = [lang for lang in tested if lang not in trained and lang not in before]
    if across:
        yield f"No training row is in {_codes(across)}: what it does there it carries over from {_codes(trained)}."
    known = list(dict.fromkeys([*trained, *before, *tested]))
    made_for = subject.base_languages
    base = f" The base model was made for {_codes(made_for)}." if made_for else ""
    yield f"Nothing is known of languages other than {_codes(known)}.{base}"


def _few(subject: Subject) -> Iterator[str]:
    count = subject.identity["train"]["train_count"]
    if count < FEW_TRAINING_ROWS:
        yield f"Trained on few rows ({count}): as many others, or another seed, may give a model that is noticeably different."
    elif not subject.seeds:
        yield "One training with one seed: another seed gives another model."
    if subject.seeds:
        yield _other_seeds(subject)
    yield "The intervals say what other test rows would change, not what another training would."
    for run in main_runs(subject):
        why = small(run.metrics["n"], [label["support"] for label in run.metrics.get("per_class", [])])
        if why is not None:
            yield f"Little to judge by on {_rows(run)}: {why}."


def _other_seeds(subject: Subject) -> str:
    name = subject.headline[0]
    found = [(run.seed, run.metrics["values"][name]["value"]) for run in subject.seeds]
    values = listed(["none" if value is None else f"{value:.3f}" for _, value in found])
    seeds = listed([str(seed) for seed, _ in found])
    what = "seeds" if len(found) > 1 else "seed"
    return f"The same training with the {what} {seeds} gave {TITLES.get(name, name)} {values} on {_rows(subject.entry)}."


def _labels(subject: Subject) -> Iterator[str]:
    entry = subject.entry
    known = entry.metrics.get("per_class", [])
    never = [
        f"{_quoted(label['name'])} ({label['support']} rows)"
        for label in known
        if label["precision"] is None and label["support"]
    ]
    if never:
        yield f"Labels that it never answers on {_rows(entry)}: {', '.join(never)}."
    scored = [label for label in known if label["f1"] is not None]
    if scored and _f1(min(scored, key=_f1)) < _f1(max(scored, key=_f1)):
        worst, best = min(scored, key=_f1), max(scored, key=_f1)
        yield (
            f"Labels are not equally hard: F1 is {worst['f1']:.2f} for {_quoted(worst['name'])} and {best['f1']:.2f} for "
            f"{_quoted(best['name'])} ({_rows(entry)})."
        )
    if subject.identity["label_kind"] != "multilabel":
        yield "It always answers with one of its labels, also to a text that none of them fits."
    if (
        subject.head == "multilabel"
        and subject.training.get("thresholds")
        and subject.identity["backend"]["options"].get("threshold") is None
        and subject.training.get("validation_rows")
    ):
        yield f"The thresholds of the labels were tuned on {subject.training['validation_rows']} validation rows."


def _f1(label: Mapping[str, Any]) -> float:
    return float(label["f1"])


def _confidence(subject: Subject) -> Iterator[str]:
    for run in main_runs(subject):
        bins, ece = run.metrics.get("calibration_bins"), run.metrics["values"].get("ece", {}).get("value")
        if not bins or ece is None:
            continue
        count = sum(part["count"] for part in bins)
        sure = sum(part["count"] * part["confidence"] for part in bins) / count
        right = sum(part["count"] * part["accuracy"] for part in bins) / count
        low, high = (run.metrics["values"]["accuracy"][end] for end in ("low", "high"))
        judged = (
            "too sure on the whole"
            if sure > high
            else "too cautious on the whole"
            if sure < low
            else "as far as so many rows tell, about right"
        )
        yield (
            f"Confidence on {_rows(run)}: {100 * sure:.0f}% sure on average and right on {100 * right:.0f}% "
            f"(95% interval {100 * low:.0f}% to {100 * high:.0f}%, n = {run.metrics['n']}): {judged}. ECE {ece:.3f}."
        )


def _seen(subject: Subject) -> Iterator[str]:
    """What the model may have read of its test rows."""
    unknown = []
    for run in main_runs(subject):
        found = run.manifest.get("overlap")
        if found is None:
            unknown.append(_rows(run))
            continue
        near = "" if found["near"] is None else f" and {found['near']} a near one"
        yield f"Of {_rows(run)}, {found['exact']} of {run.metrics['n']} have an exact twin among the training rows{near}."
        if chose_checkpoint(run.record):
            twins = found["by"].get("validation", {})
            if twins.get("exact") or twins.get("near"):
                near = f", {twins['near']} a near" if twins["near"] else ""
                yield f"And {twins['exact']} an exact{near} twin among the rows that chose the checkpoint."
    if unknown:
        yield f"Nobody looked for twins of training rows among {', '.join(unknown)}: an earlier bench made the record."
    dates = subject.entry.manifest.get("dates")
    if dates is not None:
        may = "may have read them in its pre-training" if dates["may_have_read"] else "can't have read them in its pre-training"
        yield (
            f"Rows were public since {escape(dates['published'])}, the base model's training data end "
            f"{escape(dates['training_cutoff'])}: it {may}."
        )
    else:
        yield "Whether the base model read the test rows in its pre-training is not known."


def _use(subject: Subject) -> Iterator[str]:
    options = subject.identity["backend"]["options"]
    yield f"Texts are cut after {options['max_length']} tokens."
    dtype = subject.identity["backend"].get("dtype")
    runtime = (options.get("predict") or {}).get("runtime", "torch")
    if runtime != "torch":
        yield f"Measured through {escape(runtime)}, made from these weights: they themselves may answer a few rows otherwise."
    elif dtype not in (None, "float32"):
        yield f"Measured in {escape(dtype)}; the weights are float32, and may answer a few rows otherwise."
    if any(_split(run) == "validation" for run in subject.runs) and subject.training.get("best"):
        yield "Figures on validation rows are too good: those rows chose the checkpoint."
    if not all(used_alike(run, subject) for run in subject.runs):
        yield "Some lines of the table above were answered in another way (its last column but one) than by the code above."
    if is_outdated(subject.entry.record):
        yield "An earlier version of bench made this record; today's would train a slightly different model."


def _sentence(text: str) -> str:
    said = escape(text.strip())
    return said if said.endswith((".", "!", "?")) else f"{said}."


def _rows(run: Entry) -> str:
    identity = run.manifest["identity"]
    return f"the {escape(identity['lang'])} {escape(identity['split'])} rows"


def _split(run: Entry) -> str:
    return str(run.manifest["identity"]["split"])


def _codes(langs: list[str]) -> str:
    return listed([escape(lang) for lang in langs])


def _quoted(label: str) -> str:
    return f"“{escape(label)}”"


def _listed(labels: list[str], most: int = 8) -> str:
    shown = ", ".join(map(_quoted, labels[:most]))
    return f"({shown})" if len(labels) <= most else f"({shown} and {len(labels) - most} more)"

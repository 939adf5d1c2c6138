"""The result of `bench analyze data` in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.audit import Report
from harness.data.label_table import unseen_sentence
from harness.reports.text.templates import render


def sentence(report: Report) -> str:
    """The findings in one language."""
    read = [f"{line.backend} ({line.training_cutoff})" for line in report.dates if line.may_have_read]
    unseen = report.unseen and unseen_sentence(report.unseen, len(report.splits[report.split]), report.split)
    return render("audit", report=report, learned=report.learned, read=read, unseen=unseen)


def overall(reports: Sequence[Report]) -> str:
    """The findings in several languages together: how many there are, and in which languages."""
    findings = {
        "rows with a duplicate among the training rows": {
            r.lang: r.learned.exact + r.learned.near for r in reports if r.learned
        },
        "texts with conflicting labels": {r.lang: r.conflicts.texts for r in reports},
        "labels that no training row has": {r.lang: len(r.unseen) for r in reports if r.unseen},
        "labels that models confidently dispute": {
            r.lang: r.suspects.estimated for r in reports if r.suspects and r.suspects.models
        },
    }
    return render(
        "audit_overall",
        reports=reports,
        tested=sum(len(report.splits.get(report.split, [])) for report in reports),
        findings=findings,
        where=lambda counts: ", ".join(f"{lang} {count:,}" for lang, count in counts.items() if count),
        not_compared=[report.lang for report in reports if not report.learned],
    )

"""Tables as people have them, for `bench init` to look at."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.guess.inspect_file import Found, InitRequest, inspect_file

SENTENCE = "the box came late but works well this old chair broke again after two weeks and nobody answered my letter"
SENTENCES = {
    "de": "Der Stuhl ist nach zwei Wochen kaputt gegangen und niemand hat auf meinen Brief geantwortet",
    "ja": "この椅子は二週間で壊れてしまい、手紙を送っても返事がありませんでした",
    "zh": "这把椅子两个星期就坏了，写信过去也没有人回复我",
    "th": "เก้าอี้ตัวนี้พังหลังจากใช้ไปสองสัปดาห์และไม่มีใครตอบจดหมายของฉัน",
    "ar": "انكسر هذا الكرسي بعد أسبوعين ولم يرد أحد على رسالتي",
    "ko": "이 의자는 두 주 만에 부서졌고 아무도 내 편지에 답하지 않았습니다",
}


def english(number: int) -> str:
    """A sentence of its own for each number."""
    known = SENTENCE.split()
    words = [known[(number * 7 + step * (3 + number % 5)) % len(known)] for step in range(9)]
    return f"{' '.join(words)} number {number}"


def written(
    path: Path, header: Sequence[str] | None, rows: Sequence[Sequence[Any]], encoding: str = "utf-8", **form: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, **form)
        writer.writerows([header] if header is not None else [])
        writer.writerows(rows)
    return path


def seen(path: Path, **said: Any) -> Found:
    return inspect_file(InitRequest(path, **said))


def labelled(start: int, count: int, words: str = "") -> list[list[str]]:
    return [[f"{english(start + row)}{words}", ["art", "work"][row % 2]] for row in range(count)]

"""The openai engine in front of a test's server."""

from __future__ import annotations

from typing import Any

from fake_server import MODEL

from backends._openai_options import OpenAIOptions
from backends.openai import OpenAI
from harness.core.engine import Messages

NAME = "BENCH_TEST_KEY"
TEXTS = [f"review {i}: bon appétit 日本語" for i in range(6)]


def chat(text: str) -> Messages:
    return [{"role": "system", "content": "Rate it."}, {"role": "user", "content": text}]


def engine_for(url: str, model: str | None = MODEL, **options: Any) -> OpenAI:
    return OpenAI(OpenAIOptions.model_validate({"base_url": url, "api_key_env": NAME, "retries": 1, **options}), model)


class Loaded:
    """`with Loaded(...) as engine`: loaded, and closed at the end."""

    def __init__(self, url: str, model: str | None = MODEL, **options: Any) -> None:
        self.engine = engine_for(url, model, **options)

    def __enter__(self) -> OpenAI:
        self.engine.load()
        return self.engine

    def __exit__(self, *_: object) -> None:
        self.engine.close()


def words(url: str, texts: list[str] = TEXTS, **options: Any) -> list[str | None]:
    """The `error` of each row of free decoding."""
    with Loaded(url, **options) as engine:
        return [answer.error for answer in engine.generate(engine.encode([chat(t) for t in texts], None), 9, None)]

"""The price of a server's tokens, and a budget."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from harness.specs.yamlspec import Spec


class Price(Spec):
    """US dollars per million tokens."""

    prompt: float = Field(ge=0, allow_inf_nan=False, description="of the prompt; cached tokens are counted in full")
    completion: float = Field(ge=0, allow_inf_nan=False, description="of the answer")
    source: str = Field(min_length=1, description="where and when this price was published")

    def of(self, prompt_tokens: int, new_tokens: int) -> float:
        """US dollars."""
        return (self.prompt * prompt_tokens + self.completion * new_tokens) / 1e6


@dataclass
class Budget:
    """US dollars that one command may spend, over all of its runs."""

    limit: float
    spent: float = 0.0

    @property
    def left(self) -> float:
        return self.limit - self.spent

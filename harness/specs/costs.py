"""The price of a server's tokens, and a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Protocol

from pydantic import Field

from harness.core.token_use import ChargedTokens, TokenUse
from harness.specs.yamlspec import Spec


class Price(Spec):
    """US dollars per million tokens."""

    prompt: float = Field(ge=0, allow_inf_nan=False, description="of the prompt")
    completion: float = Field(ge=0, allow_inf_nan=False, description="of the answer, reasoning included")
    cached: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="of the prompt, read from the server's cache; default: as `prompt`"
    )
    cache_write: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="of the prompt, written to the server's cache; default: as `prompt`"
    )
    batch: float | None = Field(
        None, gt=0, le=1, description="share of all these prices that a request of the Batch API costs: 0.5; default: 1"
    )
    source: str = Field(min_length=1, description="where and when this price was published")

    def of(self, prompt_tokens: int, new_tokens: int) -> float:
        """US dollars, if no token is cached."""
        return self._usd(TokenUse(prompt_tokens, new_tokens))

    def most(self, prompt_tokens: int, new_tokens: int) -> float:
        """US dollars at most: no token is read from the cache, and each is written to it where that costs more."""
        written = prompt_tokens if (self.cache_write or 0) > self.prompt else 0
        return self._usd(TokenUse(prompt_tokens, new_tokens, cache_written=written))

    def charged(self, tokens: ChargedTokens) -> float:
        """US dollars for the tokens that a server counted."""
        return self._usd(tokens.direct) + self.batch_share * self._usd(tokens.batched)

    @property
    def batch_share(self) -> float:
        return 1.0 if self.batch is None else self.batch

    def _usd(self, use: TokenUse) -> float:
        cached = self.prompt if self.cached is None else self.cached
        written = self.prompt if self.cache_write is None else self.cache_write
        plain = use.prompt - use.cached - use.cache_written
        tokens = plain * self.prompt + use.cached * cached + use.cache_written * written + use.new * self.completion
        return tokens / 1e6


class Budget(Protocol):
    """US dollars that one command may spend, over all of its runs and workers.

    The most that requests may cost is reserved before they are sent, and settled after. What is never settled, since its worker
    was killed or stopped, counts as spent: the command never spends more than `limit`.
    """

    @property
    def limit(self) -> float: ...

    @property
    def spent(self) -> float:
        """Of settled requests. Where workers share the budget: as of this worker's last request."""

    @property
    def left(self) -> float:
        """Neither spent nor reserved; as of the same time."""

    def reserve(self, parts: Sequence[float]) -> int:
        """Reserve the first of `parts` that are within what is left together; how many. Where a part has no room because of
        another worker's reservation, it waits until that is settled."""

    def settle(self, reserved: float, charged: float) -> None:
        """What the requests of a reservation have cost. `reserved`: the sum of its parts."""


@dataclass
class MemoryBudget:
    """A `Budget` of one process."""

    limit: float
    spent: float = 0.0
    reserved: float = 0.0

    @property
    def left(self) -> float:
        return self.limit - self.spent - self.reserved

    def reserve(self, parts: Sequence[float]) -> int:
        sums = list(takewhile(lambda most: most <= self.left, accumulate(parts)))
        self.reserved += sums[-1] if sums else 0.0
        return len(sums)

    def settle(self, reserved: float, charged: float) -> None:
        self.reserved -= reserved
        self.spent += charged

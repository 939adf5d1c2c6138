"""How many tokens requests took, by the price that they have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenUse:
    """Tokens read and written, as the model or its server counts them. `cached` and `cache_written` are parts of `prompt`: read
    from a server's prompt cache, and written to it; some servers have other prices for these."""

    prompt: int = 0
    new: int = 0
    cached: int = 0
    cache_written: int = 0

    def __add__(self, other: TokenUse) -> TokenUse:
        return TokenUse(
            self.prompt + other.prompt,
            self.new + other.new,
            self.cached + other.cached,
            self.cache_written + other.cache_written,
        )


NO_TOKENS = TokenUse()


@dataclass(frozen=True, slots=True)
class ChargedTokens:
    """All tokens of some requests: of those that were answered at once, and of those of a batch API, which cost less."""

    direct: TokenUse = NO_TOKENS
    batched: TokenUse = NO_TOKENS

    def __add__(self, other: ChargedTokens) -> ChargedTokens:
        return ChargedTokens(self.direct + other.direct, self.batched + other.batched)

    @property
    def total(self) -> TokenUse:
        return self.direct + self.batched


NOTHING_CHARGED = ChargedTokens()

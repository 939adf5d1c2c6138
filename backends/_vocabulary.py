"""While training, the embedding of a model holds only the tokens that occur: the same result for less work.

Of the 250,000 rows of a multilingual vocabulary a few per cent occur in the rows that a model is tuned on. The gradient
of the others is zero at every step, hence so are Adam's moments, and all that ever happens to them is weight decay:
each step multiplies them by 1 - lr * weight_decay. So they are put aside, and get all of that decay at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_PAD_ID = 1000
"""All ids up to the pad id stay; a vocabulary whose pad id is at its end (GPT-2) would be kept whole."""


@dataclass(frozen=True)
class CompactVocabulary:
    """`kept`: ids of the full vocabulary in the order of the small one, whose last row is a witness that is no token.

    `table`: the full embedding, as it was. `witness`: what the last row was when training began.
    """

    embedding: Any
    kept: NDArray[np.int64]
    table: Any
    witness: Any

    def compact(self, ids: Sequence[int]) -> list[int]:
        """Ids of the small vocabulary."""
        return [int(index) for index in np.searchsorted(self.kept, np.asarray(ids, dtype=np.int64))]

    def restore(self) -> None:
        """Put the full table back into the model: trained rows as they are, the others after their decay.

        The witness says how much that was. It went through the same optimizer, checkpoints, skipped steps and the choice
        of the best checkpoint as any row that never occurs. Its elements have mantissas of all sizes, so that the mean of
        their ratios is free of the rounding of one of them.
        """
        import torch

        with torch.no_grad():
            trained = self.embedding.weight.detach()
            decay = float((trained[-1].double().cpu() / self.witness.double()).mean())
            full = self.table * decay
            full[torch.from_numpy(self.kept)] = trained[:-1].to(full)
            _put(self.embedding, full.to(trained))


def compact_vocabulary(model: Any, tokenizer: Any, rows: Iterable[Sequence[int]]) -> CompactVocabulary | None:
    """Shrink `model`'s embedding to the tokens of `rows`; None where that is impossible or gains nothing.

    Kept beside them: all ids up to the pad id, which some models compute with (RoBERTa's positions count what is not pad),
    and all special tokens.
    """
    import torch

    embedding = model.get_input_embeddings()
    pad = max(tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None) or 0)
    if not _is_plain(model, embedding) or pad > LARGEST_PAD_ID:
        return None
    occurring = {token for row in rows for token in row}
    kept = np.array(sorted(occurring | set(range(pad + 1)) | set(tokenizer.all_special_ids)), dtype=np.int64)
    if kept[-1] >= embedding.num_embeddings or len(kept) + 1 >= embedding.num_embeddings:
        return None
    table = embedding.weight.detach().clone()
    witness = torch.linspace(1, 2, embedding.embedding_dim + 1)[:-1].to(table)
    _put(embedding, torch.cat([table[torch.from_numpy(kept)], witness[None]]))
    return CompactVocabulary(embedding, kept, table, witness)


def _is_plain(model: Any, embedding: Any) -> bool:
    """A table of its own, indexed by token id and by nothing else."""
    import torch

    if type(embedding) is not torch.nn.Embedding or embedding.max_norm is not None:
        return False
    users = sum(parameter is embedding.weight for _, parameter in model.named_parameters(remove_duplicate=False))
    shared = users > 1 or getattr(model.config, "is_encoder_decoder", False)
    return not shared and embedding.num_embeddings == model.config.vocab_size and bool(embedding.weight.requires_grad)


def _put(embedding: Any, table: Any) -> None:
    import torch

    embedding.weight = torch.nn.Parameter(table.contiguous())
    embedding.num_embeddings = len(table)

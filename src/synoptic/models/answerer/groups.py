"""Groups of answers beside one prompt: what `decode` has drawn is read again, with gradient.

The prompt stands once, whatever the size of the group. Behind it stand the tokens of all its answers side by side; each
sees the prompt and the tokens before it in its own answer, by a mask. Only tokens from which something is predicted
take a place, so short answers cost little beside long ones.

Legend: N prompts, G answers of each, P tokens of the longest prompt, T tokens of the longest answer, A places for
answers, C = 1 + A places to predict from, S = P + A, M tokens scored, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synoptic.models.answerer.prompts import Sequences
from synoptic.models.answerer.scores import LOGITS, token_scores

if TYPE_CHECKING:
    from synoptic.models.answerer.model import Answerer


@dataclass(frozen=True, eq=False)
class Places:
    """Where the tokens of each prompt's answers stand behind it.

    Attributes:
        slot: which token stands at each place, ``[N, A]``: token t of answer g has the number ``t G + g``.
        filled: whether there is one ``[N, A]``.
        of: the place of each number ``[N, (T - 1) G]``; beyond A where the token takes none.
        group: G.
    """

    slot: Tensor
    filled: Tensor
    of: Tensor
    group: int

    def take(self, tokens: Tensor) -> Tensor:
        """Of something for every number, ``[N, (T - 1) G, ...]``, what stands at the places ``[N, A, ...]``."""
        index = self.slot.view(*self.slot.shape, *[1] * (tokens.ndim - 2))
        return tokens.gather(1, index.expand(-1, -1, *tokens.shape[2:]))


def places(length_NG: Tensor, steps: int) -> Places:
    """Places for answers of ``length_NG`` tokens, of which the last predicts nothing; ``steps`` is T."""
    group = length_NG.shape[1]
    time = torch.arange(steps - 1, device=length_NG.device)
    needed = (time[:, None] + 1 < length_NG[:, None]).flatten(1)
    # Stable, so that the tokens of an answer stay in their order.
    order = needed.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    width = int(needed.sum(1).max()) if steps > 1 else 0
    filled = torch.arange(width, device=length_NG.device) < needed.sum(1, keepdim=True)
    return Places(order[:, :width], filled, order.argsort(dim=1), group)


def mask_of(prompt_N: Tensor, longest: int, behind: Places) -> Tensor:
    """What each token sees, ``[N, 1, S, S]`` bool: the prompt all before it, an answer the prompt and itself."""
    count, width = behind.slot.shape
    device = prompt_N.device
    place = torch.arange(longest, device=device)
    causal = (place[None] <= place[:, None]).expand(count, -1, -1)
    above = torch.cat([causal, causal.new_zeros(count, longest, width)], dim=2)
    asked = (place < prompt_N[:, None])[:, None].expand(-1, width, -1)
    member = behind.slot % behind.group
    own = (member[:, :, None] == member[:, None]) & (behind.slot[:, None] <= behind.slot[:, :, None])
    below = torch.cat([asked, own & behind.filled[:, None]], dim=2)
    return torch.cat([above, below], dim=1)[:, None]


def positions_of(model: Answerer, prompts: Sequences, longest: int, behind: Places) -> Tensor:
    """Positions of all S tokens, as the decoder takes them; each answer counts on from its prompt."""
    device = behind.slot.device
    shift_N = torch.tensor([model.family.shift(grid) for grid in prompts.grids], device=device)
    next_N = prompts.prompt.to(device) + shift_N
    later = model.family.later(next_N[:, None] + behind.slot // behind.group)
    asked = model.positions(prompts, longest)
    return torch.cat([asked.expand(*later.shape[:-1], -1), later], dim=-1)


def embed_group(model: Answerer, hidden_NPD: Tensor, ids_NGT: Tensor) -> Tensor:
    """What enters block 0, ``[N, P + (T - 1) G, D]``, laid out as ``decode`` keeps it: prompts and their answers."""
    words = model.decoder.embed(ids_NGT[..., :-1].mT.flatten(1).to(hidden_NPD.device)).float()
    return torch.cat([hidden_NPD, words], dim=1)


def group_scores(
    model: Answerer, hidden: Tensor, prompts: Sequences, ids_NGT: Tensor, length_NG: Tensor, start: int,
    temperature: float = 1.0, logits: int = LOGITS,
) -> Tensor:  # fmt: skip
    """Log-probability of every token of every answer ``[N, G, T]`` under what is worn; zero behind an answer's end.

    Each prompt is computed once. Logits are computed in parts, of which none is kept, so memory grows with V or with
    the tokens, never with their product.

    Args:
        model: the base, wearing what is to be judged.
        hidden: what enters block ``start``, ``[N, P + (T - 1) G, D]``, from ``decode`` or `embed_group`; P may be
            more than these prompts need.
        prompts: the rows, without answers.
        ids_NGT: token ids.
        length_NG: tokens of each answer, the end token included.
        start: the first block to run.
        temperature: logits are divided by it.
        logits: how many are computed together.
    """
    device, group = hidden.device, ids_NGT.shape[1]
    prompt_N, length_NG = prompts.prompt.to(device), length_NG.to(device)
    wide, longest, steps = hidden.shape[1] - (ids_NGT.shape[2] - 1) * group, prompts.ids.shape[1], int(length_NG.max())
    behind = places(length_NG, steps)
    said = behind.take(hidden[:, wide : wide + (steps - 1) * group])
    hidden = torch.cat([hidden[:, :longest], said], dim=1)
    counted = torch.arange(ids_NGT.shape[2], device=device) < length_NG[..., None]
    row_M, member_M, time_M = counted.nonzero(as_tuple=True)
    # The token before decides: of an answer's first token, the prompt's last.
    before_M = torch.where(time_M > 0, 1 + _place(behind, row_M, (time_M - 1) * group + member_M), 0)
    from_NC = torch.cat([prompt_N[:, None] - 1, longest + torch.arange(behind.slot.shape[1], device=device)
                         .expand(len(prompt_N), -1)], dim=1)  # fmt: skip
    with model.precision():
        positions, mask = positions_of(model, prompts, longest, behind), mask_of(prompt_N, longest, behind)
        found_NCD = model.decoder.finish(hidden, positions, start, from_NC, mask)
        normed_MD = model.decoder.norm(found_NCD[row_M, before_M])

        def tempered(some: Tensor) -> Tensor:
            found: Tensor = model.decoder.head(some).float()
            return found if temperature == 1 else found.div_(temperature)

        logp_M, _ = token_scores(tempered, normed_MD, ids_NGT.to(device)[counted], model.vocabulary, logits)
    return logp_M.new_zeros(counted.shape).masked_scatter(counted, logp_M)


def _place(behind: Places, row_M: Tensor, number_M: Tensor) -> Tensor:
    """Places of tokens by number; anything for the numbers below zero, which nobody reads."""
    if not behind.of.shape[1]:
        return torch.zeros_like(row_M)
    return behind.of[row_M, number_M.clamp(min=0)]

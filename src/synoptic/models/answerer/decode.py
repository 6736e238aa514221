"""Decoding: a prompt is read once, and a group of samples shares its keys and values.

The samples of a prompt are laid side by side along the *token* axis: each sees the prompt and its own earlier tokens,
by a mask. So the prompt's keys and values exist once, whatever the size of the group, and rows stay client-major, which
is all that an adapter needs.

Legend: N prompts, G samples of each, P tokens of the longest prompt, T tokens said, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.models.answerer.prompts import Sequences

if TYPE_CHECKING:
    from synoptic.models.answerer.model import Answerer


@dataclass(frozen=True)
class Decoding:
    """How to decode.

    Attributes:
        samples: answers to each prompt.
        tokens: how long an answer may grow, its end token included.
        temperature: logits are divided by it; zero is greedy.
        top_p: only the likeliest tokens that together have this probability are drawn from.
    """

    samples: int = 1
    tokens: int = 32
    temperature: float = 0.0
    top_p: float = 1.0


GREEDY = Decoding()


@dataclass(frozen=True, eq=False)
class Decoded:
    """What was said.

    Attributes:
        ids: token ids ``[N, G, T]``, the end token included, the end token again behind it.
        length: tokens of each answer ``[N, G]``.
        log_probability: of each token as the model gives it, without temperature, ``[N, G, T]``; zero behind the end.
        texts: N lists of G texts.
        drawn_log_probability: the same at the temperature of the draw, before the nucleus is cut out.
        hidden: what entered the block that was asked for, ``[N, P + (T - 1) G, D]``: the prompt, then the first token
            of every sample, then the second one; nothing is predicted from the last. None where none was asked for.
    """

    ids: Tensor
    length: Tensor
    log_probability: Tensor
    texts: list[list[str]]
    drawn_log_probability: Tensor
    hidden: Tensor | None = None


class KeyValues:
    """Keys and values of one batch, block by block, in places taken beforehand."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._used: dict[int, int] = {}

    def update(self, keys: Tensor, values: Tensor, block: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take in those of new tokens ``[N, heads, new, width]``; all so far, as the library's attention asks for."""
        start = self._used.get(block, 0)
        stop = self._used[block] = start + keys.shape[2]
        if block not in self._kept:
            shape = (*keys.shape[:2], self._room, keys.shape[3])
            self._kept[block] = keys.new_empty(shape), values.new_empty(shape)
        for kept, new in zip(self._kept[block], (keys, values), strict=True):
            kept[:, :, start:stop] = new
        return self._kept[block][0][:, :, :stop], self._kept[block][1][:, :, :stop]


def choose(logits: Tensor, how: Decoding, draw: Tensor | None) -> Tensor:
    """The next tokens ``[...]`` for logits ``[..., V]``: the likeliest, or drawn by inverting the distribution.

    Args:
        logits: of the next token.
        how: temperature and nucleus.
        draw: uniform in 0..1 ``[...]``; not needed at temperature zero.
    """
    if how.temperature == 0 or draw is None:
        return logits.argmax(-1)
    probability = (logits / how.temperature).softmax(-1)
    if how.top_p >= 1:
        # Sorting a vocabulary costs as much as a small decoder, and a whole distribution needs no order.
        below = probability.cumsum(-1)
        return (below <= draw[..., None] * below[..., -1:]).sum(-1).clamp(max=probability.shape[-1] - 1)
    probability, token = probability.sort(dim=-1, descending=True, stable=True)
    before = probability.cumsum(-1) - probability
    inside = torch.where(before < how.top_p, probability, 0.0).cumsum(-1)
    place = (inside <= draw[..., None] * inside[..., -1:]).sum(-1, keepdim=True)
    last = (before < how.top_p).sum(-1, keepdim=True) - 1
    return token.gather(-1, place.minimum(last))[..., 0]


@torch.no_grad()
def decode(
    model: Answerer, hidden_NPD: Tensor, prompts: Sequences, how: Decoding,
    generators: Sequence[torch.Generator] | None = None, keep: int | None = None,
) -> Decoded:  # fmt: skip
    """Answer embedded prompts, wearing whatever is worn.

    Args:
        model: the base.
        hidden_NPD: what enters block 0.
        prompts: the rows, without answers.
        how: how to decode.
        generators: one for each of K clients, whose N / K rows follow one another; each client's draws are its own.
        keep: a block whose inputs are wanted afterwards.

    Raises:
        SynopticError: sampling without generators, or a prompt that leaves no room for an answer.
    """
    count, device = len(prompts), hidden_NPD.device
    longest = int(prompts.prompt.max())
    if longest + how.tokens > model.decoder.length:
        raise SynopticError(f"a prompt of {longest} tokens leaves no room for {how.tokens} more in the "
                            f"{model.decoder.length} that the model can hold", "ask for fewer tokens")  # fmt: skip
    draws = _draws(count, how, generators)
    prompt_N = prompts.prompt.to(device)
    step = _Steps(model, prompts, how, prompt_N, keep)
    logits_NGV = step.read(hidden_NPD)
    ids, logps, drawn = [], [], []
    done_NG = torch.zeros(count, how.samples, dtype=torch.bool, device=device)
    for t in range(how.tokens):
        token_NG = choose(logits_NGV, how, None if draws is None else draws[..., t].to(device))
        token_NG = torch.where(done_NG, model.end, token_NG)
        logp_NG = _log_probability(logits_NGV, token_NG)
        as_drawn = how.temperature in (0.0, 1.0)
        drawn_NG = logp_NG if as_drawn else _log_probability(logits_NGV / how.temperature, token_NG)
        ids.append(token_NG)
        logps.append(torch.where(done_NG, 0.0, logp_NG))
        drawn.append(torch.where(done_NG, 0.0, drawn_NG))
        done_NG = done_NG | torch.isin(token_NG, model.ends)
        if bool(done_NG.all()) or t + 1 == how.tokens:
            break
        logits_NGV = step.go_on(token_NG, t)
    ids_NGT, logp_NGT, drawn_NGT = (torch.stack(some, -1).cpu() for some in (ids, logps, drawn))
    return _decoded(model, ids_NGT, logp_NGT, drawn_NGT, torch.cat(step.kept, 1) if step.kept else None)


def _log_probability(logits_NGV: Tensor, token_NG: Tensor) -> Tensor:
    return logits_NGV.log_softmax(-1).gather(-1, token_NG[..., None])[..., 0]


def _draws(count: int, how: Decoding, generators: Sequence[torch.Generator] | None) -> Tensor | None:
    if how.temperature == 0:
        return None
    if not generators:
        raise SynopticError("answers were to be sampled without a generator", "give one for each client")
    shape = (count // len(generators), how.samples, how.tokens)
    return torch.cat([torch.rand(shape, generator=generator) for generator in generators])


class _Steps:
    """The decoder's side of decoding: reads prompts, then a token of every sample at a time."""

    def __init__(self, model: Answerer, prompts: Sequences, how: Decoding, prompt_N: Tensor, keep: int | None) -> None:
        self.kept: list[Tensor] = []
        self._keep = keep
        self._model = model
        self._prompts = prompts
        self._samples = how.samples
        self._prompt_N = prompt_N
        self._longest = prompts.ids.shape[1]
        self._cache = KeyValues(self._longest + how.samples * how.tokens)
        shifts = [model.family.shift(grid) for grid in prompts.grids]
        self._next_N = prompt_N + torch.tensor(shifts, device=prompt_N.device)
        device = prompt_N.device
        self._seen_NP = torch.arange(self._longest, device=device)[None] < prompt_N[:, None]
        self._own_GG = torch.eye(how.samples, dtype=torch.bool, device=device)

    def read(self, hidden_NPD: Tensor) -> Tensor:
        """Logits of the first token ``[N, G, V]``."""
        hidden = self._run(hidden_NPD, self._model.positions(self._prompts, self._longest), None)
        last_ND = hidden[torch.arange(len(hidden), device=hidden.device), self._prompt_N - 1]
        return self._logits(last_ND)[:, None].expand(-1, self._samples, -1)

    def go_on(self, token_NG: Tensor, said: int) -> Tensor:
        """Logits of the next token ``[N, G, V]`` after ``said`` + 1 tokens."""
        count = len(token_NG)
        position_NG = (self._next_N + said)[:, None].expand(-1, self._samples)
        prompt = self._seen_NP[:, None].expand(-1, self._samples, -1)
        own = self._own_GG.repeat(1, said + 1).expand(count, -1, -1)
        mask = torch.cat([prompt, own], dim=-1)[:, None]
        words = self._model.decoder.embed(token_NG).float()
        return self._logits(self._run(words, self._model.family.later(position_NG), mask))

    def _run(self, hidden: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        decoder = self._model.decoder
        with self._model.precision():
            if self._keep is not None:
                hidden = decoder.run(hidden, positions, 0, self._keep, mask, self._cache).float()
                self.kept.append(hidden)
            return decoder.run(hidden, positions, self._keep or 0, None, mask, self._cache).float()

    def _logits(self, hidden: Tensor) -> Tensor:
        with self._model.precision():
            logits: Tensor = self._model.decoder.head(self._model.decoder.norm(hidden)).float()
        return logits


def _decoded(
    model: Answerer, ids_NGT: Tensor, logp_NGT: Tensor, drawn_NGT: Tensor, hidden_NSD: Tensor | None
) -> Decoded:
    ended_NGT = torch.isin(ids_NGT, model.ends.cpu())
    length_NG = torch.where(ended_NGT.any(-1), ended_NGT.int().argmax(-1) + 1, ids_NGT.shape[-1])
    texts = [[_text(model, ids, ended) for ids, ended in zip(row, marks, strict=True)]
             for row, marks in zip(ids_NGT, ended_NGT, strict=True)]  # fmt: skip
    return Decoded(ids_NGT, length_NG, logp_NGT, texts, drawn_NGT, hidden_NSD)


def _text(model: Answerer, ids_T: Tensor, ended_T: Tensor) -> str:
    said = int(ended_T.int().argmax()) if bool(ended_T.any()) else len(ids_T)
    text: str = model.tokenizer.decode(ids_T[:said].tolist(), skip_special_tokens=True)
    return text.strip()

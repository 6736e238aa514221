"""The head that writes: a causal layer over the features and the words so far, between frozen word embeddings.

Every word that is written reads all features of its row (image, question or both) and the words before it. Words come
in by the text tower's embeddings and its projection, and go out by their likeness to the same embeddings, so neither
end is trained or sent. The official code of the paper never lets its text head see the features.

Legend: K clients, N = K * B rows (client-major), A tokens of the longest answer, S feature tokens, E joint width,
D width of word embeddings, V vocabulary, M counted tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.data.tasks import Task
from synoptic.models.answerer.scores import Scores, token_scores
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.multitask.backbone import Features
from synoptic.models.multitask.blocks import attention_shapes, bottleneck_shapes, head_block
from synoptic.models.multitask.layers import Tensors, attention, bottleneck, normed, per_client
from synoptic.models.towers import Tokens


@dataclass(frozen=True, eq=False)
class Answers:
    """Token ids ``[N, A]``, the end token last, and which of them count ``[N, A]`` bool."""

    ids: Tensor
    counted: Tensor

    def take(self, rows: Tensor) -> Answers:
        """Some of the rows, as short as they allow."""
        width = int(self.counted[rows].sum(1).max())
        return Answers(self.ids[rows, :width], self.counted[rows, :width])


class Writer:
    """Words in and out of a frozen dual encoder.

    Args:
        base: whose word embeddings.
        heads: attention heads.
    """

    def __init__(self, base: DualEncoder, heads: int) -> None:
        self._base = base
        self._heads = heads
        tokenizer = base.tokenizer
        self.end: int = tokenizer.eos_token_id
        # A tokenizer without a start token pads with something that no answer contains.
        starts = (tokenizer.bos_token_id, tokenizer.pad_token_id, 0)
        self.begin: int = next(token for token in starts if token is not None)
        words_VD = base.model.get_submodule("text_model.embeddings.token_embedding").weight
        self._words_VD = F.normalize(words_VD.float(), dim=-1)

    def shapes(self, width: int, rank: int) -> dict[str, tuple[int, ...]]:
        """Of a task's head."""
        parts = {"attention": attention_shapes(width, rank), "mlp": bottleneck_shapes(width, rank)}
        named = {f"{part}/{name}": shape for part, shapes in parts.items() for name, shape in shapes.items()}
        return {**named, "words": (self._words_VD.shape[1], width)}

    def encode(self, texts: Sequence[str]) -> Answers:
        """Token ids of answers.

        Raises:
            SynopticError: an empty answer, or one that is longer than the text tower.
        """
        rows = [self._base.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if not text.strip() or len(row) >= self._base.text.length:
                what = f"has {len(row)} tokens, more than the {self._base.text.length - 1} that can be written"
                raise SynopticError(f"the answer '{text}' {what if text.strip() else 'is empty'}",
                                    "shorten it, or leave it out")  # fmt: skip
        length = torch.tensor([len(row) + 1 for row in rows])
        ids = torch.full((len(rows), int(length.max())), self.end)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        counted = torch.arange(ids.shape[1]) < length[:, None]
        return Answers(ids.to(self._base.device), counted.to(self._base.device))

    def scores(self, worn: Tensors, task: Task, seen: Features, answers: Answers) -> Scores:
        """What the head says to given answers, every word predicted from the right ones before it."""
        hidden_NAD = self._hidden(worn, task, seen, answers.ids)
        found = token_scores(self._logits, hidden_NAD[answers.counted], answers.ids[answers.counted], self.vocabulary)
        logp_NA = found[0].new_zeros(answers.ids.shape).masked_scatter(answers.counted, found[0])
        best_NA = torch.ones_like(answers.counted).masked_scatter(answers.counted, found[1])
        return Scores(logp_NA, best_NA, answers.counted)

    def logits(self, worn: Tensors, task: Task, seen: Features, answers: Answers) -> Tensor:
        """Logits of every word at every place of given answers ``[N, A, V]``: for distillation, at small V."""
        return self._logits(self._hidden(worn, task, seen, answers.ids))

    @torch.no_grad()
    def write(self, worn: Tensors, task: Task, seen: Features, tokens: int) -> list[str]:
        """What the head says by itself, the likeliest word each time: one text of at most ``tokens`` tokens a row."""
        rows = len(seen.tokens)
        ids_NA = torch.empty(rows, 0, dtype=torch.long, device=seen.tokens.device)
        done_N = torch.zeros(rows, dtype=torch.bool, device=seen.tokens.device)
        for _ in range(min(tokens, self._base.text.length)):
            # The last id only makes room: what stands at a place is predicted from the places before it.
            room = F.pad(ids_NA, (0, 1), value=self.end)
            next_N = self._logits(self._hidden(worn, task, seen, room)[:, -1]).argmax(-1)
            ids_NA = torch.cat([ids_NA, torch.where(done_N, self.end, next_N)[:, None]], dim=1)
            done_N = done_N | (next_N == self.end)
            if bool(done_N.all()):
                break
        return [self._text(ids) for ids in ids_NA]

    @property
    def vocabulary(self) -> int:
        """How many words there are to choose from."""
        return len(self._words_VD)

    def _hidden(self, worn: Tensors, task: Task, seen: Features, ids_NA: Tensor) -> Tensor:
        """What stands at each place before it is compared with words, ``[N, A, D]``."""
        name = head_block(task)
        x_NAE = normed(self._embedded(F.pad(ids_NA[:, :-1], (1, 0), value=self.begin)))
        rows, length = ids_NA.shape
        causal = torch.ones(length, length, dtype=torch.bool, device=ids_NA.device).tril().expand(rows, -1, -1)
        mask = torch.cat([seen.mask[:, None].expand(-1, length, -1), causal], dim=2)
        around = torch.cat([seen.tokens, x_NAE], dim=1)
        x_NAE = x_NAE + attention(worn, [f"{name}/attention"], x_NAE, around, mask, self._heads)
        x_NAE = x_NAE + bottleneck(worn, [f"{name}/mlp"], normed(x_NAE))
        return per_client(normed(x_NAE), worn[f"{name}/words"])

    @torch.no_grad()
    def _embedded(self, ids_NA: Tensor) -> Tensor:
        tower = self._base.text
        with self._base.precision():
            hidden = tower.embed(Tokens(ids_NA, torch.zeros(len(ids_NA), dtype=torch.long)))
            return tower.states(hidden, len(tower.blocks)).float()

    def _logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self._words_VD.mT

    def _text(self, ids_A: Tensor) -> str:
        ids = ids_A.tolist()
        said = ids[: ids.index(self.end)] if self.end in ids else ids
        text: str = self._base.tokenizer.decode(said, skip_special_tokens=True)
        return text.strip()

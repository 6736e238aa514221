"""`Answerer`: a frozen generative vision-language model, worn with a stack of adapters.

Legend: K clients, N = K * B rows (client-major), T tokens, A tokens of the longest answer, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.sites import Site, find_sites, init_lora, linear_sites
from synoptic.adapters.spec import AdapterSpec, ConnectorLora, LoraSpec
from synoptic.adapters.stack import adapter
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.models.answerer.decoder import Decoder
from synoptic.models.answerer.families import Family, View
from synoptic.models.answerer.prompts import Prompts, Sequences
from synoptic.models.answerer.scores import Scores, token_scores
from synoptic.models.frozen import FrozenBase, lora_entry, names_of


class Answerer(FrozenBase):
    """A frozen generative model. The modules never change; what is trained is worn from outside.

    Args:
        model: from ``AutoModelForImageTextToText``.
        tokenizer: its tokenizer.
        family: what is particular about its kind.
        decoder: its language decoder, checked.
        fingerprint: hash of weights and configuration.
        name: what the user called it.
    """

    def __init__(
        self, model: Any, tokenizer: Any, family: Family, decoder: Decoder, fingerprint: str, name: str
    ) -> None:
        super().__init__(model, tokenizer, fingerprint, name)
        self.family = family
        self.preprocess = family
        self.decoder = decoder
        self.end: int = tokenizer.eos_token_id
        self.ends = torch.tensor(sorted(end_ids(model, tokenizer)), device=self.device)
        self.prompts = Prompts(family, tokenizer, self.decoder.length)

    # -- adapters ---------------------------------------------------------------------------------------------------

    def new_adapter(self, spec: AdapterSpec, seed: int) -> TensorDict:
        """A fresh adapter whose update is zero.

        Raises:
            SynopticError: prompts or heads, which only dual encoders have; layers, targets or a rank that this base
                does not have; or nothing to train at all.
        """
        if any(tower.prompt is not None or tower.head for tower in (spec.vision, spec.text)):
            raise SynopticError(f"{self.name} answers questions, and prompts and heads are for dual encoders",
                                "set adapter.text, adapter.vision or adapter.connector to lora")  # fmt: skip
        chosen = {"vision": spec.vision.lora, "connector": spec.connector.lora, "text": spec.text.lora}
        tensors: dict[str, Tensor] = {}
        for tower, lora in chosen.items():
            if lora is not None:
                tensors |= init_lora(tower, self.sites(tower, lora), lora, generator(seed, "adapter", tower))
        if not tensors:
            raise SynopticError("the adapter trains nothing: image tower, connector and decoder are frozen",
                                "set adapter.text, adapter.vision or adapter.connector to lora")  # fmt: skip
        return adapter(tensors)

    def sites(self, tower: str, spec: LoraSpec | ConnectorLora) -> list[Site]:
        """The LoRA sites of ``vision``, ``connector`` or ``text``."""
        if isinstance(spec, LoraSpec):
            return find_sites(self.model, self.family.vision_blocks if tower == "vision" else self.decoder.blocks, spec)
        return linear_sites(self.model, self.family.connector, spec.rank)

    def entry(self, stack: TensorDict | Mapping[str, Tensor]) -> int:
        """Depth at which the decoder stops being frozen under this stack; its number of blocks when it never does."""
        if self.sees(stack):
            return 0
        depth = lora_entry(names_of(stack, "text"), self.decoder.blocks)
        return len(self.decoder.blocks) if depth is None else depth

    def sees(self, stack: TensorDict | Mapping[str, Tensor]) -> bool:
        """Whether what the decoder reads of a picture depends on the stack."""
        return bool(names_of(stack, "vision") or names_of(stack, "connector"))

    # -- pictures ---------------------------------------------------------------------------------------------------

    def features(self, views: Sequence[View]) -> list[Tensor]:
        """What the decoder reads of each picture, ``[tokens, D]`` float32, wearing whatever is worn.

        With K clients worn on image tower or connector, views are client-major.
        """
        clients = max((len(tensor) for tensor in self._worn.values()), default=1)
        if clients == 1 or len({view.pixels.shape for view in views}) == 1 or not self.sees(self._worn):
            with self.precision():
                return [feature.float() for feature in self.family.features(views)]
        # Some families lay the patches of all pictures end to end, where clients' shares are of different lengths.
        width = len(views) // clients
        found: list[Tensor] = []
        for k in range(clients):
            with self.wearing({name: tensor[k : k + 1] for name, tensor in self._worn.items()}):
                found += self.features(views[k * width : (k + 1) * width])
        return found

    # -- words ------------------------------------------------------------------------------------------------------

    def embed(self, rows: Sequences, features: Sequence[Tensor]) -> Tensor:
        """What enters block 0, ``[N, T, D]`` float32: words, and each row's picture in its place."""
        ids_NT = rows.ids.to(self.device)
        hidden_NTD = self.decoder.embed(ids_NT).float()
        # An answer that a model made up may hold the picture's token too, where it is a word like any other.
        asked_NT = torch.arange(ids_NT.shape[1], device=self.device) < rows.prompt.to(self.device)[:, None]
        seen_NT = asked_NT & (ids_NT == self.family.image_id)
        return hidden_NTD.masked_scatter(seen_NT[..., None], torch.cat(list(features)))

    def positions(self, rows: Sequences, length: int) -> Tensor:
        """Positions of the first ``length`` tokens, as the decoder takes them."""
        return self.family.positions(length, rows.first.to(self.device), rows.grids)

    def run(self, hidden_NTD: Tensor, rows: Sequences, start: int, stop: int | None = None) -> Tensor:
        """Blocks ``start`` up to ``stop``, wearing whatever is worn; float32."""
        with self.precision():
            return self.decoder.run(hidden_NTD, self.positions(rows, hidden_NTD.shape[1]), start, stop).float()

    def scores(self, hidden_NTD: Tensor, rows: Sequences, start: int) -> Scores:
        """What the model says to the rows' answers, from hidden states at depth ``start``, wearing whatever is worn."""
        # Nothing is predicted from the last token of the longest row.
        hidden_NTD = hidden_NTD[:, : rows.ids.shape[1] - 1]
        prompt_N, said_N = rows.prompt.to(self.device), (rows.length - rows.prompt).to(self.device)
        place_A = torch.arange(int(said_N.max()), device=self.device)
        counted_NA = place_A < said_N[:, None]
        # The token before decides: hidden states one place to the left of what they predict.
        before_NA = torch.where(counted_NA, prompt_N[:, None] - 1 + place_A, 0)
        targets_NA = rows.ids.to(self.device).gather(1, before_NA + 1)
        with self.precision():
            positions = self.positions(rows, hidden_NTD.shape[1])
            chosen_MD = self.decoder.finish(hidden_NTD, positions, start, before_NA)[counted_NA]
            found = token_scores(
                self.decoder.head, self.decoder.norm(chosen_MD), targets_NA[counted_NA], self.vocabulary
            )
        logp_NA = found[0].new_zeros(counted_NA.shape).masked_scatter(counted_NA, found[0])
        best_NA = torch.ones_like(counted_NA).masked_scatter(counted_NA, found[1])
        return Scores(logp_NA, best_NA, counted_NA)

    def endings(self, hidden_NTD: Tensor, rows: Sequences, start: int) -> Tensor:
        """What stands at each row's last token ``[N, D]``, normed, float32, from hidden states at depth ``start``.

        With an answer that is its end token, which has seen the picture, the question and the whole answer.
        """
        last_N1 = rows.length.to(self.device)[:, None] - 1
        with self.precision():
            positions = self.positions(rows, hidden_NTD.shape[1])
            return self.decoder.norm(self.decoder.finish(hidden_NTD, positions, start, last_N1))[:, 0].float()

    def judged(self, hidden_NTD: Tensor, rows: Sequences, start: int) -> tuple[Tensor, Tensor]:
        """`endings` ``[N, D]`` and the mean log-probability ``[N]`` of each answer's tokens, in one pass."""
        prompt_N, said_N = rows.prompt.to(self.device), (rows.length - rows.prompt).to(self.device)
        place_A = torch.arange(int(said_N.max()) + 1, device=self.device)
        counted_NA = place_A[:-1] < said_N[:, None]
        # One place more than `scores` reads: the end token, from which nothing is predicted.
        at_NA = torch.where(place_A <= said_N[:, None], prompt_N[:, None] - 1 + place_A, 0)
        targets_NA = rows.ids.to(self.device).gather(1, torch.where(counted_NA, at_NA[:, :-1], 0) + 1)
        with self.precision():
            positions = self.positions(rows, hidden_NTD.shape[1])
            states_NAD = self.decoder.norm(self.decoder.finish(hidden_NTD, positions, start, at_NA))
            read_MD, targets_M = states_NAD[:, :-1][counted_NA], targets_NA[counted_NA]
            logp_M, _ = token_scores(self.decoder.head, read_MD, targets_M, self.vocabulary)
        logp_NA = logp_M.new_zeros(counted_NA.shape).masked_scatter(counted_NA, logp_M)
        return states_NAD[torch.arange(len(said_N), device=self.device), said_N].float(), logp_NA.sum(1) / said_N

    @property
    def vocabulary(self) -> int:
        """How many logits there are."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight.shape[0]


def end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's, and those at which the library stops generating."""
    also = getattr(model.generation_config, "eos_token_id", None)
    return {tokenizer.eos_token_id, *(also if isinstance(also, list) else [] if also is None else [also])}

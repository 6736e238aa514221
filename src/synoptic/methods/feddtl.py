"""FedDTL (Ma, Cheng & Xu 2026, arXiv 2605.27900), as reconstructed: images train on clients, names on the server.

Clients tune the image tower against the names' embeddings that the server sends; the server averages, and tunes the
text tower on the image embeddings and labels that clients send back. After a warm-up with labels (SFT), clients learn
from rewards (RL), held to a mixture of the warm-up's last model and the current one. Variants and controls are
settings; docs/methods/feddtl.md tells what each one stands for.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import agreement, difference
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import adapter, expand, leaves, select
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.learning.alignment import AlignmentLoss
from synoptic.learning.classifier import image_embeddings
from synoptic.learning.likeness import mean_cka
from synoptic.learning.policy import MEASURES, PolicyLoss, hybrid_reference
from synoptic.learning.uplink import oddity, pack_all, unpack_all, uplink
from synoptic.methods.base import Cohort, Method, Replies, Server, task
from synoptic.methods.fedavg import MEANS
from synoptic.methods.feddtl_settings import FedDTLSettings
from synoptic.models.vocabulary import generic_words, nameless

WITNESSES = 64
"""Test images of the server on which clients' encoders are compared; nothing is learned from them."""

BOTH: dict[str, Any] = {"vision": "lora", "text": "lora"}


class FedDTL(Method):
    """Decoupled towers, two stages."""

    class Settings(FedDTLSettings):
        """Variants and controls; see `feddtl_settings`."""

    summary = "images train on clients, names on the server; SFT, then RL (Ma et al. 2026)"
    adapter = AdapterSpec.model_validate(BOTH)
    dual_encoder_only = True
    defaults: ClassVar = {"train.epochs": 2}

    def begin(self, server: Server) -> None:
        """Share the fresh adapter out: ``state.adapter`` is the clients' part, ``state.text`` the server's."""
        whole, s, data = server.new_adapter(), self.settings, server.bench.data
        theirs = select(whole, *([] if s.vision == "frozen" else ["*"] if s.text == "clients" else ["vision/*"]))
        ours = select(whole, *(["text/*"] if s.text == "server" else []))
        for tower, who in (("vision", s.vision), ("text", s.text)):
            if who != "frozen" and not leaves(select(whole, f"{tower}/*")):
                raise SynopticError(f"feddtl tunes the {tower} tower, but adapter.{tower} trains nothing",
                                    f"set adapter.{tower}=lora, or method.{tower}=frozen")  # fmt: skip
        if silent := nameless(
            server.bench.classifier.model, data.template, [data.class_names[c] for c in data.base_classes]
        ):
            raise SynopticError(f"the tokeniser keeps nothing of the class name {silent[0]!r}",
                                "give the class a name in data.class_names")  # fmt: skip
        server.state.adapter, server.state.text = theirs, ours

    def round(self, server: Server, t: int) -> None:
        """Clients tune images, the server averages and tunes names; the state changes when all of it has succeeded."""
        s, state, begins = self.settings, server.state, self.settings.begins(server.bench.rounds)
        first = t < begins or s.second_stage == "sft"
        if not first and s.second_stage == "stop":
            return
        if t == begins:
            state.anchor = state.adapter
        shared, text, replies = state.adapter, state.text, None
        if s.vision == "clients":
            payload = {"adapter": shared} | ({"text": names(server)} if s.text == "server" else {})
            replies = server.ask("sft", **payload) if first else server.ask("rl", anchor=state.anchor, **payload)
            shared = MEANS[s.mean](replies.adapter, replies.examples)
            self._log(server, replies)
        if s.text == "server" and (t < begins or s.text_stages == "both"):
            text = self._tune_names(server, self._told(server, replies, shared))
        state.adapter, state.text = shared, text

    @task
    def sft(self, cohort: Cohort, adapter: TensorDict, text: Tensor | None = None) -> Replies:
        """Cross-entropy against the names' embeddings."""
        fitted = cohort.fit(adapter, cohort.classification(text))
        told = self._embedded(cohort, fitted.stack)
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, **told)

    @task
    def rl(self, cohort: Cohort, adapter: TensorDict, anchor: TensorDict, text: Tensor | None = None) -> Replies:
        """Clipped policy gradient (or cross-entropy, for the control) and divergence from the hybrid reference."""
        s, train = self.settings, cohort.bench.train
        problem, positions = cohort.classification(text), np.unique(np.concatenate(cohort.positions))
        reference = hybrid_reference(problem, positions, anchor, adapter, s)
        streams = [cohort.generator(client, "noise") for client in cohort.clients]
        epoch = [-(-len(own) // train.batch_size) for own in cohort.positions]
        loss = PolicyLoss(problem, s, reference, streams, epoch, supervised=s.second_stage == "sft+kl")
        fitted = cohort.fit(adapter, loss, train=train.model_copy(update={"epochs": s.second_epochs or train.epochs}))
        told = self._embedded(cohort, fitted.stack)
        return cohort.reply(
            adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, measures=loss.measures, **told
        )

    @task
    def embed(self, cohort: Cohort, adapter: TensorDict | None = None) -> Replies:
        """What the images look like through the encoder that the server sends, or the untouched one."""
        return cohort.reply(**self._pack(cohort, adapter))

    def _embedded(self, cohort: Cohort, stack: TensorDict) -> dict[str, list[Tensor]]:
        """What a client tells of its images right after training, if it does so then."""
        s = self.settings
        due = cohort.round < s.begins(cohort.bench.rounds) or s.text_stages == "both"
        return self._pack(cohort, stack) if due and s.text == "server" and s.pairing == "local" else {}

    def _pack(self, cohort: Cohort, worn: TensorDict | None) -> dict[str, list[Tensor]]:
        streams = [cohort.generator(client, "uplink") for client in cohort.clients]
        return pack_all(
            uplink(self.settings.uplink, self.settings.cap), cohort.embeddings(worn), cohort.labels, streams
        )

    def _told(self, server: Server, replies: Replies | None, shared: TensorDict) -> Replies:
        """Replies with embeddings: those of the training, or of a pass with the averaged or the untouched encoder."""
        if replies is None:
            replies = server.ask("embed")
        elif self.settings.pairing == "averaged":
            replies = server.ask("embed", to=replies.clients, adapter=shared)
        classes, dim = len(server.bench.data.base_classes), server.bench.classifier.model.dim
        return server.refuse(replies, "embed", lambda _, told: oddity(told, classes, dim))

    def _tune_names(self, server: Server, told: Replies) -> TensorDict:
        """Cross-entropy of the embeddings against the names, over the text tower's adapter alone."""
        s, bench = self.settings, server.bench
        streams = [generator(bench.seed, "names", server.round, client) for client in told.clients]
        fields = [told.of(place) for place in range(len(told))]
        images, labels = unpack_all(uplink(s.uplink, s.cap), fields, streams)
        words = generic_words(bench.classifier.model, s.guard_words, bench.seed) if s.novel_guard else []
        guarded = [bench.data.template.replace("{}", word) for word in words]
        loss = AlignmentLoss(bench.classifier, bench.data.base_classes, images, labels, guarded, s.novel_guard)
        fitted = server.fit(server.state.text, len(labels), loss, s.server)
        server.log["server_loss"] = float(fitted.loss)
        return fitted.stack[0]

    def _log(self, server: Server, replies: Replies) -> None:
        share = replies.examples / replies.examples.sum()
        server.log["loss"] = float(replies.loss @ share)
        if len(replies) > 1:
            server.log["agreement"] = agreement(difference(replies.adapter, server.state.adapter))
            server.log |= alike(server, replies.adapter)
        if "measures" in replies.fields:
            server.log |= dict(zip(MEASURES, (share @ replies.measures).tolist(), strict=True))

    def shared_model(self, server: Server) -> TensorDict:
        """Both parts, side by side."""
        return adapter({**leaves(server.state.adapter), **leaves(server.state.text)})


@torch.no_grad()
def names(server: Server) -> Tensor:
    """Embeddings ``[C, E]`` of the base classes' names under the server's text adapter."""
    bench, worn = server.bench, leaves(expand(server.state.text, 1))
    with bench.model.wearing(worn):
        return bench.classifier.texts(worn, bench.data.base_classes, 1)[0]


@torch.no_grad()
def alike(server: Server, stack: TensorDict) -> dict[str, float]:
    """How alike clients' encoders see the server's test images (mean CKA of pairs), as ``cka``; nothing without any."""
    bench = server.bench
    count = len(bench.data.test)
    if count < 2:
        return {}
    some = np.unique(np.linspace(0, count - 1, WITNESSES).astype(np.int64))
    seen = image_embeddings(bench.classifier, bench.test_rows, leaves(stack), [some] * len(stack))
    return {"cka": mean_cka(torch.stack(seen))}

"""FedDTL against its equations in plain PyTorch, and the settings at which it is something simpler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor

from rooms import BOTH, VISION, bench, digits, final, furthest, play, pooled, reference, same, serve, world
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.stack import leaves, select, stack_of
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.federation.bench import Bench
from synoptic.federation.server import Server
from synoptic.learning.batches import plan
from synoptic.methods.base import load_method
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.feddtl import FedDTL

SGD = {"optimizer": "sgd", "lr": 0.02}
SERVER = {"optimizer": "sgd", "lr": 0.03, "batch_size": 16}


def feddtl(**settings: Any) -> FedDTL:
    return FedDTL(FedDTL.Settings.model_validate(settings))


def played(on: Bench, rounds: int = 2, stack: int = 99, **settings: Any) -> Server:
    method = feddtl(**settings)
    return play(method, serve(method, on, stack=stack), rounds)


def shared(on: Bench, rounds: int = 2, **settings: Any) -> TensorDict:
    return feddtl().shared_model(played(on, rounds, **settings))


# -- the equations ---------------------------------------------------------------------------------


class Plain:
    """The paper's round, one client and one step at a time, on Hugging Face's model with merged weights."""

    def __init__(self, on: Bench) -> None:
        self.on, self.model = on, reference(on.data)
        whole = on.new_adapter()
        self.vision, self.text = (leaves(select(whole, f"{tower}/*")) for tower in ("vision", "text"))
        place = {int(label): index for index, label in enumerate(on.data.base_classes)}
        self.labels = torch.tensor([place[int(label)] for label in on.data.train.labels])

    def round(self, t: int, rl: bool) -> None:
        if rl and not hasattr(self, "anchor"):
            self.anchor = self.vision
        trained, images, labels, counts = [], [], [], []
        for k in range(len(self.on.data.clients)):
            positions = self.on.data.clients.train(k)
            trained.append(self.local(t, k, rl))
            images.append(self.embed(trained[-1], positions))
            labels.append(self.labels[positions])
            counts.append(len(positions))
        share = torch.tensor(counts) / sum(counts)
        self.vision = {name: sum(s * own[name] for s, own in zip(share, trained, strict=True)) for name in self.vision}
        self.align(t, torch.cat(images), torch.cat(labels))

    def local(self, t: int, k: int, rl: bool) -> dict[str, Tensor]:
        tensors, _, step = self.movable(self.vision, SGD["lr"])
        noise = generator(self.on.seed, "noise", t, k)
        epochs = self.on.train.model_copy(update={"epochs": 3 if rl else self.on.train.epochs})
        for rows in plan(self.on.data.clients.train(k), epochs, self.on.seed, t, k):
            log_p = self.model.logits({**tensors, **self.text}, rows).log_softmax(-1)
            y = self.labels[rows]
            loss = self.reinforced(tensors, log_p, rows, y, noise) if rl else F.nll_loss(log_p, y)
            step.zero_grad()
            loss.backward()
            step.step()
        return {name: tensor.detach() for name, tensor in tensors.items()}

    def reinforced(
        self, tensors: dict[str, Tensor], log_p: Tensor, rows: np.ndarray, y: Tensor, noise: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            # On the unit sphere the relative noise is the same as on the latent before normalisation.
            z, names = self.embed(tensors, rows), self.names()
            shaken = z[:, None] + 1.5 / z.shape[1] ** 0.5 * torch.randn(len(rows), 3, z.shape[1], generator=noise)
            a = (shaken @ names.T).argmax(-1)
            r = (a == y[:, None]).float()
            std = r.std(1, unbiased=False, keepdim=True)
            advantage = torch.where(std > 0, (r - r.mean(1, keepdim=True)) / (std + 1e-8), 0.0)
            ref = self.model.logits({**self.hybrid(), **self.text}, rows).log_softmax(-1).gather(1, a)
        new = log_p.gather(1, a)
        rho, u = (new - new.detach()).exp(), (ref - new).exp()
        gain = torch.min(rho * advantage, rho.clamp(0.8, 1.2) * advantage)
        return -(gain - 0.5 * (u - u.log() - 1)).mean()

    def hybrid(self) -> dict[str, Tensor]:
        two = stack_of([TensorDict(self.anchor, []), TensorDict(self.vision, [])])
        merged = {}
        for stem in lora_stems(two):
            update = (dense(two[0], stem) + dense(two[1], stem)) / 2
            merged |= {f"{stem}/A": update, f"{stem}/B": torch.eye(len(update)), f"{stem}/scale": torch.tensor(1.0)}
        return merged

    def align(self, t: int, images: Tensor, labels: Tensor) -> None:
        tensors, _, step = self.movable(self.text, SERVER["lr"])
        spec = self.on.train.model_copy(update={"batch_size": SERVER["batch_size"], "epochs": 1})
        for rows in plan(np.arange(len(labels)), spec, self.on.seed, t, -1):
            names = self.names(tensors)
            loss = F.cross_entropy(self.on.model.logit_scale * images[rows] @ names.T, labels[rows])
            step.zero_grad()
            loss.backward()
            step.step()
        self.text = {name: tensor.detach() for name, tensor in tensors.items()}

    def movable(self, start: dict[str, Tensor], lr: float) -> tuple[dict[str, Tensor], list[Tensor], Any]:
        tensors = {name: tensor.clone() for name, tensor in start.items()}
        moved = [tensor.requires_grad_() for name, tensor in tensors.items() if not name.endswith("/scale")]
        return tensors, moved, torch.optim.SGD(moved, lr)

    def embed(self, vision: dict[str, Tensor], positions: np.ndarray) -> Tensor:
        return self.model.outputs(vision, positions).image_embeds.detach()

    def names(self, text: dict[str, Tensor] | None = None) -> Tensor:
        return self.model.names(self.text if text is None else text)


def test_two_stages_are_the_papers_equations() -> None:
    """A round of SFT and two of RL; the last has a reference that is neither model alone."""
    on = bench(digits(3, 48), BOTH, batch_size=6, rounds=3, **SGD)
    plain = Plain(on)
    for t in range(3):
        plain.round(t, rl=t >= 1)
    ours = shared(on, 3, warm_up=1, noise=1.5, server=SERVER)
    assert furthest(ours, on.new_adapter()) > 1e-2
    assert furthest(ours, TensorDict({**plain.vision, **plain.text}, [])) < 1e-4


def test_the_second_stage_needs_its_noise() -> None:
    """F11: without noise all advantages are zero; what is left is the divergence, which is zero at the start."""
    on = bench(digits(), VISION, **SGD)
    server = played(on, 3, warm_up=0, text="frozen", noise=0.0)
    assert same(server.state.adapter, on.new_adapter())
    assert server.log["zero_variance"] == 1.0
    assert server.log["kl"] == 0.0


# -- reductions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(("text", "adapter"), [("frozen", VISION), ("clients", BOTH)])
def test_with_nothing_on_the_server_and_no_second_stage_it_is_fedavg_bit_for_bit(
    optimizer: str, text: str, adapter: dict[str, Any]
) -> None:
    on = bench(digits(), adapter, optimizer=optimizer, lr=0.01)
    for stages in ({"warm_up": 99}, {"warm_up": 0, "second_stage": "sft"}):
        assert same(shared(on, text=text, **stages), final(FedAvg(), on))


def test_the_product_mean_is_fedavgs_too() -> None:
    on = bench(digits(), VISION, **SGD)
    product = FedAvg(FedAvg.Settings(mean="product"))
    assert same(shared(on, text="frozen", warm_up=9, mean="product"), final(product, on))


def test_one_client_whose_text_is_frozen_is_centralized_training() -> None:
    on = bench(pooled(digits()), VISION, **SGD)
    assert same(shared(on, text="frozen", warm_up=9), final(load_method("centralized")(), on))


def test_server_text_only_is_training_the_text_tower_on_pooled_features() -> None:
    whole = {"batch_size": 999, "optimizer": "sgd", "lr": 1.0}
    split, together = bench(digits(), BOTH, **whole), bench(pooled(digits()), {"text": BOTH["text"]}, **whole)
    ours = shared(split, vision="frozen", server={**whole})
    assert set(leaves(ours)) == set(leaves(together.new_adapter()))
    assert furthest(ours, together.new_adapter()) > 1e-3
    assert furthest(ours, final(FedAvg(), together)) < 1e-5


def test_when_it_stops_after_the_warm_up_the_rest_changes_and_sends_nothing() -> None:
    on = bench(digits(), BOTH, **SGD)
    short, stopped = (played(on, rounds, warm_up=2, second_stage="stop") for rounds in (2, 5))
    assert same(short.state.adapter, stopped.state.adapter)
    assert same(short.state.text, stopped.state.text)
    assert short.ledger.summary() == stopped.ledger.summary()
    assert short.work == stopped.work


def test_the_supervised_control_without_divergence_is_sft_with_as_many_epochs() -> None:
    on = bench(digits(), VISION, epochs=2, **SGD)
    control = shared(on, text="frozen", warm_up=0, second_stage="sft+kl", beta=0.0, second_epochs=2)
    assert furthest(control, final(FedAvg(), on)) < 1e-5
    held = shared(on, text="frozen", warm_up=0, second_stage="sft+kl", beta=50.0, second_epochs=2)
    assert furthest(held, on.new_adapter()) < furthest(control, on.new_adapter())


def test_a_cap_above_all_counts_and_a_guard_of_zero_change_nothing() -> None:
    on = bench(digits(), BOTH, **SGD)
    assert same(shared(on, uplink="capped", cap=999), shared(on))
    assert same(shared(on, novel_guard=0.0, guard_words=3), shared(on))


def test_with_one_image_in_a_class_prototypes_are_the_embeddings() -> None:
    """No two images of a client are of one class, so there is no variance and a mean is an image."""
    from rooms import shared_out

    data = shared_out(digits(), [1, 1, 1])
    on = bench(data, BOTH, **SGD)
    assert furthest(shared(on, uplink="prototypes"), shared(on)) < 1e-5


# -- variants do what they say ---------------------------------------------------------------------


def test_averaged_pairing_tunes_names_to_what_the_averaged_encoder_sees() -> None:
    on = bench(digits(), BOTH, epochs=3, **SGD)
    method = feddtl(pairing="averaged")
    server = serve(method, on)
    method.begin(server)
    seen: list[TensorDict | None] = []
    original = method._pack

    def looking(cohort: Any, worn: TensorDict | None) -> Any:
        seen.append(worn)
        return original(cohort, worn)

    method._pack = looking  # type: ignore[method-assign]
    method.round(server, 0)
    (worn,) = seen
    assert worn is not None
    assert same(worn, server.state.adapter)
    assert furthest(shared(on), shared(on, pairing="averaged")) > 1e-5


@pytest.fixture(scope="module")
def usual() -> tuple[Bench, TensorDict]:
    on = bench(digits(3, 36), BOTH, batch_size=6, **SGD)
    return on, shared(on, 3, warm_up=1, noise=2.0, server=SERVER)


@pytest.mark.parametrize(
    "settings",
    [
        {"uplink": "prototypes"}, {"uplink": "capped", "cap": 1}, {"policy_gradient": "exact"}, {"old": "epoch"},
        {"action": "sample"}, {"reference": "probabilities"}, {"reference_mix": 1.0}, {"novel_guard": 50.0},
        {"text_stages": "first"}, {"text": "clients"}, {"text": "frozen"}, {"vision": "frozen"}, {"mean": "product"},
        {"second_stage": "sft+kl"}, {"second_stage": "sft"}, {"sigma": 3.0}, {"pairing": "averaged"},
        {"server": {"epochs": 2}}, {"second_epochs": 1}, {"group": 5}, {"beta": 3.0},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_changes_the_result_and_stacks_as_it_runs_alone(settings: dict[str, Any], usual: Any) -> None:
    on, common = usual[0], {"warm_up": 1, "noise": 2.0}
    changed = {**common, **settings, "server": {**SERVER, **settings.get("server", {})}}
    stacked, alone = (feddtl().shared_model(played(on, 3, stack=stack, **changed)) for stack in (99, 1))
    assert furthest(stacked, alone) < 1e-5
    assert set(leaves(usual[1])) != set(leaves(stacked)) or furthest(usual[1], stacked) > 1e-6


def test_the_guard_holds_generic_words_nearer_to_where_they_were() -> None:
    on = bench(world(), BOTH, **SGD)
    words = ("a photo of a house.", "a photo of a seven.")
    moved = []
    for guard in (0.0, 30.0):
        server = played(on, 3, novel_guard=guard, guard_words=10**6, server={"lr": 0.02, "epochs": 4})
        worn = leaves(server.state.text.unsqueeze(0))
        with on.model.wearing(worn):
            now = on.classifier.sentences(worn, words, 1)
        moved.append(float((now - on.classifier.sentences({}, words, 1)).norm()))
    assert moved[1] < 0.8 * moved[0]


@pytest.mark.parametrize("uplink", ["embeddings", "prototypes"])
def test_messages_as_bytes_change_nothing(uplink: str) -> None:
    on = bench(digits(), BOTH, batch_size=6, **SGD)
    method = feddtl(warm_up=1, uplink=uplink, noise=2.0)
    here, wired = (play(method, serve(method, on, stack=2, wire=wire), 3) for wire in (False, True))
    assert same(method.shared_model(here), method.shared_model(wired))
    assert here.ledger.summary() == wired.ledger.summary()


@pytest.mark.parametrize("pairing", ["local", "averaged"])
def test_whoever_takes_part_for_the_first_time_in_the_second_stage_has_what_it_needs(pairing: str) -> None:
    method = feddtl(warm_up=1, pairing=pairing)
    server = serve(method, bench(digits(), BOTH, **SGD), participation=1)
    method.begin(server)
    asked = []
    for t in range(6):
        server.round = t
        asked += server.sampled
        method.round(server, t)
        assert server.failures == []
    assert len(set(asked)) > 1, "the cohorts must differ, or this proves nothing"


def test_what_a_round_logs() -> None:
    on = bench(digits(), BOTH, **SGD)
    first, second = played(on, 1, warm_up=1), played(on, 2, warm_up=1)
    assert set(first.log) == {"loss", "server_loss", "agreement", "cka"}
    assert set(second.log) == {
        "loss", "server_loss", "agreement", "cka", "reward", "kl", "entropy", "zero_variance", "clip_fraction",
    }  # fmt: skip
    assert 0 <= second.log["reward"] <= 1
    assert second.log["clip_fraction"] == 0.0


def test_server_training_is_counted() -> None:
    on = bench(digits(4, 72), BOTH, epochs=2, batch_size=8, **SGD)
    server = played(on, 2, warm_up=1, server={"batch_size": 32, "epochs": 2})
    steps = [-(-len(on.data.clients.train(k)) // 8) for k in range(4)]
    assert server.work["steps"] == (2 + 3) * sum(steps)
    assert server.work["examples"] == (2 + 3) * 72
    assert server.work["server_steps"] == 2 * 2 * 3
    assert server.work["server_examples"] == 2 * 2 * 72


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "settings", "sentence"),
    [
        (VISION, {}, r"tunes the text tower, but adapter.text trains nothing; set adapter.text=lora, or method.text"),
        (VISION, {"text": "clients"}, "tunes the text tower"),
        ({"text": "lora"}, {}, "tunes the vision tower"),
        ({"text": "lora"}, {"text": "clients"}, "tunes the vision tower"),
    ],
)
def test_a_tower_that_is_to_be_tuned_must_have_an_adapter(
    adapter: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SynopticError, match=sentence):
        played(bench(digits(), adapter), 1, **settings)


def test_nobody_training_anything_is_no_setting() -> None:
    with pytest.raises(ValueError, match="only the server trains"):
        feddtl(vision="frozen", text="frozen")


def test_the_state_is_what_a_checkpoint_holds_and_nothing_else() -> None:
    server = played(bench(digits(), BOTH), 3, warm_up=1)
    assert sorted(server.state) == ["adapter", "anchor", "text"]
    assert not same(server.state.anchor, server.state.adapter)

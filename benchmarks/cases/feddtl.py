"""What cache, stacks and one encoder pass per image save FedDTL, against the same algorithm as a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.bare import load_clip, wear
from benchmarks.bare_feddtl import Plan, State, feddtl_round
from benchmarks.cases.overhead import agreement
from benchmarks.measure import Result, interleaved, paired, rounded
from benchmarks.workload import ROUNDS, SEED, bare_names, evenly, large_digits, tiny_clip, vit_b_32
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import adapter, leaves
from synoptic.core.seeds import generator
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.local import LocalFederation
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import SERVER, Server
from synoptic.federation.spec import FederationSpec
from synoptic.learning.batches import plan
from synoptic.learning.spec import TrainSpec
from synoptic.methods.feddtl import BOTH, FedDTL
from synoptic.models.cache import Budget
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import load_dual_encoder

STAGES = ("sft", "rl")


@dataclass
class Sides:
    """One job on both sides, with the state that each stage is timed from."""

    bench: Bench
    method: FedDTL
    clip: Path
    starts: dict[str, tuple[Any, Any]]

    def server(self, stack: int, stage: str) -> Callable[[], Server]:
        """A round of a stage by the path that a run takes, always from the same state."""
        server = Server(self.bench, LocalFederation(self.method, self.bench, PersonalStore(), stack), FederationSpec())
        t = self.round_of(stage)

        def once() -> Server:
            server.state.adapter, server.state.text = self.starts[stage]
            server.state.anchor = self.starts["sft"][0]
            server.round = t
            self.method.round(server, t)
            return server

        return once

    def bare(self, stage: str) -> Callable[[], State]:
        """The same by the plain loop, on models of its own."""
        model = load_clip(self.clip)
        vision_of, text_of = (wear(model, bare_names(leaves(part))) for part in self.starts["sft"])
        vision, text = (bare_names(leaves(part)) for part in self.starts[stage])
        state = State(vision, text, bare_names(leaves(self.starts["sft"][0])))
        reference = load_clip(self.clip) if stage == "rl" else None
        return partial(feddtl_round, model, vision_of, text_of, self.plan(stage), state, reference)

    def round_of(self, stage: str) -> int:
        """The first round of the first stage, the second of the second: both models of the reference then differ."""
        return 0 if stage == "sft" else self.method.settings.begins(self.bench.rounds) + 1

    def plan(self, stage: str) -> Plan:
        """Batches and noise of the stage's round as plain tensors."""
        bench, t = self.bench, self.round_of(stage)
        data, model, clients = bench.data, bench.model, range(len(bench.data.clients))
        assert isinstance(model, DualEncoder)
        epochs = bench.train.epochs if stage == "sft" else self.method.settings.second_epochs
        train = bench.train.model_copy(update={"epochs": epochs})
        place = np.full(len(data.class_names), -1)
        place[data.base_classes] = np.arange(len(data.base_classes))
        held = [data.clients.train(k) for k in clients]
        everybody = np.arange(sum(map(len, held)))
        return Plan(
            pixels_N3HW=model.pixels(data.train.images.load(np.arange(len(data.train)))).contiguous(),
            labels_N=torch.from_numpy(place[data.train.labels]),
            ids_CT=model.tokenize([data.prompts()[index] for index in data.base_classes]).ids_NT,
            held=[torch.from_numpy(rows) for rows in held],
            batches=[[torch.from_numpy(rows) for rows in plan(held[k], train, SEED, t, k)] for k in clients],
            server_batches=[
                torch.from_numpy(rows) for rows in plan(everybody, self.method.settings.server, SEED, t, SERVER)
            ],
            noise=lambda client: generator(SEED, "noise", t, client),
            lr=train.lr,
        )


def sides(clip: Path, name: str, data: FederatedData, batch: int) -> Sides:
    """Both sides of a job; the second stage starts from what a round of the first gives."""
    settings = FedDTL.Settings.model_validate({"server": {"epochs": 3, "batch_size": batch}})
    train = TrainSpec(lr=1e-3, batch_size=batch, epochs=2)
    spec = AdapterSpec.model_validate(BOTH)
    bench = make_bench(load_dual_encoder(name), data, spec, train, SEED, ROUNDS, Budget(2**31))
    method = FedDTL(settings)
    server = Server(bench, LocalFederation(method, bench, PersonalStore(), 1), FederationSpec())
    method.begin(server)
    here = Sides(bench, method, clip, {"sft": (server.state.adapter, server.state.text)})
    after = here.server(1, "sft")()
    return replace(here, starts={**here.starts, "rl": (after.state.adapter, after.state.text)})


def measure(quick: bool) -> Result:
    """`feddtl_speedup` and its variants, one thread on both sides."""
    torch.set_num_threads(1)
    shots = 4 if quick else 16
    world = build(DataSpec(source="world", clients=5, shots=shots, partition="classes"), SEED)
    repeats = 3 if quick else 9
    result = _case("", tiny_clip(), "tiny-clip", world, 16, repeats, "tiny-clip; the world, 16 shots, five clients")
    if not quick:
        full = build(DataSpec(source="world", clients=5, partition="classes"), SEED)
        result.merge(_case("_full", tiny_clip(), "tiny-clip", full, 32, 5, "tiny-clip; the world, all data"))
        with TemporaryDirectory(prefix="synoptic-bench-") as folder:
            clip = vit_b_32(Path(folder))
            large = evenly(large_digits(64, 224), 2)
            what = "CLIP ViT-B/32 with random weights; 64 images at two clients"
            result.merge(_case("_vitb", clip, str(clip), large, 16, 3, what))
    return result


def _case(suffix: str, clip: Path, name: str, data: FederatedData, batch: int, repeats: int, what: str) -> Result:
    here = sides(clip, name, data, batch)
    stack = len(data.clients)
    contenders: dict[str, Callable[[], Any]] = {}
    apart: dict[str, float] = {}
    for stage in STAGES:
        bare, alone, together = here.bare(stage), here.server(1, stage), here.server(stack, stage)
        theirs = bare()
        for own in (alone(), together()):
            ours = adapter({**leaves(own.state.adapter), **leaves(own.state.text)})
            found = agreement(leaves(ours), {**theirs.vision, **theirs.text})
            apart[stage] = max(apart.get(stage, 0.0), found)
        contenders |= {f"bare, {stage}": bare, f"synoptic, stack=1, {stage}": alone,
                       f"synoptic, stack={stack}, {stage}": together}  # fmt: skip
    times = interleaved(contenders, repeats)
    key, result = f"feddtl_speedup{suffix}", Result(seconds={f"feddtl{suffix}": rounded(times)})
    both = {side: [sum(pair) for pair in zip(*(times[f"{side}, {stage}"] for stage in STAGES), strict=True)]
            for side in ("bare", "synoptic, stack=1", f"synoptic, stack={stack}")}  # fmt: skip
    result.add(key, paired(both["bare"], both[f"synoptic, stack={stack}"]))
    result.add(f"{key}_stack1", paired(both["bare"], both["synoptic, stack=1"]))
    for stage in STAGES:
        result.add(f"{key}_{stage}", paired(times[f"bare, {stage}"], times[f"synoptic, stack={stack}, {stage}"]))
    result.notes[key] = {
        "what": "a round of SFT and one of RL by a plain PyTorch loop over the same two by Synoptic, cache filled, "
        "one thread; two and three local epochs, three passes on the server",
        "case": what, "examples": len(data.train), "batch_size": batch, "stack": stack, "farthest_weight": apart,
    }  # fmt: skip
    return result

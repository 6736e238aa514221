"""Synoptic's side of a measurement: the data, the random models, the server built by hand, and the plain tensors.

`Job` holds the same FedAvg job twice: as a `Server` over `LocalFederation` and as a `benchmarks.bare.Workload`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor

from benchmarks.bare import Workload
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves
from synoptic.core.files import write_tensors
from synoptic.data import digits as source
from synoptic.data.clients import ClientIndex
from synoptic.data.federated import FederatedData, build
from synoptic.data.images import ArrayImages
from synoptic.data.rows import Rows
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable
from synoptic.experiment.compute import choose
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.local import LocalFederation
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.federation.spec import FederationSpec
from synoptic.learning.batches import plan
from synoptic.learning.spec import TrainSpec
from synoptic.methods.fedavg import FedAvg
from synoptic.models.cache import Budget
from synoptic.models.dual_encoder import READY, DualEncoder
from synoptic.models.load import embedded

SEED = 0
CLIENTS = 10
ROUNDS = 50
LORA = {"vision": {"lora": {"rank": 4, "layers": 2}}}
TRAIN = TrainSpec(lr=1e-3, batch_size=32)


def digits(quick: bool, clients: int = CLIENTS) -> FederatedData:
    """Real handwritten digits, shared out evenly: 96 for each of ten clients (16 when quick)."""
    each = 16 if quick else 96
    return build(DataSpec(source="digits", clients=clients, partition="iid", train_limit=each * clients), SEED)


def tiny_clip() -> Path:
    """The folder of the embedded checkpoint."""
    return embedded()["tiny-clip"]


def write_clip(folder: Path, vision: Mapping[str, Any], text: Mapping[str, Any], dim: int) -> Path:
    """A randomly initialised CLIP with tiny-clip's tokenizer; ``vision`` and ``text`` change tiny-clip's sizes."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config: Any = transformers.CLIPConfig.from_pretrained(tiny_clip())
    config.projection_dim = dim
    for part, changes in ((config.vision_config, vision), (config.text_config, text)):
        for name, value in changes.items():
            setattr(part, name, value)
    processor = transformers.AutoImageProcessor.from_pretrained(tiny_clip())
    side = config.vision_config.image_size
    processor.size, processor.crop_size = {"shortest_edge": side}, {"height": side, "width": side}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = transformers.CLIPModel(config)
    for piece in (model, transformers.AutoTokenizer.from_pretrained(tiny_clip()), processor):
        piece.save_pretrained(folder)
    return folder


def six_blocks(folder: Path) -> Path:
    """tiny-clip's sizes with six image blocks instead of four, random weights."""
    return write_clip(folder, {"num_hidden_layers": 6}, {}, 128)


def vit_b_32(folder: Path) -> Path:
    """CLIP ViT-B/32 (Radford et al. 2021, table 20) with random weights and tiny-clip's vocabulary."""
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
              "image_size": 224, "patch_size": 32}  # fmt: skip
    text = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    return write_clip(folder, vision, text, 512)


def large_digits(examples: int, side: int) -> ExampleTable:
    """The first digits at ``side`` x ``side`` pixels; whole pixels, so that no resampling filter is in between."""
    pictures, labels = source.load()
    large = np.kron(pictures[:examples], np.ones((1, side // 32, side // 32, 1), dtype=np.uint8))
    return ExampleTable("large digits", ArrayImages(large), labels[:examples], source.CLASS_NAMES)


def evenly(table: ExampleTable, clients: int) -> FederatedData:
    """A table's examples, shared out in order to clients of the same size; it is its own test set."""
    nobody = Rows(np.zeros(0, dtype=np.int64), np.zeros(clients + 1, dtype=np.int64))
    held = Rows.grouped(np.arange(len(table)) * clients // len(table), clients)
    classes, none = np.arange(len(table.class_names)), np.zeros(0, dtype=np.int64)
    tests = {"global": np.arange(len(table))}
    return FederatedData(table, table, classes, none, source.TEMPLATE, tests, ClientIndex(held, nobody, nobody))


@dataclass(frozen=True)
class Job:
    """One FedAvg job on Synoptic.

    Attributes:
        bench: model, data and caches.
        start: the adapter that every measurement starts from.
    """

    bench: Bench
    start: TensorDict

    def server(self, stack: int) -> Rounds:
        """A server whose cohorts train ``stack`` clients at once."""
        method = FedAvg()
        federation = LocalFederation(method, self.bench, PersonalStore(), stack)
        return Rounds(method, Server(self.bench, federation, FederationSpec()), self.start)

    def auto_stack(self, threads: int) -> int:
        """The stack that a run with this many threads would choose now."""
        return choose(self.bench, len(self.bench.data.clients), threads, "auto")[1]

    def plain(self, rounds: int = 3) -> Workload:
        """The same job as plain tensors."""
        return plain(self.bench, self.start, rounds)


class Rounds:
    """Rounds of FedAvg by the path that a run takes: `Server.ask` -> `LocalFederation` -> task -> mean."""

    def __init__(self, method: FedAvg, server: Server, start: TensorDict) -> None:
        self._method = method
        self._server = server
        self._start = start

    def first(self) -> dict[str, Tensor]:
        """Round 0 from the first adapter; the new shared tensors by name."""
        self._server.state.adapter = self._start
        return self.round(0)

    def round(self, t: int) -> dict[str, Tensor]:
        """Round ``t`` from the current state."""
        self._server.round = t
        self._method.round(self._server, t)
        return leaves(self._server.state.adapter)


def job(
    model: DualEncoder, data: FederatedData, adapter: Mapping[str, Any], cache: bool, train: TrainSpec = TRAIN
) -> Job:
    """A job with the prefix cache on or off."""
    budget = Budget(2**31) if cache else None
    bench = make_bench(model, data, AdapterSpec.model_validate(adapter), train, SEED, ROUNDS, budget)
    return Job(bench, bench.new_adapter())


def plain(bench: Bench, start: TensorDict, rounds: int) -> Workload:
    """Tensors of a job: the preprocessed pixels, the frozen text embeddings, everybody's batches, the LoRA factors."""
    data, model = bench.data, bench.model
    assert isinstance(model, DualEncoder)
    clients = range(len(data.clients))
    order = [
        np.concatenate([row for k in clients for row in plan(data.clients.train(k), bench.train, SEED, t, k)])
        for t in range(rounds)
    ]
    tokens = model.tokenize([data.prompts()[index] for index in data.base_classes])
    place = np.full(len(data.class_names), -1)
    place[data.base_classes] = np.arange(len(data.base_classes))
    return Workload(
        pixels_N3HW=model.pixels(data.train.images.load(np.arange(len(data.train)))).contiguous(),
        labels_N=torch.from_numpy(place[data.train.labels]),
        texts_CE=F.normalize(model.text_prefix(tokens, READY), dim=-1),
        order_RN=torch.from_numpy(np.stack(order)),
        offsets=[0, *np.cumsum([len(data.clients.train(k)) for k in clients]).tolist()],
        start=bare_names(leaves(start)),
        lr=bench.train.lr,
        batch_size=bench.train.batch_size,
    )


def bare_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LoRA factors under the names that `benchmarks.bare.wear` uses; other tensors keep theirs, scales are left out."""
    return {name.partition("/lora/")[2] or name: tensor for name, tensor in tensors.items() if name[-6:] != "/scale"}


def farthest(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest difference between two sets of tensors with the same names."""
    mine = bare_names(ours)
    if mine.keys() != theirs.keys():
        raise ValueError(f"the two sides train different tensors: {sorted(mine.keys() ^ theirs.keys())[:4]}")
    # Not Python's max, which loses a NaN.
    return float(torch.stack([(mine[name] - theirs[name]).abs().max() for name in mine]).max())


def save(work: Workload, path: Path) -> None:
    """Write a job as one safetensors file, for other environments."""
    tensors = {
        "pixels": work.pixels_N3HW, "labels": work.labels_N, "texts": work.texts_CE, "order": work.order_RN,
        "offsets": torch.tensor(work.offsets), "lr": torch.tensor(work.lr, dtype=torch.float64),
        "batch_size": torch.tensor(work.batch_size),
    }  # fmt: skip
    write_tensors(path, tensors | {f"start|{name}": tensor for name, tensor in work.start.items()})

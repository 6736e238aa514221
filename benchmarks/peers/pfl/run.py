"""FedAvg on pfl-research: `python -m benchmarks.peers.pfl.run ROUNDS PROCESSES OUTPUT` (under torchrun for several).

Settings, as its documentation advises: one resident model in a worker, tensors rather than arrays, no evaluation of
clients, several workers where there are several cores.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

from benchmarks.bare import classify, embed
from benchmarks.peers.twin import Twin

SETTINGS = "SimulatedBackend, one resident model and one thread in each process, no evaluation of clients"


class Net(nn.Module):
    """The adapted model with the loss and metrics functions that pfl calls."""

    def __init__(self, twin: Twin) -> None:
        super().__init__()
        self.clip = twin.model
        self._texts_CE = twin.job.texts_CE

    def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch."""
        return classify(self.clip, embed(self.clip, pixels), self._texts_CE, labels)

    def metrics(self, pixels: Tensor, labels: Tensor) -> dict[str, Any]:
        """Asked for by pfl before the first round only."""
        with torch.no_grad():
            return {"loss": Weighted(float(self.loss(pixels, labels)) * len(labels), len(labels))}


class AfterRound(TrainingProcessCallback):
    """Clocks a round, lets the bare loop follow on the first worker while the others wait, and goes on."""

    def __init__(self, twin: Twin, parameters: dict[str, nn.Parameter], first: bool) -> None:
        self.round = 0
        self._twin = twin
        self._parameters = parameters
        self._first = first

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
        shared = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        if self._first:
            self._twin.finished(shared)
            with torch.no_grad():
                # The bare loop moved the same parameters; the peer goes on from its own.
                for name, parameter in self._parameters.items():
                    parameter.copy_(shared[name])
        self.round += 1
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        self._twin.begin()
        return False, Metrics()


def main(rounds: int, processes: int, output: Path) -> None:
    """Run and write the seconds."""
    started = time.perf_counter()
    twin = Twin()
    job, parameters = twin.job, twin.parameters
    first = int(os.environ.get("RANK", "0")) == 0
    model = PyTorchModel(
        Net(twin), lambda all_, lr: torch.optim.AdamW(_trainable(all_), lr=lr, weight_decay=0.0, fused=True),
        torch.optim.SGD(list(parameters.values()), lr=1.0),
    )  # fmt: skip
    after = AfterRound(twin, parameters, first)

    def client(user: int) -> Dataset:
        rows = job.rows(after.round, user)
        return Dataset([job.pixels_N3HW[rows], job.labels_N[rows]], user_id=str(user))

    data = FederatedDataset(client, itertools.cycle(range(job.clients)).__next__)
    algorithm = NNAlgorithmParams(central_num_iterations=rounds, evaluation_frequency=rounds + 1,
                                  train_cohort_size=job.clients, val_cohort_size=None)  # fmt: skip
    local = NNTrainHyperParams(local_learning_rate=job.lr, local_num_epochs=1, local_batch_size=job.batch_size)
    backend = SimulatedBackend(data, data, [WeightByDatapoints()])
    ready = time.perf_counter() - started
    twin.begin()
    FederatedAveraging().run(algorithm, backend, model, local, callbacks=[after])
    if first:
        notes = {"processes": processes, "settings": SETTINGS, "start_up_seconds": round(ready, 3)}
        twin.write(output, ["pfl", "torch", "transformers", "numpy"], notes)


def _trainable(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

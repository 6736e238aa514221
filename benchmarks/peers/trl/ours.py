"""The job on Synoptic: `python -m benchmarks.peers.trl.ours FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.peers.trl.job import Side, read, reward
from synoptic.adapters.spec import AdapterSpec
from synoptic.core.seeds import generator
from synoptic.data.images import ArrayImages
from synoptic.data.table import ExampleTable
from synoptic.data.words import Words
from synoptic.learning.answer_policy import AnswerPolicySpec, step
from synoptic.learning.answering import AnswerRows, answer
from synoptic.learning.optim import no_moments
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoding
from synoptic.models.cache import Budget
from synoptic.models.load import load_model


def main(folder: Path) -> None:
    """Train, then answer greedily."""
    torch.set_num_threads(1)
    job, pictures = read(folder)
    side = Side()
    model = load_model(str(folder))
    assert isinstance(model, Answerer)
    words = Words(job.questions, ("a",) * len(job.questions))
    kind = np.zeros(len(job.questions), dtype=np.int64)
    table = ExampleTable("prompts", ArrayImages(pictures), kind, ("prompt",), words=words)
    rows = AnswerRows(model, table, np.arange(len(table)), Budget(2**28))
    last = len(job.layers)
    assert job.layers == tuple(range(job.blocks - last, job.blocks)), "Synoptic's layers are counted from the top"
    lora = {"lora": {"rank": job.rank, "layers": last, "targets": ["q", "v"]}}
    adapter = model.new_adapter(AdapterSpec.model_validate({"text": lora}), 0)
    moments = no_moments()
    spec = AnswerPolicySpec(group=job.group, tokens=job.tokens, temperature=job.temperature, beta=job.beta,
                            clip=job.clip, lr=job.lr, clip_norm=job.clip_norm, minibatch=job.batch)  # fmt: skip

    def judge(positions: NDArray[np.int64], texts: list[list[str]]) -> Tensor:
        return torch.tensor([reward(group) for group in texts])

    def once(t: int) -> int:
        nonlocal adapter, moments
        some = np.arange(t * job.batch, (t + 1) * job.batch)
        done = step(model, adapter, rows, some, judge, spec, moments, generator(0, "step", t))
        adapter, moments = done.adapter, done.moments
        return round(done.measures["length"] * job.batch * job.group)

    side.run(job.steps, once)
    said = answer(model, {}, rows, np.arange(4)[None], Decoding(tokens=job.tokens))
    side.finish([texts[0] for texts in said.texts], ["torch", "transformers"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

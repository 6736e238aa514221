"""Which answers scores teach on easy-VQA: ``python -m benchmarks.answers``.

    SYNOPTIC_SHARED_DATA=/path/to/shared python -m benchmarks.answers [--jobs 2] [--output runs/claims] [--page]

The runs of `claims/mor_easy_vqa.yaml`; those that `synoptic claims mor_easy_vqa` has left there are read. Their last
checkpoints hold the policy as it was before it was aligned and as it is after; both answer all test questions,
greedily. Written: `benchmarks/results/answers.json` and the table in `docs/methods/mor.md`; ``--page`` writes the table
again from the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.marks import percent
from benchmarks.paged import Paged, Runs, part_of
from benchmarks.results import ROOT
from synoptic.core.files import read_tensors
from synoptic.data import FederatedData, manifest
from synoptic.experiment.recipe import read_recipe
from synoptic.experiment.records import RunRecord
from synoptic.learning.answering import AnswerRows, answer
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoding
from synoptic.models.cache import Budget
from synoptic.models.load import shared_model

CLAIMS = ROOT / "claims" / "mor_easy_vqa.yaml"
NAMED = {"mor": "routed", "uniform": "uniform mean", "single": "the first site's scores alone",
         "labels": "FedAvg on labels"}  # fmt: skip
BEFORE, AFTER = "reference", "adapter"
"""What a checkpoint of `mor` calls the policy before it was aligned and after; others have the latter alone."""

AT_ONCE = 64


def of_run(run: RunRecord) -> dict[str, Any]:
    """Its accuracy; of each answer its test questions and tokens, who has it, and how often it was said rightly."""
    torch.set_num_threads(1)
    recipe = read_recipe(run.folder.recipe)
    data, model = manifest.load(run.folder.manifest, recipe.data), shared_model(recipe.model)
    assert isinstance(model, Answerer)
    kept, _ = read_tensors(sorted(run.folder.checkpoints.glob("*.safetensors"))[-1])
    said = {}
    for which in (BEFORE, AFTER):
        start = f"state.{which}|"
        if worn := {name.removeprefix(start): one[None] for name, one in kept.items() if name.startswith(start)}:
            said[which] = _said(model, data, worn)
    found = by_answer(data, said[AFTER], said.get(BEFORE))
    answers = {name: {**one, "tokens": len(model.tokenizer(name)["input_ids"])} for name, one in found.items()}
    return {"accuracy": run.summary["metrics"]["shared/global/accuracy/mean"], "answers": answers}


def by_answer(
    data: FederatedData, after: NDArray[Any], before: NDArray[Any] | None = None
) -> dict[str, dict[str, float]]:
    """Shares of test questions to which each answer is right and was given, and who has training rows with it."""
    assert data.train.words is not None and data.test.words is not None
    taught = np.array(data.train.words.answers)
    held = [set(taught[data.clients.train(client)]) for client in range(len(data.clients))]
    truth = np.array(data.test.words.answers)[data.tests["global"]]
    found = {}
    for one in sorted(set(truth)):
        asked = truth == one
        found[str(one)] = {"questions": int(asked.sum()), "sites": sum(one in some for some in held),
                           "after": float((after[asked] == one).mean())}  # fmt: skip
        if before is not None:
            found[str(one)]["before"] = float((before[asked] == one).mean())
    return found


def _said(model: Answerer, data: FederatedData, worn: dict[str, Any]) -> NDArray[Any]:
    asked = data.tests["global"]
    rows = AnswerRows(model, data.test, asked, Budget(2**30))
    texts: list[str] = []
    for part in np.split(asked, range(AT_ONCE, len(asked), AT_ONCE)):
        texts += [some[0] for some in answer(model, worn, rows, part[None], Decoding()).texts]
    return np.array(texts)


def table(runs: Runs) -> list[str]:
    """Means over seeds, answer by answer, the most frequent first."""
    first = next(iter(NAMED))
    sizes = {name: one["questions"] for name, one in runs[first][0]["answers"].items()}
    tokens = {name: one["tokens"] for name, one in runs[first][0]["answers"].items()}
    heads = ["right answer", "tokens", "test questions", "sites that have it", "before", *NAMED.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for name in sorted(sizes, key=lambda one: (-sizes[one], one)):
        sites = np.mean([run["answers"][name]["sites"] for run in runs[first]])
        cells = [_share(runs, first, name, "before"), *(_share(runs, label, name, "after") for label in NAMED)]
        lines.append(f"| {name} | {tokens[name]} | {sizes[name]} | {sites:.1f} | {' | '.join(cells)} |")
    legend = ("Greedy answers that are right, in per cent of the questions to which an answer is right: mean ± half of "
              f"a 95 % t-interval over {len(runs[first])} seeds.")  # fmt: skip
    return [*lines, "", legend]


def _share(runs: Runs, label: str, name: str, when: str) -> str:
    return percent([run["answers"][name][when] for run in runs[label]])


ANSWERS = Paged("answers", __doc__.splitlines()[0], ROOT / "docs" / "methods" / "mor.md",
                lambda: part_of(CLAIMS, "sites", tuple(NAMED)), Path("runs/claims"), of_run, table)  # fmt: skip

if __name__ == "__main__":
    ANSWERS.main()

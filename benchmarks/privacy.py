"""What a curious server learns of a site's images from what FedDTL sends: `python -m benchmarks.privacy`.

The server follows the protocol and then looks. It knows the base, every client's adapter (they are sent), the uploads
with their labels, and public images of the same kind. Written: `benchmarks/results/privacy.json`, and the table in
`docs/privacy.md`. ``--quick`` proves that it runs and writes nothing; ``--page`` writes the table again from the file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch is imported: it reads this once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.marks import between, percent
from benchmarks.measure import environment
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves
from synoptic.core.files import read_json, write_json, write_text
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.data.world_task import world_task
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.local import LocalFederation
from synoptic.federation.message import Replies
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.federation.spec import FederationSpec
from synoptic.learning.classifier import image_embeddings
from synoptic.learning.spec import TrainSpec
from synoptic.methods.feddtl import BOTH, FedDTL, names
from synoptic.models.cache import Budget
from synoptic.models.load import shared_dual_encoder

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "privacy.json", ROOT / "docs" / "privacy.md"
BEGIN, END = "<!-- written by `python -m benchmarks.privacy` -->\n", "<!-- end -->"
SHOTS = (1, 16, None)
UPLINKS = ("embeddings", "prototypes")
SEEDS, ROUNDS = range(5), 4
ATTACKS = {
    "pointed_out": "images pointed out",
    "membership": "membership, AUC",
    "reconstruction": "pixels explained",
    "texture": "texture told",
    "style": "style told",
}
"""What is measured, and its column."""


@dataclass(frozen=True)
class View:
    """What the server has of one client, and the truth to hold its guesses against.

    Attributes:
        images_UE, labels_U: the upload, labels as class numbers.
        members_nE, others_mE: embeddings under the client's own encoder of its images and of public ones.
        member_rows, other_rows: which pictures these are, in the training and the test table.
    """

    images_UE: NDArray[Any]
    labels_U: NDArray[np.int64]
    members_nE: NDArray[Any]
    others_mE: NDArray[Any]
    member_rows: NDArray[np.int64]
    other_rows: NDArray[np.int64]


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one round; writes nothing")
    parser.add_argument("--page", action="store_true", help="write the table again, run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.page:
        seeds, rounds = (range(1), 1) if options.quick else (SEEDS, ROUNDS)
        rows = [measure(shots, uplink, seed, rounds) for shots in SHOTS for uplink in UPLINKS for seed in seeds]
        if options.quick:
            print(*rows, sep="\n")
            return
        write_json(RESULTS, {"rows": rows, "environment": environment()})
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), read_json(RESULTS)["rows"]))
    print(f"wrote the table in {PAGE.relative_to(ROOT)}")


def measure(shots: int | None, uplink: str, seed: int, rounds: int) -> dict[str, Any]:
    """All attacks on all clients after some rounds; means over clients, weighted by their images."""
    data = build(DataSpec(source="world", clients=5, partition="classes", shots=shots, draw=seed), seed)
    train = TrainSpec(batch_size=16, epochs=2)
    model = shared_dual_encoder("tiny-clip")
    bench = make_bench(model, data, AdapterSpec.model_validate(BOTH), train, seed, rounds, Budget(2**30))
    method = FedDTL(FedDTL.Settings.model_validate({"uplink": uplink, "server": {"epochs": 3, "batch_size": 16}}))
    server = Server(bench, LocalFederation(method, bench, PersonalStore(), 5), FederationSpec())
    method.begin(server)
    for t in range(rounds):
        server.round = t
        method.round(server, t)
    server.round = rounds
    replies = server.ask("sft", adapter=server.state.adapter, text=names(server))
    clients = [attack(data, view(bench, replies, k)) for k in range(len(replies))]
    weights = replies.examples.numpy()
    means = {name: float(np.average([one[name] for one in clients], weights=weights)) for name in clients[0]}
    return {"shots": shots, "uplink": uplink, "seed": seed, **means}


def view(bench: Bench, replies: Replies, k: int) -> View:
    """What the server sees of the k-th client."""
    data, worn = bench.data, leaves(replies.adapter[k : k + 1])
    mine = data.clients.train(replies.clients[k])
    labels = data.base_classes[replies.label[k].long().numpy()]
    public = np.flatnonzero(np.isin(data.test.labels, data.base_classes))
    (members,) = image_embeddings(bench.classifier, bench.train_rows, worn, [mine])
    (others,) = image_embeddings(bench.classifier, bench.test_rows, worn, [public])
    return View(_plain(replies.embedding[k]), labels, _plain(members), _plain(others), mine, public)


def _plain(tensor: Tensor) -> NDArray[Any]:
    return tensor.double().numpy()


def attack(data: FederatedData, seen: View) -> dict[str, float]:
    """Each attack's score on one client."""
    right = {"pointed_out": pointed_out(seen), "membership": membership(data, seen)}
    right["reconstruction"] = reconstruction(data, seen)
    scenes = hidden(data)
    for what in ("texture", "style"):
        right[what] = told(data, seen, *scenes[what])
        right[f"{what}_chance"] = most_common(data, seen, *scenes[what])
    return right


def pointed_out(seen: View) -> float:
    """Share of the client's images that are nearest to an upload, in a gallery of them and all public images."""
    gallery = np.concatenate([seen.members_nE, seen.others_mE])
    nearest = (seen.images_UE @ gallery.T).argmax(1)
    return len(np.unique(nearest[nearest < len(seen.members_nE)])) / len(seen.members_nE)


def membership(data: FederatedData, seen: View) -> float:
    """Area under the curve of telling the client's images from public ones of its classes, by the nearest upload."""
    labels = np.concatenate([data.train.labels[seen.member_rows], data.test.labels[seen.other_rows]])
    images = np.concatenate([seen.members_nE, seen.others_mE])
    known = np.isin(labels, seen.labels_U)
    alike = np.where(labels[known, None] == seen.labels_U, images[known] @ seen.images_UE.T, -2.0).max(1)
    return float(roc_auc_score((np.arange(len(labels)) < len(seen.member_rows))[known], alike))


def reconstruction(data: FederatedData, seen: View) -> float:
    """Share of the pixels' variance around the public class mean that a linear map from uploads to pixels explains."""
    public, private = (pixels(table, rows) for table, rows in tables(data, seen))
    inverse = Ridge(alpha=1e-2).fit(seen.others_mE, public)
    labels = data.test.labels[seen.other_rows]
    means = {label: public[labels == label].mean(0) for label in np.unique(labels)}
    average = np.stack([means[label] for label in data.train.labels[seen.member_rows]])
    guess = inverse.predict(seen.images_UE)[uploads_of(data, seen)]
    return float(1 - np.square(private - guess).sum() / np.square(private - average).sum())


def uploads_of(data: FederatedData, seen: View) -> NDArray[np.int64]:
    """For each of the client's images the upload that tells of it: its own, or its class's mean."""
    if len(np.unique(seen.labels_U)) < len(seen.labels_U):
        return np.arange(len(seen.member_rows))
    place = {int(label): row for row, label in enumerate(seen.labels_U)}
    return np.array([place[int(label)] for label in data.train.labels[seen.member_rows]])


def told(data: FederatedData, seen: View, public: NDArray[np.int64], private: NDArray[np.int64]) -> float:
    """Accuracy of a linear probe, fitted on public images, at an attribute that no label tells."""
    probe = LogisticRegression(max_iter=2000).fit(seen.others_mE, public[seen.other_rows])
    guess = probe.predict(seen.images_UE)[uploads_of(data, seen)]
    return float((guess == private[seen.member_rows]).mean())


def most_common(data: FederatedData, seen: View, public: NDArray[np.int64], private: NDArray[np.int64]) -> float:
    """Accuracy of always guessing the value that is most common in public."""
    return float((private[seen.member_rows] == np.bincount(public[seen.other_rows]).argmax()).mean())


def tables(data: FederatedData, seen: View) -> Sequence[tuple[Any, NDArray[np.int64]]]:
    """Public and private pictures."""
    return (data.test, seen.other_rows), (data.train, seen.member_rows)


def pixels(table: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """``[n, 3072]``, each picture less its own mean colour: that is nearly all of their variance, and says little."""
    pictures: NDArray[Any] = np.stack([np.asarray(image, dtype=np.float64) / 255 for image in table.images.load(rows)])
    flat: NDArray[Any] = (pictures - pictures.mean((1, 2), keepdims=True)).reshape(len(rows), -1)
    return flat


def hidden(data: FederatedData) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Texture and style of every test and training picture, by position in the tables."""
    assert data.origin is not None
    spec = data.origin.spec
    task = world_task(spec.draw, spec.classes or 20, spec.novel, spec.per_class, spec.test_per_class, spec.styles,
                      spec.style_strength)  # fmt: skip
    rows = data.origin.test_rows, data.origin.train_rows
    parts = {name: (getattr(task.test, name), getattr(task.train, name)) for name in ("texture", "style")}
    return {name: (both[0][rows[0]], both[1][rows[1]]) for name, both in parts.items()}


def with_table(page: str, rows: Sequence[dict[str, Any]]) -> str:
    """The page with the table between its marks."""
    return between(page, BEGIN, END, table(rows))


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Means over seeds and half of a 95 % interval, in per cent."""
    columns = {**ATTACKS, "texture_chance": "texture guessed", "style_chance": "style guessed"}
    lines = ["| images of a class | sent | " + " | ".join(columns.values()) + " |", "|---" * (2 + len(columns)) + "|"]
    for shots in SHOTS:
        for uplink in UPLINKS:
            own = [row for row in rows if row["shots"] == shots and row["uplink"] == uplink]
            cells = [percent([row[name] for row in own]) for name in columns]
            lines.append(f"| {shots or 'all'} | {uplink} | " + " | ".join(cells) + " |")
    seeds = sorted({row["seed"] for row in rows})
    return [*lines, "", f"Per cent, mean ± half of a 95 % t-interval over seeds {seeds[0]} to {seeds[-1]}. "
            "Guessing without an upload gives 50 for membership and 0 for pixels; for texture and style each row "
            "has what always guessing the value that is most common in public gives on the same images."]  # fmt: skip


if __name__ == "__main__":
    main()

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from finished import finished
from helpers import clip_folder
from rooms import digits
from synoptic import __version__
from synoptic.experiment.card.metrics import definition
from synoptic.experiment.card.subject import counted
from synoptic.experiment.deliver import sizes_of
from synoptic.experiment.delivered import folder_name
from synoptic.experiment.export import export, public_name


def card(folder: Path) -> str:
    return (folder / "README.md").read_text()


def front_matter(folder: Path) -> dict[str, object]:
    from huggingface_hub import ModelCard

    loaded: dict[str, object] = ModelCard.load(folder / "README.md").data.to_dict()
    return loaded


def test_the_card_tells_the_run(tmp_path: Path) -> None:
    (folder,) = export(finished(), tmp_path / "out")
    text, summary = card(folder), json.loads((finished() / "summary.json").read_text())
    up, accuracy = summary["bytes"]["up"], summary["metrics"]["shared/base/accuracy/mean"]
    for part in (
        summary["model"]["fingerprint"], summary["recipe_hash"], summary["final_hash"], f"{up / 1000:.0f} kB",
        f"{100 * accuracy:.1f} % | on all test examples of classes seen in training", "alpha 0.5",
        "60 for training, 40 for testing", "seven, eight, nine", "neither differential privacy nor secure aggregation",
        "| `train.adapter` |", f"synoptic export {finished().name}\n", f"Synoptic {__version__}",
        "LoRA of rank 4, alpha 4",
    ):  # fmt: skip
        assert part in text
    assert front_matter(folder) == {
        "library_name": "peft", "pipeline_tag": "zero-shot-image-classification", "metrics": ["accuracy"],
        "tags": ["synoptic", "federated-learning", "fedavg", "lora"],
    }  # fmt: skip
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_every_accuracy_that_got_worse_is_told(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(finished(), tmp_path / "run"))
    path = copied / "summary.json"
    summary = json.loads(path.read_text())
    summary["before"]["shared/novel/accuracy/mean"] = 1.0
    summary["metrics"]["shared/novel/accuracy/mean"] = 0.5
    path.write_text(json.dumps(summary))
    (folder,) = export(copied, tmp_path / "out")
    told = re.findall(r"Lower than before training: (.*)\.", card(folder))
    assert "`shared/novel/accuracy/mean`" in told[0]


def test_the_privacy_statement_follows_the_method(tmp_path: Path) -> None:
    (personal,) = export(finished("local"), tmp_path / "local", client="0")
    assert "never left that client" in card(personal)
    assert "`train.adapter`" not in card(personal)
    (pooled,) = export(finished("centralized"), tmp_path / "centralized")
    assert "data of all clients were put in one place" in card(pooled)
    assert "| task.field |" not in card(pooled)


def test_nothing_exported_names_a_client_or_a_place(tmp_path: Path) -> None:
    world = ("data=world", "data.classes=6", "data.per_class=4", "data.test_per_class=4", "data.clients=2",
             "data.train_limit=null", "data.test_limit=null", "data.partition=domain")  # fmt: skip
    places = [*export(finished("local", *world), tmp_path / "world", client="pastel", merged=True),
              *export(finished("fedavg", f"model={clip_folder()}"), tmp_path / "folder", merged=True)]  # fmt: skip
    assert places[0].name == "pastel", "the folder is called after the client, for whoever exports"
    written = [path for place in places for path in place.iterdir() if path.suffix in (".md", ".json")]
    for path in (path for path in written if path.name != "tokenizer.json"):
        text = path.read_text()
        assert "pastel" not in text, path
        assert str(clip_folder().parent) not in text, path
        assert str(tmp_path) not in text, path
    assert "domains: 2\n" in card(places[0])
    assert "--client CLIENT --merged" in card(places[0])
    assert json.loads((places[2] / "adapter_config.json").read_text())["base_model_name_or_path"] == "clip"


def test_domains_that_are_no_clients_are_named(tmp_path: Path) -> None:
    world = ("data=world", "data.classes=6", "data.per_class=4", "data.test_per_class=4", "data.clients=2",
             "data.train_limit=null", "data.test_limit=null")  # fmt: skip
    (folder,) = export(finished("fedavg", *world), tmp_path / "out")
    assert "domains: 2 (pastel, blurred)" in card(folder)
    assert "shared/domain/pastel/accuracy/mean" in card(folder)


@pytest.mark.parametrize(
    ("metric", "words"),
    [("shared/base/accuracy/mean", "on all test examples of classes seen in training"),
     ("shared/local/accuracy/worst", "on a client's own test data; the client with the lowest"),
     ("personal/base/accuracy/mean", "on all test examples of classes seen in training; every client counts the same"),
     ("shared/hm/accuracy/mean", "harmonic mean of base and novel"),
     ("shared/domain/blurred/accuracy/mean", "on test examples of trained classes in the domain blurred")],
)  # fmt: skip
def test_definitions(metric: str, words: str) -> None:
    assert definition(metric) == words


def test_small_words() -> None:
    assert (counted(1, "round"), counted(1200, "client")) == ("1 round", "1,200 clients")
    assert public_name("/models/clip") == "clip"
    assert public_name("openai/clip-vit-base-patch32") == "openai/clip-vit-base-patch32"
    assert public_name("tiny-clip") == "tiny-clip"


@pytest.mark.parametrize(
    ("client", "folder"),
    [("client-07", "client-07"), ("Köln 3", "Köln 3"), ("a/b", "a%2Fb"), ("..", "%2E%2E"), ("a%2Fb", "a%252Fb"),
     ("x\\y:z", "x%5Cy%3Az")],
)  # fmt: skip
def test_a_clients_name_is_one_folder(client: str, folder: str) -> None:
    assert folder_name(client) == folder


def test_client_names_keep_domain_names_out() -> None:
    data = digits()
    train = replace(data.train, domains=data.train.labels % 2, domain_names=("north", "south"))
    open_ = sizes_of(replace(data, train=train))
    named = tuple(f"north-{k}" for k in range(len(data.clients)))
    closed = sizes_of(replace(data, train=train, clients=replace(data.clients, names=named)))
    assert (open_.domains, open_.domain_names) == (2, ("north", "south"))
    assert (closed.domains, closed.domain_names) == (2, ())

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.deploy.loopback import Loopback
from PIL import Image

import answerers
from parquets import write
from runs import small
from synoptic.core import SynopticError
from synoptic.data.federated import build
from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy
from synoptic.deploy.session import Hall, seats, serve
from synoptic.deploy.site import Site, own_data, parse_partition, settle
from synoptic.deploy.terms import Terms, terms_of
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.methods.base import load_method
from synoptic.models.load import shared_model


def pictures(folder: Path, classes: list[str], each: int = 10) -> Path:
    """A folder of class folders with pictures that differ."""
    rng = np.random.default_rng(len(classes))
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


def server(tmp_path: Path) -> tuple[Recipe, Terms]:
    """A server with pictures of three classes, and what it offers to three clients."""
    folder = pictures(tmp_path / "server", ["cat", "dog", "owl"])
    recipe = small(tmp_path / "runs", "fedavg", f"data=folder:{folder}", "rounds=1", "federation.stack=1",
                   "data.train_limit=none", "data.test_limit=none")  # fmt: skip
    base = shared_model(recipe.model, recipe.compute.base_dtype).fingerprint
    return recipe, terms_of(recipe, build(recipe.data, recipe.seed), base, "run", 0, 2**24)


def test_a_site_s_own_labels_are_put_into_the_server_s_numbering(tmp_path: Path) -> None:
    _, offered = server(tmp_path)
    site = Site(data=own_data(str(pictures(tmp_path / "site", ["owl", "cat"])), []))
    place = settle(site, offered.model_copy(update={"seats": (2,)}))
    data = place.bench.data
    assert data.class_names == ("cat", "dog", "owl") and len(data.clients) == 3
    held = data.clients.train(2)
    assert place.examples == len(held) == 16 and len(data.clients.test(2)) == 4
    assert len(data.clients.train(0)) == len(data.clients.train(1)) == 0
    assert {data.class_names[label] for label in data.train.labels[held]} == {"cat", "owl"}


def test_classes_that_the_server_does_not_know_are_told_with_both_lists(tmp_path: Path) -> None:
    _, offered = server(tmp_path)
    site = Site(data=own_data(str(pictures(tmp_path / "site", ["cat", "emu"])), []))
    with pytest.raises(
        SynopticError, match=r"classes \(2\) do not fit the server's \(3\): only here 'emu', only there 'dog', 'owl'"
    ):
        settle(site, offered.model_copy(update={"seats": (0,)}))


def test_a_class_that_is_held_out_is_not_trained_by_anybody(tmp_path: Path) -> None:
    _, offered = server(tmp_path)
    site = Site(data=own_data(str(pictures(tmp_path / "site", ["cat", "owl"])), []))
    held_out = offered.model_copy(update={"seats": (0,), "base_classes": (0, 1), "novel_classes": (2,)})
    with pytest.raises(SynopticError, match="would train 'owl', which the run holds out as novel"):
        settle(site, held_out)


@pytest.mark.parametrize("method", ["fedavg", "local"])
def test_a_run_over_sites_with_folders_of_their_own(method: str, tmp_path: Path) -> None:
    recipe, _ = server(tmp_path)
    changed = small(tmp_path / "runs", method, f"data=folder:{recipe.data.path}", "rounds=2", "federation.stack=1",
                    "data.train_limit=none", "data.test_limit=none")  # fmt: skip
    sites = {
        number: Node(
            Site(data=own_data(str(pictures(tmp_path / name, classes)), [])), Policy(), tmp_path / f"{name}-state"
        )
        for number, (name, classes) in enumerate({"north": ["cat", "dog"], "south": ["owl", "dog", "cat"]}.items())
    }
    post = Loopback(sites)
    result = serve(changed, Hall(post, names=("site-0", "site-1")))
    assert {name: row["examples"] for name, row in result.summary["clients"].items()} == {"site-0": 4.0, "site-1": 6.0}
    model = "personal" if load_method(method).has_personal else "shared"
    assert f"{model}/local/accuracy/mean" in result.metrics
    assert result.summary["work"]["examples"] == 2 * (16 + 24)


def spoken(path: Path, seed: int, question: str = "question", answer: str = "answer") -> Path:
    """A folder with a parquet file of pictures, questions and answers, under these names."""
    words = ["red", "blue", "green"]
    asked = {question: ["what colour is it"] * 24, answer: [words[row % 3] for row in range(24)]}
    write(path / "train.parquet", seed=seed, **asked)
    return path


def test_a_parquet_file_and_the_folders_that_people_have_are_recognised(tmp_path: Path) -> None:
    file = spoken(tmp_path / "a", 0) / "train.parquet"
    hub = spoken(tmp_path / "b" / "data", 0).parent
    for what in (str(file), str(file.parent), str(hub)):
        spec = own_data(what, ["data.question=question"])
        assert (spec.source, spec.path, spec.clients, spec.answer) == ("parquet", what, 1, "answer")
    assert own_data(str(pictures(tmp_path / "c", ["cat"])), []).source == "folder"


def asking(tmp_path: Path, method: str, *changes: str) -> Recipe:
    """A run about the questions of a file at the server."""
    return load_recipe(method, [
        f"data=parquet:{spoken(tmp_path / 'server', 0)}", "data.question=question", "data.clients=2",
        "data.partition=iid", f"model={answerers.folder('llava')}", "rounds=2", "train.batch_size=8",
        "compute.threads=1", "federation.stack=1", f"output={tmp_path / 'runs'}", *changes,
    ])  # fmt: skip


@pytest.mark.parametrize("method", ["fedavg", "fedvlm"])
def test_a_run_over_sites_with_questions_of_their_own(method: str, tmp_path: Path) -> None:
    """Sites name their columns as they like; one of them gets its rows from a glob and leaves some out."""
    north = own_data(str(spoken(tmp_path / "north", 1)), ["data.question=question"])
    south = own_data(f"parquet:{spoken(tmp_path / 'south', 2, 'frage', 'antwort')}/*.parquet",
                     ["data.question=frage", "data.answer=antwort", "data.train_limit=12"])  # fmt: skip
    said: list[str] = []
    sites = {
        number: Node(Site(data=data), Policy(), tmp_path / f"{number}-state", said.append)
        for number, data in enumerate((north, south))
    }
    result = serve(asking(tmp_path, method), Hall(Loopback(sites), names=("site-0", "site-1"), patience=30, grace=0.5))
    assert not [sentence for sentence in said if "refused" in sentence]
    assert result.summary["work"]["examples"] > 0 and list(result.summary["clients"]) == ["site-0", "site-1"]
    model = "personal" if load_method(method).has_personal else "shared"
    assert [name for name in result.metrics if name.startswith(f"{model}/local/")]


def test_a_run_about_questions_needs_sites_that_ask(tmp_path: Path) -> None:
    recipe = asking(tmp_path, "fedavg")
    base = shared_model(recipe.model, recipe.compute.base_dtype).fingerprint
    offered = terms_of(recipe, build(recipe.data, recipe.seed), base, "run", 0, 2**24)
    site = Site(data=own_data(str(pictures(tmp_path / "site", ["cat", "owl"])), []))
    with pytest.raises(SynopticError, match="the run is about questions and answers, and this site's data are not"):
        settle(site, offered.model_copy(update={"seats": (0,)}))


def test_the_server_s_data_may_be_nobody_s(tmp_path: Path) -> None:
    recipe, _ = server(tmp_path)
    data = seats(build(recipe.data, 0), ("north", "south"))
    assert [data.clients.name(seat) for seat in range(2)] == ["north", "south"]
    assert data.clients.train_rows.counts.tolist() == [0, 0]


@pytest.mark.parametrize(("text", "meant"), [("0/3", ((0,), 3)), ("2-4/10", ((2, 3, 4), 10))])
def test_parts_of_a_whole(text: str, meant: tuple[tuple[int, ...], int]) -> None:
    assert parse_partition(text) == meant


@pytest.mark.parametrize("text", ["3/3", "1", "a/b", "4-2/10", "-1/3", ""])
def test_what_is_no_part_of_a_whole(text: str) -> None:
    with pytest.raises(SynopticError, match="write it like 0/3"):
        parse_partition(text)


def test_a_site_sets_keys_of_its_data_only(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="is the server's to say"):
        own_data(str(tmp_path), ["train.lr=9"])

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rooms
from runs import small
from synoptic.adapters.peft_io import import_peft
from synoptic.adapters.stack import expand
from synoptic.core.files import read_json, write_json
from synoptic.data import manifest
from synoptic.data.federated import FederatedData
from synoptic.experiment.report.examples import examples
from synoptic.experiment.report.parts import Block
from synoptic.experiment.report.pictures import SIDE, data_uri
from synoptic.experiment.runner import run
from written import scenes_of


def shown(folder: Path) -> Block:
    (scene,) = scenes_of(folder)
    block = examples(scene, _data(folder))
    assert block is not None
    return block


def _data(folder: Path) -> FederatedData:
    return manifest.load(next(path for path in sorted(folder.glob("fedavg*"))) / "split")


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """The session's runs, to be damaged."""
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def test_every_method_answers_the_same_pictures(runs: Path) -> None:
    block = shown(runs)
    parts = [example.part for example in block.examples]
    assert parts == sorted(parts)
    assert parts.count("novel") == 5
    assert 0 < parts.count("base") <= 5, "a client may have fewer"
    assert f"by lot, {parts.count('base')} of the test data of client-" in block.about[0]
    for example in block.examples:
        assert [answer.who for answer in example.answers] == ["before, zeroshot", "fedavg", "local (personal)"]
        for answer in example.answers:
            assert answer.right == (answer.text == example.truth)
            assert answer.share is not None
            assert 0 < answer.share <= 1
    assert block == shown(runs), "the draw is fixed"


def test_the_answers_are_those_of_evaluation(tmp_path: Path) -> None:
    folder = run(small(tmp_path, "fedavg", "rounds=2", "data.test_limit=30", "train.lr=0.01")).folder
    data = manifest.load(folder / "split")
    bench = rooms.bench(data)
    adapter = import_peft(folder / "adapters" / "shared")
    for example in shown(tmp_path).examples:
        picture = Image.open(io.BytesIO(base64.b64decode(example.picture.split(",")[1])))
        (position,) = [p for p in data.tests[example.part] if _same(data, p, picture)]
        for answer, stack in zip(example.answers, ({}, expand(adapter, 1)), strict=True):
            scores = bench.problem.score(stack, np.array([position]), example.part)
            assert bool(scores["accuracy"][0, 0]) == answer.right
            if answer.right:
                assert answer.share == pytest.approx(float(torch.exp(-scores["loss"][0, 0])), abs=1e-4)


def _same(data: FederatedData, position: int, picture: Image.Image) -> bool:
    ours = data.test.images.load(np.array([position]))[0]
    return data_uri(ours) == data_uri(picture)


def test_a_personal_method_is_asked_about_its_clients_own_pictures(runs: Path) -> None:
    block = shown(runs)
    name = block.about[0].split("the personal one of ")[1].split(",")[0]
    data = _data(runs)
    client = [data.clients.name(k) for k in range(len(data.clients))].index(name)
    own = {data_uri(picture) for picture in data.test.images.load(data.clients.test(client))}
    assert {example.picture for example in block.examples if example.part == "base"} <= own


def test_shared_methods_alone_draw_from_all_test_pictures(runs: Path, tmp_path: Path) -> None:
    for path in runs.glob("fedavg*"):
        shutil.copytree(path, tmp_path / path.name)
    assert "5 of base classes and 5 of novel classes" in shown(tmp_path).about[0]


def test_a_lost_adapter_costs_its_answers_and_nothing_else(copied: Path) -> None:
    for path in copied.glob("local*"):
        shutil.rmtree(path / "adapters")
    block = shown(copied)
    assert [answer.who for answer in block.examples[0].answers] == ["before, zeroshot", "fedavg"]
    (note,) = block.notes
    assert note.startswith("local (personal) is not among the examples: there is no adapter folder local-digits-")


def test_a_lost_shared_adapter_is_not_taken_for_the_untouched_base(copied: Path) -> None:
    for path in copied.glob("fedavg*"):
        shutil.rmtree(path / "adapters" / "shared")
    block = shown(copied)
    assert [answer.who for answer in block.examples[0].answers] == ["before, zeroshot", "local (personal)"]
    assert block.notes[0].startswith("fedavg is not among the examples")


def test_another_base_under_the_same_name_gives_no_examples(copied: Path) -> None:
    for path in copied.iterdir():
        summary = read_json(path / "summary.json")
        summary["model"]["fingerprint"] = "0" * 16
        write_json(path / "summary.json", summary)
    block = shown(copied)
    assert block.examples == ()
    assert "was 0000000000000000 and is now" in block.notes[0]


@pytest.mark.parametrize(
    ("size", "kept"), [((8, 8), (112, 112)), ((100, 70), (100, 70)), ((400, 200), (SIDE, SIDE // 2))]
)
def test_pictures_are_small_and_sharp(size: tuple[int, int], kept: tuple[int, int]) -> None:
    uri = data_uri(Image.new("L", size, 7))
    assert uri.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size == kept

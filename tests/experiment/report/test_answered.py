from __future__ import annotations

import shutil

import pytest

from asking import asked
from synoptic.data import manifest
from synoptic.experiment.ask import ask_tests
from synoptic.experiment.report.examples import QUESTIONS, examples
from synoptic.experiment.report.parts import Block
from synoptic.experiment.report.pictures import data_uri
from written import scenes_of


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Block:
    folder = tmp_path_factory.mktemp("runs")
    for method in ("fedavg", "local", "zeroshot"):
        shutil.copytree(asked(method), folder / method)
    (scene,) = scenes_of(folder)
    found = examples(scene, manifest.load(folder / "fedavg" / "split"))
    assert found is not None
    return found


def test_every_method_answers_the_same_questions_before_and_after(block: Block) -> None:
    data = manifest.load(asked() / "split")
    words = data.test.words
    assert words is not None
    assert 0 < len(block.examples) <= QUESTIONS
    known = set(zip(words.questions, words.answers, strict=True))
    for example in block.examples:
        assert [one.who for one in example.answers] == ["before, zeroshot", "fedavg", "local (personal)"]
        assert (example.question, example.truth) in known
        for one in example.answers:
            assert one.right == (one.text == example.truth)
            assert one.share is None


def test_the_questions_are_the_clients_own_where_a_method_has_personal_models_only(block: Block) -> None:
    data = manifest.load(asked() / "split")
    name = block.about[0].split("rows of the test data of ")[1].split(":")[0]
    client = [data.clients.name(k) for k in range(len(data.clients))].index(name)
    own = {data_uri(picture) for picture in data.test.images.load(data.clients.test(client))}
    assert {example.picture for example in block.examples} <= own


def test_answers_are_those_of_the_command(block: Block) -> None:
    data, replies = manifest.load(asked() / "split"), ask_tests(asked(), 0, before=True).replies
    pictures = map(data_uri, data.test.images.load(data.tests["global"]))
    said = {(uri, reply.question): reply for uri, reply in zip(pictures, replies, strict=True)}
    for example in block.examples:
        reply = said[example.picture, example.question]
        assert (example.answers[0].text, example.answers[1].text) == (reply.before, reply.answer)

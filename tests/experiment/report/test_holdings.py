from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asking import questions
from rooms import digits, shared_out, world
from synoptic.data.federated import FederatedData
from synoptic.data.inspect import class_counts
from synoptic.experiment.report.holdings import holdings
from synoptic.experiment.report.parts import Block
from synoptic.experiment.report.scene import Scene
from written import scenes_of, texts, write_run


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    write_run(tmp_path / "a")
    return scenes_of(tmp_path)[0]


def numbers(block: Block, figure: int = 0) -> list[list[float]]:
    rows = texts(block.figures[figure].grid)[1:]
    return [[0.0 if text == "·" else float(text.replace(",", "")) for text in row[1:]] for row in rows]


def named(data: FederatedData, *names: str) -> FederatedData:
    return replace(data, clients=replace(data.clients, names=names))


def test_the_table_counts_examples_by_client_and_class(scene: Scene) -> None:
    data = digits()
    block = holdings(scene, data, 3)
    assert numbers(block) == class_counts(data)[:, data.base_classes].tolist()
    assert block.about[0].startswith("Seed 3. 4 clients, 72 training examples (from ")
    assert "of 7 base classes (3 more are novel)" in block.about[0]
    assert "40 test examples are nobody's training data." in block.about[0]


def test_of_questions_the_sentence_speaks_of_questions(scene: Scene) -> None:
    data = questions()
    block = holdings(scene, data, 0)
    assert "3 clients, 60 training questions (each 18) of 2 kinds of questions; a client holds" in block.about[0]
    assert "24 test questions are nobody's training data." in block.about[0]
    assert [figure.title for figure in block.figures] == [
        "examples by client and kind",
        "examples by client and domain",
    ]
    assert "class" not in block.about[0] + block.figures[0].about


@pytest.mark.parametrize(("answers", "said"), [(3, " of 3 answers; a client holds"), (1, " (each 18). 24 test")])
def test_questions_of_files_are_counted_by_answer_where_answers_are_few(scene: Scene, answers: int, said: str) -> None:
    data = replace(questions(), origin=None)
    names = tuple(f"answer {k}" for k in range(answers))
    labels = np.arange(len(data.train)) % answers
    train = replace(data.train, labels=labels, class_names=names, domains=None, domain_names=())
    block = holdings(scene, replace(data, train=train, base_classes=np.arange(answers)), 0)
    assert said in block.about[0]
    assert [figure.title for figure in block.figures] == ["examples by client and answer"] * (answers > 1)


def test_domains_have_a_picture_of_their_own(scene: Scene) -> None:
    data = world()
    block = holdings(scene, data, 0)
    assert [figure.title for figure in block.figures] == [
        "examples by client and class",
        "examples by client and domain",
    ]
    assert numbers(block, 1) == class_counts(data, "domain").tolist()


def test_many_clients_are_sorted_by_size_and_averaged(scene: Scene) -> None:
    data = shared_out(digits(train=200), [k % 5 + 1 for k in range(60)])
    block = holdings(scene, data, 0)
    found = np.array(numbers(block))
    assert found.shape == (40, 7)
    totals = found.sum(axis=1)
    assert (np.diff(totals) <= 0.11).all(), "texts are rounded to a tenth"
    assert "each row the mean of about 2 of them" in block.figures[0].about
    assert texts(block.figures[0].grid)[1][0] == "1 to 2"


def test_many_classes_are_summed(scene: Scene) -> None:
    data = digits()
    names = tuple(f"class {k}" for k in range(90))
    labels = np.arange(len(data.train)) % 80
    data = replace(data, train=replace(data.train, labels=labels, class_names=names), base_classes=np.arange(80))
    block = holdings(scene, data, 0)
    found = np.array(numbers(block))
    assert found.shape == (4, 40)
    assert found.sum() == 72
    assert texts(block.figures[0].grid)[0][1] == "class 0 … class 1"


def test_odd_names_are_whole_in_the_table_and_harmless_in_the_drawing(scene: Scene) -> None:
    odd = '<script>alert("β")</script> & the ward with a very long name'
    block = holdings(scene, named(digits(), odd, "b", "c", "d"), 0)
    assert texts(block.figures[0].grid)[1][0] == odd
    assert "<script" not in block.figures[0].svg
    assert "&lt;script&gt;alert…" in block.figures[0].svg


def test_one_client_who_holds_all(scene: Scene) -> None:
    data = shared_out(digits(), [72])
    assert "1 client, 72 training examples (each 72)" in holdings(scene, data, 0).about[0]

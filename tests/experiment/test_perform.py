"""Doing a task with what a run left: as it was measured, on files of one's own, and what goes wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import finished as runs
from runs import TASKS
from synoptic import cli
from synoptic.core import SynopticError
from synoptic.data import manifest
from synoptic.experiment.display.performed import performed_json, show_performed, show_tasks
from synoptic.experiment.export import export
from synoptic.experiment.perform import How, Performed, perform, perform_tests, tasks_of
from synoptic.experiment.recipe import read_recipe

KINDS = ["data=tasks", *(setting for setting in TASKS if "archetypes" not in setting),
         "data.tasks.archetypes=[[shapes], [corrections], [questions, pictures]]"]  # fmt: skip


def done() -> Path:
    """A run with all kinds of tasks."""
    return runs.finished("tap", *KINDS, "train.lr=0.004")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The test pictures of the task that classifies, as files."""
    folder = tmp_path_factory.mktemp("pictures")
    data = manifest.load(done() / "split", read_recipe(done() / "recipe.yaml").data)
    rows = data.tests["domain/shapes"]
    paths = [folder / f"{row}.png" for row in rows]
    for path, pixels in zip(paths, data.test.images.load(rows), strict=True):
        Image.fromarray(np.asarray(pixels)).save(path)
    return paths


# -- as it was measured ----------------------------------------------------------------------------------------------


def test_a_runs_own_tests_come_out_as_they_were_measured() -> None:
    summary = json.loads((done() / "summary.json").read_text())
    for name, client in (("shapes", "client-0"), ("corrections", "1"), ("questions", "2")):
        found = perform_tests(done(), name, 0, client)
        said = [one.top[0].name if one.top else one.written for one in found.results]
        share = np.mean([answer == one.truth for answer, one in zip(said, found.results, strict=True)])
        assert share == pytest.approx(summary["metrics"][f"personal/local/{name}/accuracy/mean"]), name


def test_pictures_are_reconstructed_as_they_were_measured_and_written(tmp_path: Path) -> None:
    summary = json.loads((done() / "summary.json").read_text())
    found = perform_tests(done(), "pictures", 0, "2", How(out=tmp_path / "new"))
    errors = [one.error for one in found.results]
    assert np.mean([error or 0 for error in errors]) == pytest.approx(
        summary["metrics"]["personal/local/pictures/error/mean"], rel=1e-4)  # fmt: skip
    files = [one.file for one in found.results]
    assert sorted((tmp_path / "new").iterdir()) == files
    assert files[0] is not None
    with Image.open(files[0]) as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")
        assert np.array_equal(np.asarray(picture), found.results[0].drawn)
    with pytest.raises(SynopticError, match="exists already; remove it or set --out to another folder"):
        perform_tests(done(), "pictures", 0, "2", How(out=tmp_path / "new"))


def test_some_tests_are_drawn_by_lot_and_the_same_again() -> None:
    one, two = (perform_tests(done(), "shapes", 2).results for _ in range(2))
    assert [result.picture for result in one] == [result.picture for result in two]
    assert len(one) == 2


# -- one's own -------------------------------------------------------------------------------------------------------


def test_files_give_what_the_runs_rows_give(pictures: list[Path]) -> None:
    ours, rows = perform(done(), "shapes", pictures, []), perform_tests(done(), "shapes", 0)
    assert [one.picture for one in ours.results] == [str(path) for path in pictures]
    for one, other in zip(ours.results, rows.results, strict=True):
        assert [guess.name for guess in one.top] == [guess.name for guess in other.top]
        assert one.top[0].probability == pytest.approx(other.top[0].probability, rel=1e-4)
        assert one.truth is None


def test_an_exported_folder_does_the_same(pictures: list[Path], tmp_path: Path) -> None:
    shared, own = export(done(), tmp_path / "out", client="client-0")
    assert [task.name for task in tasks_of(shared)] == ["shapes", "corrections", "questions", "pictures"]
    assert [task.name for task in tasks_of(own)] == ["shapes"]
    assert perform(own, None, pictures, []).results == perform(done(), None, pictures, [], client="0").results
    assert perform(tmp_path / "out", "shapes", pictures, []).results == perform(shared, "shapes", pictures, []).results


def test_texts_and_pictures_are_paired(pictures: list[Path]) -> None:
    found = perform(done(), "questions", pictures[:1], ["what colour?", "what shape?"], client="2")
    assert [(one.picture, one.text) for one in found.results] == [
        (str(pictures[0]), "what colour?"), (str(pictures[0]), "what shape?")]  # fmt: skip
    assert all(isinstance(one.written, str) for one in found.results)
    (found,) = perform(done(), "corrections", [], ["not red, a blue star"]).results
    assert found.picture is None
    assert sum(guess.probability for guess in found.top) <= 1


# -- the card --------------------------------------------------------------------------------------------------------


def test_the_card_says_what_the_blocks_are_for(tmp_path: Path) -> None:
    _, own = export(done(), tmp_path / "out", client="client-2")
    text = (own / "README.md").read_text()
    for line in (
        "pipeline_tag: any-to-any", "| `questions` | image and text | a text |",
        'synoptic task path/to/this/folder questions --image picture.png --text "..."',
        "synoptic task path/to/this/folder pictures --image picture.png --out pictures",
        "| `personal/local/pictures/error/mean` |", "| `personal/local/skill/mean` |", "This card names no client.",
    ):  # fmt: skip
        assert line in text
    for word in ("client-2", "`shapes`", "class names", "| `personal/local/shapes"):
        assert word not in text
    code = text.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(own))
    space: dict[str, Any] = {}
    exec(code, space)
    assert list(space["model"].tasks) == ["questions", "pictures"]


def test_blocks_are_not_merged(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="blocks lie beside the weights of its base; leave out --merged"):
        export(done(), tmp_path / "out", merged=True)
    assert not (tmp_path / "out").exists()


# -- the command -----------------------------------------------------------------------------------------------------


def typed(*words: str) -> tuple[int, str]:
    from typer.testing import CliRunner

    result = CliRunner().invoke(cli.app, ["task", *words])
    return result.exit_code, result.output


def test_the_command_lists_does_and_counts(pictures: list[Path]) -> None:
    status, text = typed(str(done()))
    assert status == 0
    assert "one of 10 labels: red" in " ".join(text.split())
    assert [task["name"] for task in json.loads(typed(str(done()), "--json")[1])] == [
        "shapes", "corrections", "questions", "pictures"]  # fmt: skip
    content = json.loads(typed(str(done()), "shapes", "--image", str(pictures[0]), "--top", "2", "--json")[1])
    assert content["task"] == "shapes"
    assert len(content["results"][0]["top"]) == 2
    assert "of 3 right; task questions" in typed(str(done()), "questions", "--test", "3")[1]
    status, text = typed(str(done()), "shapes", "--test", "3", "--image", str(pictures[0]))
    assert status == 2
    assert "leave out --image" in " ".join(text.split())


@pytest.mark.parametrize("name", ["shapes", "corrections", "questions", "pictures"])
def test_results_fit_into_a_narrow_terminal(tmp_path: Path, name: str) -> None:
    out = io.StringIO()
    found = perform_tests(done(), name, 2, None, How(out=tmp_path / "new" if name == "pictures" else None))
    show_performed(Console(file=out, width=60, color_system=None), found)
    show_tasks(Console(file=out, width=60, color_system=None), tasks_of(done()))
    assert max(len(line) for line in out.getvalue().splitlines()) <= 60
    assert len(json.loads(performed_json(found))["results"]) == 2


# -- what goes wrong -------------------------------------------------------------------------------------------------


def call(**changes: Any) -> Performed:
    options: dict[str, Any] = {"adapter": done(), "name": "shapes", "images": [], "texts": []} | changes
    return perform(**options)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "task 'shapes' reads image, and no picture was given; add --image"),
        ({"texts": ["a star"]}, "task 'shapes' reads image, and no picture was given; add --image"),
        ({"images": ["nowhere.png"], "texts": ["a"]}, "reads image, and a text was given; leave out --text"),
        ({"images": ["nowhere.png"]}, "there is no picture nowhere.png; check the path"),
        ({"name": "corrections", "texts": ["red", " "]}, "a text for task 'corrections' is empty; write one"),
        ({"name": "shape"}, "has no task 'shape'; did you mean 'shapes'"),
        ({"name": "zzz"}, "has no task 'zzz'; it has shapes, corrections, questions, pictures"),
        ({"name": None}, "has the tasks shapes, corrections, questions, pictures; say which"),
        ({"name": "pictures", "images": ["a.png"]}, "task 'pictures' makes pictures; say where to write them: --out"),
        ({"how": How(out=Path("new")), "images": ["a.png"]}, "task 'shapes' makes no pictures; leave out --out"),
        ({"client": "9"}, "has no adapter of a client '9'"),
        ({"client": "1"}, "has no task 'shapes'; it has corrections"),
        ({"adapter": "tiny-clip"}, "the base tiny-clip alone does not have several tasks"),
        ({"name": "corrections", "texts": ["a"], "base": "tiny-vlm"}, "models of several tasks need a dual encoder"),
    ],
)
def test_what_goes_wrong_is_told(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SynopticError) as caught:
        call(**changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_client_without_the_task_has_no_tests_of_it() -> None:
    with pytest.raises(SynopticError, match="has no task 'shapes'; it has corrections"):
        perform_tests(done(), "shapes", 0, "1")


def test_other_commands_say_which_one_to_take(pictures: list[Path]) -> None:
    from synoptic.experiment.ask import ask, ask_tests
    from synoptic.experiment.predict import predict

    for call in (lambda: predict(done(), pictures), lambda: ask(done(), pictures, ["what is it?"]),
                 lambda: ask_tests(done(), 3)):  # fmt: skip
        with pytest.raises(SynopticError, match="several tasks; say which: synoptic task"):
            call()
    with pytest.raises(SynopticError, match="does not have several tasks; classify pictures with `synoptic predict"):
        perform(runs.finished(), "shapes", pictures, [])

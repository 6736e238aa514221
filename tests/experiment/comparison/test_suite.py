from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synoptic.core import SynopticError
from synoptic.experiment.comparison.suite import Cell, Suite, is_setting, parse_suite, read_suite, suite_of_words


def suite(**content: Any) -> Suite:
    return parse_suite({"methods": ["fedavg", "local"], "seeds": 2, **content}, "trial", Path())


def test_cells_come_seed_by_seed_condition_by_condition() -> None:
    cells = suite(conditions={"iid": {"data.partition": "iid"}, "skew": {}}).cells
    assert [(cell.seed, cell.condition, cell.label) for cell in cells] == [
        (seed, condition, label) for seed in (0, 1) for condition in ("iid", "skew") for label in ("fedavg", "local")
    ]


def test_layers_lie_in_the_order_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("method: fedavg\nrounds: 1\ntrain: {lr: 0.5, epochs: 7, batch_size: 3}\n")
    one = parse_suite(
        {
            "recipe": "base.yaml",
            "settings": {"rounds": 2, "train.lr": 0.4, "method.mean": "product"},
            "conditions": {"hot": {"train.lr": 0.3}},
            "methods": ["fedavg", {"label": "mine", "method": "fedavg", "train": {"lr": 0.2}, "method.mean": "factor"}],
            "seeds": [4],
        },
        "trial",
        tmp_path,
    )
    plain, mine = (one.recipe_of(cell, Path("out")) for cell in one.cells)
    assert (plain.rounds, plain.train.lr, plain.train.epochs, plain.seed) == (2, 0.3, 7, 4)
    assert plain.method.settings.mean == "product", "naming the method does not wipe out its settings"
    assert (mine.train.lr, mine.train.epochs, mine.method.settings.mean) == (0.2, 7, "factor")
    assert plain.output == "out"


def test_another_method_takes_over_a_recipe_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("method: {name: fedprox, mu: 0.3}\nrounds: 3\n")
    one = parse_suite({"recipe": "base.yaml", "methods": ["fedavg", "fedprox"]}, "trial", tmp_path)
    assert [one.recipe_of(cell, Path()).method.name for cell in one.cells[:2]] == ["fedavg", "fedprox"]
    assert one.recipe_of(one.cells[0], Path()).rounds == 3


def test_a_condition_starts_a_section_anew() -> None:
    one = suite(
        settings={"data.partition": "dirichlet", "data.partition.alpha": 0.1},
        conditions={"skew": {}, "even": {"data.partition": "iid"}},
    )
    skew, even = (one.recipe_of(Cell("fedavg", name, 0), Path()).data.partition for name in ("skew", "even"))
    assert (skew.kind, skew.alpha) == ("dirichlet", 0.1)
    assert even.kind == "iid"


def test_the_hash_is_over_what_decides_results() -> None:
    assert suite().hash == suite(seeds=5).hash == suite(title="another", baseline="local").hash
    assert suite().hash == suite(methods=["local", "fedavg"]).hash
    assert suite().hash != suite(settings={"rounds": 3}).hash
    assert suite().hash != suite(methods=["fedavg"]).hash


def test_quick_lies_over_everything() -> None:
    one = suite(methods=[{"label": "a", "method": "fedavg", "rounds": 9}], seeds=7, quick={"rounds": 1}).quicker()
    assert one.seeds == (0, 1)
    assert one.recipe_of(one.cells[0], Path()).rounds == 1


def test_words_of_the_command_line() -> None:
    one = suite_of_words(["zeroshot", "fedprox:method.mu=0.1:train.lr=0.5", "data=world", "rounds=2"], seeds=3)
    assert list(one.methods) == ["zeroshot", "fedprox:method.mu=0.1:train.lr=0.5"]
    recipe = one.recipe_of(one.cells[1], Path())
    assert (recipe.method.name, recipe.method.settings.mu, recipe.train.lr) == ("fedprox", 0.1, 0.5)
    assert (recipe.data.source, recipe.rounds, one.seeds) == ("world", 2, (0, 1, 2))


@pytest.mark.parametrize(
    ("word", "setting"),
    [("data=world", True), ("data=folder:photos", True), ("fedprox:method.mu=1", False), ("fedavg", False)],
)
def test_settings_are_told_from_methods(word: str, setting: bool) -> None:
    assert is_setting(word) == setting


def test_a_suite_file_with_settings_over_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("methods: [fedavg, local]\nsettings: {rounds: 4, train.lr: 0.1}\nseeds: [3, 5]\nbaseline: local\n")
    assert read_suite(file).name == "mine"
    one = suite_of_words([str(file), "rounds=1"])
    assert (one.seeds, one.baseline, one.name) == ((3, 5), "local", "mine")
    recipe = one.recipe_of(one.cells[0], Path())
    assert (recipe.rounds, recipe.train.lr) == (1, 0.1)
    assert suite_of_words([str(file)], seeds=1, baseline="fedavg").seeds == (0,)


def test_recipe_files_side_by_side(tmp_path: Path) -> None:
    for name, rounds in (("short", 1), ("long", 5)):
        (tmp_path / f"{name}.yaml").write_text(f"method: fedavg\nrounds: {rounds}\n")
    one = suite_of_words([str(tmp_path / "short.yaml"), str(tmp_path / "long.yaml")])
    assert [one.recipe_of(cell, Path()).rounds for cell in one.cells[:2]] == [1, 5]
    assert list(one.methods) == ["short", "long"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"methods": ["fedavg", "fedavg"]}, "two entries are called 'fedavg'"),
        ({"methods": []}, "without methods"),
        ({"seeds": 0}, "without seeds"),
        ({"seeds": [1, 1]}, "each once"),
        ({"baseline": "fedavgg"}, "did you mean 'fedavg'?"),
        ({"metods": ["fedavg"]}, "did you mean 'methods'?"),
        ({"methods": [{"rounds": 3}]}, "needs a name"),
        ({"settings": {"seed": 3}}, "'seed' is no setting of a comparison; say --seeds"),
        ({"conditions": {"a": {"output": "x"}}}, "'output' is no setting of a comparison"),
    ],
)
def test_a_suite_with_a_mistake_is_one_sentence(content: dict[str, Any], says: str) -> None:
    with pytest.raises(SynopticError) as caught:
        suite(**content)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_file_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("methods: [fedavg]\nsedes: 3\n")
    with pytest.raises(SynopticError, match=r"s\.yaml, line 2: .*sedes.*seeds"):
        read_suite(tmp_path / "s.yaml")


def test_a_method_that_cannot_be_is_named() -> None:
    one = suite_of_words(["fedavg", "fedprx"])
    with pytest.raises(SynopticError, match=r"fedprx: there is no method .* did you mean 'fedprox'\?"):
        _ = one.hash


def test_no_words_say_what_to_do() -> None:
    with pytest.raises(SynopticError, match="synoptic compare fedavg local"):
        suite_of_words(["rounds=3"])


def test_a_suite_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("methods: [fedavg]\n")
    with pytest.raises(SynopticError, match="is a suite and stands alone; add the other methods"):
        suite_of_words([str(tmp_path / "s.yaml"), "local"])


def test_a_suite_can_be_read_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("method: fedavg\nrounds: 7\n")
    one = parse_suite({"recipe": "base.yaml", "methods": ["fedavg"]}, "trial", tmp_path).anywhere()
    other = parse_suite(one.model_dump(), "trial", Path("/"))
    assert other.recipe_of(other.cells[0], Path()).rounds == 7

"""MoR where questions are not generated: any table with pictures, on a model in Hugging Face's own format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensordict import TensorDict

import answerers
from aligned import aligning, aligning_bench
from parquets import pictures
from rooms import play, same, serve
from synoptic.core import SynopticError
from synoptic.data import DataSpec, FederatedData, build
from synoptic.experiment.claims.reading import read_claims
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import run
from synoptic.methods.aligning import Aligning
from synoptic.methods.feddpo import FedDPO
from synoptic.methods.fedgrpo import FedGRPO
from synoptic.methods.mor import MoR

RECIPES = Path(__file__).parents[2] / "recipes"
ROWS = 48
SAID = ("red", "blue", "a red circle", "a blue square", "yes .", "no .")


def rlaif_v(folder: Path, **columns: Any) -> Path:
    """Records as RLAIF-V has them: a picture with a question, a better and a worse answer, and where it comes from."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, seed in (("train", 0), ("test", 1)):
        table = {
            "ds_name": ["RLAIF-V"] * ROWS,
            "image": pictures(ROWS, seed),
            "question": [answerers.QUESTIONS[row % 4] for row in range(ROWS)],
            "chosen": [SAID[row % 6] for row in range(ROWS)],
            "rejected": [SAID[(row + 1) % 6] for row in range(ROWS)],
            "origin_dataset": [("COCO", "VQAv2", "OK-VQA")[row % 3] for row in range(ROWS)],
            "idx": list(range(ROWS)),
        } | columns
        pq.write_table(pa.table(table), folder / f"{part}.parquet")
    return folder


def answered(folder: Path, **options: Any) -> FederatedData:
    """The same with right answers only."""
    asked = {"source": f"parquet:{rlaif_v(folder)}", "question": "question", "answer": "chosen", "clients": 3,
             "public": 0.25, "wrong": True, "partition": "iid"}  # fmt: skip
    return build(DataSpec.model_validate(asked | options), 0)


def small(name: str, path: Path, output: Path, *changes: str) -> Recipe:
    """A shipped recipe on another table and on a small random model, cut short."""
    return load_recipe(RECIPES / f"{name}.yaml", [
        "data.source=parquet", f"data.path={path}", "data.clients=3", "data.train_limit=none", "data.test_limit=8",
        "data.partition.alpha=5", "compute.threads=1", "compute.base_dtype=float32", "rounds=3",
        "method.reward_rounds=1", "method.steps=1", "method.prompts=3", "method.policy.group=2",
        "method.policy.tokens=4", "train.steps=2", f"output={output}", *changes,
    ])  # fmt: skip


# -- the recipes that ship --------------------------------------------------------------------------------------------


def test_the_hub_recipe_runs_on_records_of_that_form(tmp_path: Path) -> None:
    recipe = small("hub_mor_rlaif", rlaif_v(tmp_path / "rlaif"), tmp_path / "runs",
                   f"model={answerers.folder('smolvlm')}")  # fmt: skip
    assert recipe.method.settings.demonstrate is None, "the server does not look at what is preferred of its own"
    assert recipe.data.public > 0 and recipe.data.rejected == "rejected"
    result = run(recipe)
    assert 0 <= result.metrics["shared/global/preference/mean"] <= 1
    assert result.summary["log"]["skipped"] == 0
    assert {file.name for file in result.folder.rglob("adapter_config.json")}, "PEFT's own format comes out"


# -- what the server's rows are for -----------------------------------------------------------------------------------


def policy(method: Aligning, data: FederatedData) -> TensorDict:
    adapter: TensorDict = play(method, serve(method, aligning_bench(data)), 3).state.adapter
    return adapter


def forgotten(data: FederatedData) -> FederatedData:
    """The same, but the server's answers say nothing."""
    assert data.pool is not None and data.pool.words is not None
    words = data.pool.words
    nothing = replace(words, answers=("two",) * len(words), rejected=("one star",) * len(words))
    return replace(data, pool=replace(data.pool, words=nothing))


@pytest.mark.parametrize("settings", [{}, {"router": "uniform"}, {"rewards": "average"}], ids=str)
def test_the_servers_own_answers_are_not_looked_at_unless_it_is_to_imitate_them(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    data = answered(tmp_path)
    assert same(*(policy(aligning(MoR, **settings), one) for one in (data, forgotten(data))))
    if not settings:
        how = {"epochs": 1, "batch_size": 4, "lr": 0.05}
        one, two = (policy(aligning(MoR, demonstrate=how), one) for one in (data, forgotten(data)))
        assert not same(one, two)


def test_relatives_take_the_same_data(tmp_path: Path) -> None:
    data = answered(tmp_path)
    policy(aligning(FedGRPO, auxiliary=6, nearest=3, top=2), data)
    method = FedDPO(FedDPO.Settings.model_validate({"demonstrate": None}))
    play(method, serve(method, aligning_bench(data)), 1)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "changes", "sentence"),
    [
        ({}, ["data.image=picture"], r"has no column 'picture'; set data\.image to one of its columns"),
        ({"image": [None] * ROWS}, [], r"column 'image' of .*train\.parquet is empty in 48 rows, first in row 0"),
        ({"image": [{"bytes": None, "path": None}] * ROWS}, [], "has neither image bytes nor a file; repair or remove"),
        ({"image": ["of a red circle"] * ROWS}, [], "of a red circle"),
        ({"question": [""] * ROWS}, [], r"row 0 of .* has no words in 'question'; fill or remove it"),
        ({"rejected": [SAID[row % 6] for row in range(ROWS)]}, ["method.judges=[{}]"], "have the same answer twice"),
        ({"rejected": [SAID[row % 6] for row in range(ROWS)]}, [], "has no pair to learn from; give it pairs"),
    ],
)
def test_questions_without_pictures_and_pairs_without_a_choice_are_one_sentence(
    tmp_path: Path, columns: dict[str, Any], changes: list[str], sentence: str
) -> None:
    path = rlaif_v(tmp_path / "rlaif", **columns)
    with pytest.raises(SynopticError, match=sentence):
        run(small("hub_mor_rlaif", path, tmp_path / "runs", f"model={answerers.folder('smolvlm')}", *changes))


def test_without_public_pictures_the_server_has_nothing_to_ask(tmp_path: Path) -> None:
    path = rlaif_v(tmp_path / "rlaif")
    with pytest.raises(
        SynopticError, match=r"the server holds no questions of its own beside .*; set data\.public, its"
    ):
        run(small("hub_mor_rlaif", path, tmp_path / "runs", f"model={answerers.folder('smolvlm')}", "data.public=0"))


def test_every_entry_of_the_claims_is_a_valid_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYNOPTIC_SHARED_DATA", str(tmp_path))
    (suite,) = read_claims(RECIPES.parent / "claims" / "mor_easy_vqa.yaml").suites.values()
    recipes = {cell.label: suite.recipe_of(cell, Path("runs")) for cell in suite.cells}
    assert {"mor", "uniform", "given", "single", "averaged", "labels"} <= recipes.keys()
    for name, recipe in recipes.items():
        assert recipe.data.public and recipe.data.wrong, name
        starts = getattr(recipe.method.settings, "demonstrate", None)
        assert name == "labels" or starts == recipes["mor"].method.settings.demonstrate, "all start alike"

from __future__ import annotations

from pathlib import Path

from measured import write_preferences, write_tasks, write_utilities
from synoptic.core.files import read_json, write_json
from synoptic.experiment.report.gather import gather
from synoptic.experiment.report.headline import headline
from synoptic.experiment.report.page import Request, make_page
from synoptic.experiment.report.render import render
from written import scenes_of, write_run


def said(folder: Path, baseline: str | None = None) -> str:
    (scene,) = scenes_of(folder, baseline)
    return headline(scene).replace("\u00a0", " ").replace("\u2212", "-")


def several(folder: Path, method: str, level: float, noise: tuple[float, ...] = (0, 0, 0)) -> None:
    for seed, more in enumerate(noise):
        write_run(folder / f"{method}{seed}", method, level=level + more, seed=seed)


def test_the_best_is_named_with_its_lead_over_baseline_and_next(tmp_path: Path) -> None:
    several(tmp_path, "fedavg", 0.7)
    several(tmp_path, "fedprox", 0.75, (0, 0.01, 0))
    several(tmp_path, "promptfl", 0.5)
    assert said(tmp_path, "promptfl") == (
        "fedprox has the highest harmonic mean of base and novel accuracy: 84.3 % ± 2.9, over 3 seeds. That is 25.3 "
        "points more (95 % interval 23.9 to 26.8) than promptfl, the baseline; and 5.3 points more (95 % interval 3.9 "
        "to 6.8) than fedavg, the next."
    )


def test_what_seeds_do_not_decide_is_said(tmp_path: Path) -> None:
    several(tmp_path, "fedavg", 0.7)
    several(tmp_path, "fedprox", 0.7, (0.05, -0.04, 0.02))
    assert said(tmp_path).endswith(
        "That is 1.0 points more (95 % interval -10.4 to 12.4, not decided) than fedavg, the baseline and the next."
    )


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "a", level=0.7)
    write_run(tmp_path / "b", "fedprox", level=0.75)
    assert "over 1 seed. That is 5.0 points more (one seed: not decided) than fedavg" in said(tmp_path)


def test_equals_share_the_first_place(tmp_path: Path) -> None:
    several(tmp_path, "fedavg", 0.7)
    several(tmp_path, "fedprox", 0.7)
    assert said(tmp_path) == "fedavg, fedprox share the highest harmonic mean of base and novel accuracy: 79.0 % ± 2.5."


def test_one_method_says_from_where_to_where(tmp_path: Path) -> None:
    several(tmp_path, "fedavg", 0.7)
    assert said(tmp_path) == (
        "4 rounds of fedavg (means over 3 seeds): base accuracy from 72.0 to 82.0 %; novel accuracy from 66.0 to 76.0 "
        "%. 1.7 MB crossed the boundary."
    )


def test_a_change_that_seeds_do_not_decide_is_said(tmp_path: Path) -> None:
    for seed, gain in enumerate((0.1, -0.08, 0.03)):
        write_run(tmp_path / str(seed), seed=seed, gain=gain)
    assert said(tmp_path).count("a change that these seeds do not decide") == 2


def test_what_stays_is_said_to_stay(tmp_path: Path) -> None:
    write_run(tmp_path / "a", gain=0)
    assert "base accuracy stayed at 81.0 %" in said(tmp_path)


def test_zero_rounds_trained_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "zeroshot", rounds=0, gain=0)
    assert said(tmp_path) == "Nothing was trained (0 rounds): base accuracy 81.0 %, novel accuracy 75.0 %."


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False, done=1)
    write_run(tmp_path / "b", finished=False, done=3, seed=1)
    assert said(tmp_path) == "Nothing is finished yet: 2 runs with 4 of 8 rounds done."


def test_a_number_that_is_none_leads_nothing(tmp_path: Path) -> None:
    nothing = {f"shared/{split}/accuracy/mean": float("nan") for split in ("base", "hm", "local")}
    write_run(tmp_path / "a", metrics=nothing)
    write_run(tmp_path / "b", "fedprox")
    assert said(tmp_path).startswith("fedprox has the highest")
    write_run(tmp_path / "c", "fedavg", "train.lr=0.5", metrics=nothing)
    (tmp_path / "b" / "summary.json").unlink()
    assert said(tmp_path) == "2 methods compared; no accuracy that they share was measured."


def test_of_questions_it_speaks_of_questions(tmp_path: Path) -> None:
    for method, level in (("fedavg", 0.7), ("fedprox", 0.8)):
        path = write_run(tmp_path / method, method, "data=questions", level=level)
        summary = read_json(path / "summary.json")
        summary["metrics"] = {name: value for name, value in summary["metrics"].items() if "/global/" in name}
        write_json(path / "summary.json", summary)
    assert said(tmp_path).startswith("fedprox has the highest accuracy on all test questions: 80.0 %")
    page = render(make_page(Request(gather([tmp_path]).groups, examples=False)))
    assert "Share of all test questions that are answered exactly." in page
    assert "among the names of" not in page


def test_utilities_are_numbers_and_come_first(tmp_path: Path) -> None:
    write_utilities(tmp_path / "a", level=0.6)
    assert said(tmp_path).startswith("4 rounds of fedavg: base utility from -0.56 to -0.16; novel utility from")
    for seed in (0, 1, 2):
        write_utilities(tmp_path / f"b{seed}", "fedprox", level=0.7, seed=seed)
    assert said(tmp_path) == (
        "fedprox has the highest true utility on clients' own test questions: 0.24 ± 0.10, over 3 seeds. That is 0.40 "
        "more (one seed: not decided) than fedavg, the baseline and the next."
    )


def test_methods_with_utilities_are_ranked_on_clients_own_data(tmp_path: Path) -> None:
    """The second is better on base and novel kinds."""
    write_utilities(tmp_path / "a", level=0.7)
    folder = write_utilities(tmp_path / "b", "fedprox", level=0.8)
    summary = read_json(folder / "summary.json")
    summary["metrics"]["shared/local/utility/mean"] = -2.0
    write_json(folder / "summary.json", summary)
    assert said(tmp_path).startswith("fedavg has the highest true utility on clients' own test questions: 0.20, over")


def test_preferences_are_called_what_they_are(tmp_path: Path) -> None:
    write_preferences(tmp_path / "a", level=0.6)
    assert "base preference from 61.0 to 71.0 %" in said(tmp_path)
    write_preferences(tmp_path / "b", "fedprox", level=0.7)
    assert said(tmp_path).startswith("fedprox has the highest harmonic mean of base and novel share of pairs in the")


def test_several_tasks_have_a_skill(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_tasks(tmp_path / f"a{seed}", "fedavg", level=0.4, models=("shared", "personal"), seed=seed)
    assert said(tmp_path) == (
        "4 rounds of fedavg (means over 2 seeds): shared skill from -0.19 to 0.01; personal skill from -0.19 to 0.01. "
        "1.7 MB crossed the boundary."
    )
    for seed in (0, 1):
        write_tasks(tmp_path / f"b{seed}", "local", level=0.6, models=("personal",), seed=seed)
    assert said(tmp_path).startswith("local (personal) has the highest skill, mean over tasks: 0.41 ± 0.13, over 2")


def test_a_skill_that_stays_is_said_to_stay(tmp_path: Path) -> None:
    write_tasks(tmp_path / "a", gain=0.001)
    assert ": skill stayed at 0.60." in said(tmp_path)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from runs import small, timeless
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment.events import Event
from synoptic.experiment.runner import resume, run
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Replies
from synoptic.methods.fedavg import FedAvg
from synoptic.models.load import shared_dual_encoder


def test_a_run_leaves_what_others_read(tmp_path: Path) -> None:
    result = run(small(tmp_path))
    summary = read_json(result.folder / "summary.json")
    assert summary == result.summary
    wanted = {"method", "recipe_hash", "seed", "rounds", "final_hash", "metrics", "bytes", "seconds", "environment"}
    assert wanted <= set(summary)
    assert {"up", "down", "by_kind"} <= set(summary["bytes"])
    assert {"total", "train", "evaluate", "communicate"} <= set(summary["seconds"])
    assert {"shared/base/accuracy/mean", "shared/novel/accuracy/mean", "shared/local/accuracy/worst"} <= set(
        summary["metrics"]
    )
    assert (summary["method"], summary["seed"], summary["rounds"]) == ("fedavg", 0, 4)
    for name in ("recipe.yaml", "events.jsonl", "checkpoints", "adapters/shared/adapter_model.safetensors", "split"):
        assert (result.folder / name).exists(), name
    assert len(list((result.folder / "checkpoints").iterdir())) == 2


def test_events_tell_the_run_in_order(tmp_path: Path) -> None:
    told: list[Event] = []
    result = run(small(tmp_path, "fedavg", "rounds=2", "evaluate.every=0"), [told.append])
    kinds = [event["type"] for event in told]
    assert kinds == [
        "run_started", *["cohort"] * 2, "evaluated",  # three clients, two at a time
        *["cohort"] * 2, "round",
        *["cohort"] * 4, "evaluated", "round", "run_finished",
    ]  # fmt: skip
    written = [event["type"] for event in timeless(result.folder)]
    assert written == [kind for kind in kinds if kind not in ("cohort", "run_started")]
    rounds = [event for event in told if event["type"] == "round"]
    assert [event["round"] for event in rounds] == [0, 1]
    assert rounds[0]["metrics"] == {}
    assert rounds[1]["metrics"] == result.metrics
    assert sum(event["bytes_up"] for event in rounds) == result.summary["bytes"]["up"]
    assert sum(event["bytes_down"] for event in rounds) == result.summary["bytes"]["down"]


def test_the_same_recipe_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    first, second = (run(small(tmp_path / str(i))) for i in range(2))
    other = run(small(tmp_path / "other", "fedavg", "seed=1"))
    assert first.summary["final_hash"] == second.summary["final_hash"] != other.summary["final_hash"]
    assert timeless(first.folder) == timeless(second.folder)
    assert first.summary["recipe_hash"] == other.summary["recipe_hash"]


def test_the_cache_changes_nothing_but_rounding(tmp_path: Path) -> None:
    cached, plain = (run(small(tmp_path / on, "fedavg", f"compute.cache={on}")) for on in ("true", "false"))
    for name, value in cached.metrics.items():
        assert plain.metrics[name] == pytest.approx(value, abs=1e-4), name


def test_fedavg_with_one_client_is_centralized_bit_for_bit(tmp_path: Path) -> None:
    one = run(small(tmp_path / "one", "fedavg", "data.clients=1", "data.partition=iid"))
    everyone = run(small(tmp_path / "all", "centralized"))
    assert one.summary["final_hash"] == everyone.summary["final_hash"]
    assert one.metrics["shared/base/accuracy/mean"] == everyone.metrics["shared/base/accuracy/mean"]


def test_centralized_is_measured_on_the_clients_it_replaces(tmp_path: Path) -> None:
    told: list[Event] = []
    result = run(small(tmp_path, "centralized", "rounds=1"), [told.append])
    assert len(result.summary["clients"]) == 3
    assert [event["clients"] for event in told if event["type"] == "round"] == [1]


def test_zeroshot_runs_no_round_and_is_the_start_of_every_method(tmp_path: Path) -> None:
    zero = run(small(tmp_path / "zero", "zeroshot", "rounds=0", "federation.stack=auto"))
    tuned = run(small(tmp_path / "tuned"))
    assert zero.summary["bytes"]["up"] == zero.summary["bytes"]["down"] == 0
    for name, value in zero.metrics.items():
        assert tuned.summary["before"][name] == pytest.approx(value, abs=1e-5), name


def test_a_second_run_does_not_touch_the_first(tmp_path: Path) -> None:
    first = run(small(tmp_path, "zeroshot", "rounds=0"))
    second = run(small(tmp_path, "zeroshot", "rounds=0"))
    assert second.folder.name == f"{first.folder.name}-2"


def test_the_base_is_never_changed(tmp_path: Path) -> None:
    model = shared_dual_encoder("tiny-clip").model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run(small(tmp_path, "fedavg", "adapter.text=lora"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_callers_threads_are_restored(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(small(tmp_path, "zeroshot", "rounds=0", "data.test_limit=20", "compute.threads=2"))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("change", ["data.clients=5000", "adapter.vision.lora.rank=9999", "data=folder:nowhere"])
def test_what_cannot_work_is_one_sentence(tmp_path: Path, change: str) -> None:
    with pytest.raises(SynopticError) as caught:
        run(small(tmp_path, "fedavg", change))
    assert "\n" not in str(caught.value)


class Spoilt:
    """Patches FedAvg's task so that some clients of some rounds answer nonsense or not at all."""

    def __init__(self, patch: pytest.MonkeyPatch, clients: set[int], rounds: set[int], how: str) -> None:
        original = FedAvg.train

        @task
        def train(method: FedAvg, cohort: Cohort, adapter: TensorDict) -> Replies:
            here = clients & set(cohort.clients) if cohort.round in rounds else set()
            if here and how == "raise":
                raise OSError("the disk is full")
            replies: Replies = original(method, cohort, adapter)
            for client in here:
                for tensor in replies.adapter.values():
                    tensor[cohort.clients.index(client)] = float("nan")
            return replies

        patch.setattr(FedAvg, "train", train)


@pytest.mark.parametrize(("how", "reason"), [("raise", "the disk is full"), ("nan", "not finite")])
def test_one_bad_client_is_an_event_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, reason: str
) -> None:
    Spoilt(monkeypatch, {1}, {2}, how)
    told: list[Event] = []
    result = run(small(tmp_path), [told.append])
    (failure,) = [event for event in told if event["type"] == "failure"]
    assert (failure["round"], failure["client"], failure["task"]) == (2, 1, "train")
    assert reason in failure["reason"]
    assert result.summary["rounds"] == 4


def test_a_failed_round_changes_nothing_and_three_in_a_row_stop_the_run_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Spoilt(patch, {0, 1, 2}, {1, 2, 3}, "nan")
        told: list[Event] = []
        with pytest.raises(SynopticError, match=r"3 rounds in a row failed; mend the clients and go on with --resume"):
            run(small(tmp_path, "fedavg", "rounds=6"), [told.append])
        assert [event["round"] for event in told if event["type"] == "round_failed"] == [1, 2, 3]
        metrics = [event["metrics"] for event in told if event["type"] == "evaluated"]
        assert metrics[1] == metrics[2] == metrics[3] == metrics[4] != metrics[0]
    (folder,) = tmp_path.iterdir()
    result = resume(folder)
    assert result.summary["rounds"] == 6
    assert result.metrics != metrics[-1]


def test_everybody_failing_is_the_original_exception_with_who_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Spoilt(patch, {0, 1, 2}, {1}, "raise")
        with pytest.raises(OSError, match="the disk is full") as caught:
            run(small(tmp_path))
    assert caught.value.__notes__[0] == "while train ran at client 0 in round 1"
    (folder,) = tmp_path.iterdir()
    whole: dict[str, Any] = run(small(tmp_path / "whole")).summary
    assert resume(folder).summary["final_hash"] == whole["final_hash"]

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import answerers
from aligned import SETTINGS, TASTES, aligning, aligning_bench, tastes
from rooms import play, same, serve
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import resume, run
from synoptic.federation.server import Server
from synoptic.learning.conditioned import of_objectives
from synoptic.learning.rollouts import roll_out
from synoptic.methods.mor import MoR

SAID = [["red circle", "a star", "no"], ["it is blue", "no", "yes ."], ["a", "b", "c"]]
ROWS = np.array([3, 0, 7])


def ready(method: MoR) -> Server:
    server = serve(method, aligning_bench())
    method.begin(server)
    server.round = method.settings.reward_rounds
    method.introduce(server)
    return server


def test_of_a_sites_objective_its_own_reward_counts_and_of_nobodys_the_routers() -> None:
    """R(x, y, o=k) = r_k(x, y); without an objective it is the mixture."""
    method = aligning(MoR, router="uniform", judges=[{"script": f"aligned_script:likes_{name}"} for name in
                                                     ("short_steadily", "red", "short_loudly")])  # fmt: skip
    server = ready(method)
    scores, _ = method.asked(server, ROWS, SAID, {client: np.arange(3) for client in range(3)})
    found = method._judged(server, ROWS, SAID, set(), np.array([-1, 2, 0])).reward
    expected = torch.stack([scores.mean(0)[0], scores[2, 1], scores[0, 2]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_of_a_site_that_is_gone_nothing_is_learned_and_of_others_as_ever() -> None:
    method = aligning(MoR, router="uniform", judges=[{"script": "aligned_script:likes_short"}])
    server = ready(method)
    server.state.there = torch.tensor([1.0, 0.0, 1.0])
    found = method._judged(server, ROWS, SAID, set(), np.array([1, 2, -1]))
    assert found.advantage is not None
    assert not found.advantage[0].any() and found.advantage[1].any()


def test_one_policy_answers_each_site_as_it_likes_and_is_measured_so() -> None:
    """Opposed tastes about the same questions: one site likes few words, the other many."""
    judges = [{"script": "aligned_script:likes_short"}, {"script": "beyond_script:likes_long"}]
    method = aligning(
        MoR, judges=judges, reward_rounds=0, steps=12, router="uniform", objective="site", prompts=12, own_rank=1,
        policy={"group": 6, "tokens": 3, "lr": 0.03, "temperature": 1.5, "beta": 0.0},
    )  # fmt: skip
    server = play(method, serve(method, aligning_bench(tastes(2), rounds=1)), 1)
    rows, whole = server.bench.pool_rows, method.broadcast(server)
    assert whole is not None
    worn = of_objectives(whole, method.parts(server.bench, whole), [0, 1])
    streams = [generator(0, "test"), generator(0, "test")]
    said = roll_out(
        rows.model, leaves(worn), rows, np.tile(np.arange(12), (2, 1)), method.settings.policy.decoding, streams
    )
    words = np.array([[len(text.split()) for text in some] for some in said.texts]).reshape(2, -1).mean(1)
    assert words[1] > words[0] + 0.5
    replies = server.ask("evaluate", to=[0, 1], splits="local", adapter=whole)
    problem, data = server.bench.problem, server.bench.data
    for client in (0, 1):
        own = problem.score(worn[client : client + 1], data.clients.test(client), "local")["utility"].sum()
        assert float(replies.fields["personal/local/utility"][client]) == pytest.approx(float(own), abs=1e-4)
    nobody = method.shared_model(server)
    assert nobody is not None
    both = problem.score(expand(nobody, 1), data.clients.test(0), "local")["utility"].sum()
    assert float(replies.fields["shared/local/utility"][0]) == pytest.approx(float(both), abs=1e-4)


def small(output: Path, *changes: str) -> Recipe:
    given = [f"method.{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    return load_recipe("mor", [*TASTES, *given, f"model={answerers.folder('llava')}", "compute.threads=1",
                               "method.objective=site", "method.router=uniform", "federation.stack=2", "rounds=3",
                               "adapter.text.lora.rank=2", f"output={output}", *changes])  # fmt: skip


def test_a_run_that_stopped_goes_on_as_if_it_had_not_and_leaves_an_adapter_for_each(tmp_path: Path) -> None:
    whole = run(small(tmp_path / "whole"))
    metrics = whole.metrics
    assert all(np.isfinite(metrics[f"{model}/local/utility/mean"]) for model in ("shared", "personal"))
    folders = sorted(path.name for path in (whole.folder / "adapters" / "personal").iterdir())
    assert len(folders) == 3

    def stop(event: dict[str, object]) -> None:
        if event["type"] == "round" and event["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path / "stopped"), [stop])
    (folder,) = (tmp_path / "stopped").iterdir()
    again = resume(folder)
    assert again.summary["final_hash"] == whole.summary["final_hash"]
    assert again.metrics == metrics


def test_questions_go_to_all_objectives_alike() -> None:
    method = aligning(MoR, router="uniform", objective="site", judges=[{"script": "aligned_script:likes_short"}])
    server = ready(method)
    seen: list[np.ndarray] = []
    judged = method._judged

    def noting(server: Server, positions: np.ndarray, texts: list[list[str]], gone: set[int], whose: np.ndarray):  # type: ignore[no-untyped-def]
        seen.append(whose)
        return judged(server, positions, texts, gone, whose)

    method._judged = noting  # type: ignore[method-assign, assignment]
    for chosen in (np.arange(8), np.arange(2)):
        method.stepped(server, chosen, 0, set())
    assert [some.tolist() for some in seen] == [[-1, -1, 0, 0, 1, 1, 2, 2], [-1, 0, 1, 2]]


def test_fixed_weights_are_shares() -> None:
    method = aligning(MoR, router="fixed", weights=[3, 0, 1], reward_rounds=0)
    server = serve(method, aligning_bench())
    assert method.weigh(server, np.arange(2)).tolist() == [[0.75, 0, 0.25]] * 2
    even, uniform = (aligning(MoR, router=router, reward_rounds=0) for router in ("fixed", "uniform"))
    assert torch.equal(even.weigh(server, np.arange(2)), uniform.weigh(server, np.arange(2)))


def test_only_with_objectives_clients_have_models_of_their_own() -> None:
    plain, told = aligning(MoR), aligning(MoR, objective="site")
    assert (MoR.has_personal, plain.has_personal, told.has_personal) == (False, False, True)
    server = serve(plain, aligning_bench())
    plain.begin(server)
    shared, broadcast = plain.shared_model(server), plain.broadcast(server)
    assert shared is not None and broadcast is not None and same(shared, broadcast)


def test_bad_input() -> None:
    method = aligning(MoR, reward_rounds=0, router="fixed", weights=[1, 2])
    with pytest.raises(SynopticError, match=r"method\.weights has 2 numbers, and there are 3 clients"):
        ready(method)
    for changes, sentence in (
        (["method.weights=[1,2]"], "weights are for router=fixed"),
        (["method.router=fixed", "method.weights=[0,0]"], "at least one of them above 0"),
        (["method.own_rank=2"], "own_rank is for objective=site"),
        (["method.objective=site", "method.rewards=pooled"], "objective is about clients' own reward models"),
        (["method.objective=client"], r"'method\.objective' cannot be 'client'"),
    ):
        with pytest.raises(SynopticError, match=sentence):
            load_recipe("mor", changes)

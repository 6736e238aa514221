"""The rules of the house (docs/architecture.md), each with its test or the places where it is tested."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensordict import TensorDict

from rooms import bench, broadcasts, digits, final, furthest, play, same, serve
from runs import small
from synoptic.adapters.stack import expand
from synoptic.data import DataSpec, build, check_overlap
from synoptic.data.clients import ClientIndex
from synoptic.data.rows import Rows
from synoptic.experiment.events import read_events
from synoptic.experiment.runner import run
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Replies
from synoptic.federation.personal import PersonalStore
from synoptic.methods.base import Method, load_method, registry
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.local import Local

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "synoptic"
SHARING = ["fedavg", "fedprox", "promptfl", "kgcoop"]

TESTED_IN = {
    "rule 1, every optimiser": ("learning/test_fit.py", "test_stacked_is_one_by_one_with_ragged_sizes"),
    "rule 1, mixed ranks": ("learning/test_fit.py", "test_mixed_ranks_train_as_they_would_alone"),
    "rule 2, every method": ("deploy/test_session.py", "test_rule_2_in_process_is_deployed"),
    "rule 2, sockets": (
        "deploy/test_superlink.py", "test_three_resident_nodes_over_plain_sockets_end_where_one_process_does",
    ),
    "rule 2, bytes": ("federation/test_local_federation.py", "test_the_wire_changes_nothing"),
    "rule 3, every method": ("experiment/test_resume.py", "test_stop_after_a_round_and_resume"),
    "rule 3, SIGKILL": ("experiment/test_resume.py", "test_sigkill_at_a_random_round"),
    "rule 4, cohorts": ("federation/test_server.py", "test_a_cohort_does_not_depend_on_what_was_drawn_before"),
    "rule 4, batches": ("learning/test_batches.py", "test_a_plan_is_a_pure_function_of_seed_round_and_client"),
    "rule 6, fedavg": ("methods/test_fedavg.py", "test_one_full_batch_step_is_one_big_batch_step_on_pooled_data"),
    "rule 6, centralized": ("experiment/test_runner.py", "test_fedavg_with_one_client_is_centralized_bit_for_bit"),
    "rule 6, fedprox": ("methods/test_fedprox.py", "test_without_a_term_it_is_fedavg_bit_for_bit"),
    "rule 6, local": ("methods/test_local_method.py", "test_one_client_with_all_data_ends_where_centralized_does"),
    "rule 7": ("methods/test_ledger_formula.py", "test_an_adapter_down_and_an_adapter_and_two_numbers_up"),
    "rule 8, values": (
        "federation/test_validate.py", "test_a_bad_value_is_left_out_with_a_reason_and_the_others_go_on",
    ),
    "rule 8, forms": (
        "federation/test_validate.py", "test_a_reply_of_another_form_is_left_out_with_a_reason_and_the_others_go_on",
    ),
    "rule 10, deadline": ("federation/test_local_federation.py", "test_a_deadline_leaves_later_clients_out"),
    "personal state stays": ("federation/test_personal.py", "test_personal_tensors_cannot_leave"),
}  # fmt: skip


@pytest.mark.parametrize("what", TESTED_IN)
def test_the_tests_that_the_rules_point_to_exist(what: str) -> None:
    file, name = TESTED_IN[what]
    functions = [node.name for node in ast.walk(tree(ROOT / "tests" / file)) if isinstance(node, ast.FunctionDef)]
    assert name in functions


# -- rules 1 and 4: stacks, order, grouping --------------------------------------------------------


@pytest.mark.parametrize("name", SHARING)
def test_rule_1_a_whole_run_stacked_is_the_run_one_by_one(name: str) -> None:
    kind = load_method(name)
    on = bench(digits(5), kind.adapter.model_dump(), optimizer="sgd", lr=0.05)
    start = on.new_adapter()
    one, five = (final(kind(), on, rounds=3, stack=stack) for stack in (1, 5))
    assert furthest(one, start) > 1e-3
    assert furthest(one, five) < 1e-5


def test_rule_1_personal_models_too() -> None:
    on = bench(digits(5), optimizer="sgd", lr=0.05)
    stores = [PersonalStore(), PersonalStore()]
    for store, stack in zip(stores, (1, 5), strict=True):
        play(Local(), serve(Local(), on, stack=stack, store=store), 3)
    for client in range(5):
        one, five = (store.load(client)["adapter"] for store in stores)
        assert isinstance(one, TensorDict)
        assert isinstance(five, TensorDict)
        assert furthest(one, five) < 1e-5


@pytest.mark.parametrize("stack", [1, 2, 3, 5])
@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_rule_4_order_and_grouping_do_not_matter(order: list[int], stack: int) -> None:
    on = bench(digits(5), optimizer="sgd", lr=0.05)
    replies = serve(FedAvg(), on, stack=stack).ask("train", to=order, adapter=on.new_adapter())
    sorted_ = serve(FedAvg(), on, stack=stack).ask("train", adapter=on.new_adapter())
    assert same(replies.adapter, sorted_.adapter), "asking in another order changes no bit"
    alone = serve(FedAvg(), on, stack=1).ask("train", adapter=on.new_adapter())
    assert furthest(replies.adapter, alone.adapter) < 1e-5


def test_rule_4_a_client_trains_the_same_in_any_cohort() -> None:
    on = bench(digits(5), optimizer="sgd", lr=0.05)
    server = serve(FedAvg(), on, stack=1)
    everybody = server.ask("train", adapter=on.new_adapter())
    for client in (3, 1):
        alone = server.ask("train", to=[client], adapter=on.new_adapter())
        assert same(alone.adapter[0], everybody.adapter[client])


# -- rule 5: what clients hold ---------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("wire", [False, True])
def test_rule_5_every_client_receives_the_servers_state_bit_for_bit(
    name: str, wire: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = load_method(name)
    received = broadcasts(kind, monkeypatch)
    on = bench(digits(), kind.adapter.model_dump(), lr=0.01)
    method = kind()
    server = serve(method, on, stack=3, wire=wire)
    method.begin(server)
    for t in range(3):
        held = server.state.adapter.clone()
        server.round = t
        method.round(server, t)
        assert not same(server.state.adapter, held)
        now = [(client, adapter) for round_, client, adapter in received if round_ == t]
        assert sorted(client for client, _ in now) == [0, 1, 2, 3]
        assert all(same(adapter, held) for _, adapter in now)


# -- rule 8: nothing trusted -----------------------------------------------------------------------


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


EXECUTING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}


def offences(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        imported += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name for name in imported if name.partition(".")[0] in EXECUTING)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            yield ast.unparse(node.func)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield "allow_pickle"


@pytest.mark.parametrize(
    "bad", ["import pickle", "from joblib import load", "torch.load(p)", "np.load(p, allow_pickle=True)", "eval(s)"]
)
def test_the_scan_finds_what_it_looks_for(bad: str) -> None:
    assert list(offences(ast.parse(bad)))


def test_rule_8_nothing_is_pickled() -> None:
    found = {str(path.relative_to(SOURCE)): list(offences(tree(path))) for path in sources()}
    assert {path: what for path, what in found.items() if what} == {}


# -- rule 9: memory --------------------------------------------------------------------------------


def test_rule_9_memory_follows_the_cohort_not_the_population(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20,000 clients only the five asked have their personal state loaded and kept, three at a time."""
    crowd = 20_000
    rows = Rows(np.arange(crowd) % len(digits().train), np.arange(crowd + 1))
    clients = ClientIndex(rows, Rows.empty(crowd), Rows.empty(crowd))
    on = bench(replace(digits(), clients=clients), cached=False, optimizer="sgd")
    loaded: list[int] = []
    original = PersonalStore.load

    def load(self: PersonalStore, client: int) -> Any:
        loaded.append(client)
        return original(self, client)

    class Looking(Local):
        @task
        def train(self, cohort: Cohort) -> Replies:
            assert len(cohort) <= 3
            return super().train(cohort)

    monkeypatch.setattr(PersonalStore, "load", load)
    store = PersonalStore()
    server = serve(Looking(), on, stack=3, store=store, participation=5)
    Looking().round(server, 0)
    assert len(server.sampled) == 5
    assert loaded == server.sampled == store.clients()


def test_rule_9_a_broadcast_is_a_view_not_a_copy_for_each_client() -> None:
    one = bench(digits()).new_adapter()
    stack = expand(one, 1_000)
    for name in one.keys():  # noqa: SIM118
        assert stack[name].untyped_storage().data_ptr() == one[name].untyped_storage().data_ptr()


# -- rule 10: errors say who, where, what to do ----------------------------------------------------


def test_rule_10_a_failed_task_names_client_round_and_task() -> None:
    class Broken(FedAvg):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            raise OSError("no space left")

    on = bench(digits())
    server = serve(Broken(), on)
    server.round = 7
    with pytest.raises(OSError, match="no space left") as caught:
        server.ask("train", adapter=on.new_adapter())
    (note,) = caught.value.__notes__
    assert all(re.search(rf"\b{word}\b", note) for word in ("client 0", "round 7", "train"))


def test_rule_10_no_wait_without_a_deadline() -> None:
    """Nothing in the package waits for a thread, a process or a socket without saying for how long."""
    waiting = {"join", "wait", "recv", "accept", "communicate", "acquire"}
    found = []
    for path in sources():
        calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
        bare = [call for call in calls if not call.args and not call.keywords]
        waits = [call for call in bare if isinstance(call.func, ast.Attribute) and call.func.attr in waiting]
        found += [f"{path.name}:{call.lineno}" for call in waits]
    assert found == []


# -- rule 11: honest evaluation --------------------------------------------------------------------


@pytest.mark.parametrize("source", ["digits", "world"])
@pytest.mark.parametrize("seed", [0, 1])
def test_rule_11_no_test_picture_is_in_any_clients_training_data(source: str, seed: int) -> None:
    data = build(DataSpec(source=source), seed)
    check_overlap(data)
    held = np.concatenate([data.clients.train(k) for k in range(len(data.clients))])
    seen = set(data.train.content_hashes(held))
    assert not seen & set(data.test.content_hashes(np.arange(len(data.test))))
    assert set(data.train.labels[held]) <= set(data.base_classes), "novel classes are never trained"


def test_rule_11_the_last_round_is_reported_never_the_best(tmp_path: Path) -> None:
    result = run(small(tmp_path, "fedavg", "train.lr=0.1", "rounds=4"))
    evaluated = [event for event in read_events(result.folder / "events.jsonl") if event["type"] == "evaluated"]
    assert [event["round"] for event in evaluated] == [-1, 0, 1, 2, 3]
    assert result.summary["metrics"] == evaluated[-1]["metrics"]
    losses = [event["metrics"]["shared/base/loss/mean"] for event in evaluated]
    assert losses[-1] != min(losses), "this run must get worse at the end, or it proves nothing"


def test_rule_11_every_method_takes_the_same_local_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: dict[str, list[float]] = {}
    for name in [*SHARING, "local"]:
        kind = load_method(name)
        on = bench(digits(), kind.adapter.model_dump(), optimizer="sgd", epochs=2)
        seen: list[float] = []
        original = Cohort.fit

        def counting(self: Cohort, *args: Any, **options: Any) -> Any:
            fitted = original(self, *args, **options)  # noqa: B023
            seen.extend(fitted.steps.tolist())  # noqa: B023
            return fitted

        with monkeypatch.context() as patch:
            patch.setattr(Cohort, "fit", counting)
            play(kind(), serve(kind(), on), 2)
        steps[name] = seen
    assert all(some == steps["fedavg"] for some in steps.values())


# -- the house -------------------------------------------------------------------------------------


def algorithms() -> set[str]:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["synoptic.methods"]
    return {value.partition(":")[0] for value in declared.values()}


def dispatches(module: ast.Module, known: set[str]) -> Iterator[str]:
    """Comparisons of anything called method (or of anything, with an unmistakable name) with a method's name."""
    for node in ast.walk(module):
        if isinstance(node, ast.Compare):
            text = ast.unparse(node)
            words = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            if words & (known - {"local"}) or (words & known and "method" in text):
                yield text
        if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant) and node.value.value in known:
            yield ast.unparse(node.value)


def test_no_method_is_dispatched_by_name_outside_the_registry() -> None:
    assert list(dispatches(ast.parse("if method == 'local': pass"), {"local"}))
    found = {str(path.relative_to(SOURCE)): list(dispatches(tree(path), set(registry()))) for path in sources()}
    assert {path: what for path, what in found.items() if what} == {}


def test_nobody_but_a_method_imports_a_method() -> None:
    known = algorithms()
    for path in (path for path in sources() if path.parent.name != "methods"):
        imported = {node.module for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)}
        assert not imported & known, path


def test_every_method_is_registered_and_loads() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["synoptic.methods"]
    assert {name: point.value for name, point in registry().items() if point.value.startswith("synoptic.")} == declared
    for name in declared:
        kind = load_method(name)
        assert issubclass(kind, Method)
        assert 0 < len(kind.summary) <= 90, name
        assert not kind.summary.endswith("."), name
        kind(kind.Settings())


@pytest.mark.parametrize("name", list(registry()))
def test_every_method_has_a_page(name: str) -> None:
    page = ROOT / "docs" / "methods" / f"{name}.md"
    assert page.exists(), f"write docs/methods/{name}.md"
    assert name.replace("_", "") in re.sub("[^a-z]", "", page.read_text(encoding="utf-8").lower())


def test_pages_point_to_tests_that_exist() -> None:
    for page in sorted((ROOT / "docs" / "methods").glob("*.md")):
        for file in re.findall(r"tests/[\w/]+\.py", page.read_text(encoding="utf-8")):
            assert (ROOT / file).exists(), f"{page.name} points to {file}"


DRAWING = {"torch.rand", "torch.randn", "torch.randint", "torch.randperm", "torch.bernoulli", "torch.multinomial"}
GLOBAL = re.compile(r"^(torch\.manual_seed|np\.random\.(?!default_rng|Generator)\w+|random\.\w+)$")


def global_draws(module: ast.Module) -> Iterator[str]:
    """Draws from a global generator, except where `torch.random.fork_rng` keeps them inside."""
    forks = [
        node for node in ast.walk(module) if isinstance(node, ast.With) and "fork_rng" in ast.unparse(node.items[0])
    ]
    inside = {id(node) for fork in forks for node in ast.walk(fork)}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and id(node) not in inside:
            name = ast.unparse(node.func)
            unnamed = name in DRAWING and not any(keyword.arg == "generator" for keyword in node.keywords)
            if GLOBAL.match(name) or unnamed:
                yield name


def test_rule_4_no_global_randomness() -> None:
    assert list(global_draws(ast.parse("np.random.rand(3); torch.rand(2); torch.manual_seed(0)")))
    found = {str(path.relative_to(SOURCE)): list(global_draws(tree(path))) for path in sources()}
    assert {path: what for path, what in found.items() if what} == {}


def test_files_stay_small() -> None:
    lines = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in sources()}
    assert {path: count for path, count in lines.items() if count > 400} == {}

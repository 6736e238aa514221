from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from synoptic.core import SynopticError
from synoptic.methods import base
from synoptic.methods.base import Method, Server, load_method, register, registry
from synoptic.methods.fedprox import FedProx


def test_a_misspelt_method_gets_a_suggestion() -> None:
    with pytest.raises(SynopticError, match=r"^there is no method called 'fedavgg'; did you mean 'fedavg'\?"):
        load_method("fedavgg")


@pytest.mark.parametrize("value", ["synoptic.nowhere:Method", "synoptic.methods.fedavg:Nothing"])
def test_a_method_that_cannot_be_imported_is_one_sentence(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    broken = EntryPoint("broken", value, base.GROUP)
    monkeypatch.setattr(base, "registry", lambda: {"broken": broken})
    with pytest.raises(SynopticError, match=r"the method 'broken' \(.*\) cannot be imported .*; install its package"):
        load_method("broken")


def test_the_registry_is_sorted_and_holds_the_six() -> None:
    assert list(registry()) == sorted(registry())
    assert {"zeroshot", "local", "centralized", "fedavg", "fedprox", "promptfl"} <= set(registry())


def test_a_method_of_a_script_is_known_in_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = dict(registry())
    monkeypatch.setattr(base, "registry", lambda: copied)
    register("mine", FedProx)
    register("mine", FedProx)
    assert load_method("mine") is FedProx
    assert "mine" not in registry()


def test_a_script_cannot_take_another_methods_name() -> None:
    with pytest.raises(SynopticError, match=r"^there is a method called 'fedavg' already .*; take another name\.$"):
        register("fedavg", FedProx)


def test_a_method_without_a_round_says_what_is_missing() -> None:
    class Empty(Method):
        pass

    server: Server = None  # type: ignore[assignment]
    with pytest.raises(NotImplementedError, match="Empty must say what the server does in a round"):
        Empty().round(server, 0)


def test_a_method_keeps_nothing_on_itself() -> None:
    """State belongs to the server and the clients, or a resumed run would miss it."""
    for name in registry():
        assert set(vars(load_method(name)())) == {"settings"}, name

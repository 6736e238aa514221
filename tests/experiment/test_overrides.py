from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.experiment.overrides import lay_over, parse_override, settings_of
from synoptic.experiment.recipe import Recipe
from synoptic.experiment.yaml_text import dump_yaml, parse_value, parse_yaml, read_yaml

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
TREES = st.dictionaries(KEYS, st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3)
                                           | st.dictionaries(KEYS, inner, max_size=3)), max_size=4)  # fmt: skip


@given(TREES)
def test_what_is_written_is_read_back(tree: dict[str, Any]) -> None:
    assert parse_yaml(dump_yaml(tree), "x.yaml")[0] == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-3", -3), ("0.5", 0.5), ("1e-3", 0.001), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0),
        ("true", True), ("false", False), ("no", "no"), ("on", "on"), ("none", None), ("null", None), ("", None),
        ("010", "010"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ('"5"', "5"), ("'none'", "none"),
        ("[a, 1, 0.5]", ["a", 1, 0.5]), ("[red circle]", ["red circle"]), ("[]", []),
        ("a photo: of a {}. # one", "a photo: of a {}. # one"), ("{} here", "{} here"), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_values_are_read_as_people_mean_them(text: str, value: Any) -> None:
    read = parse_value(text, "key")
    assert read == value
    assert type(read) is type(value)


def test_an_open_list_is_an_error() -> None:
    with pytest.raises(SynopticError, match=r"the value of 'data.classes' is no list \(\[a, b\)"):
        parse_override("data.classes=[a, b")


@pytest.mark.parametrize("text", ["rounds", "=5", "", " =5"])
def test_a_word_is_no_setting(text: str) -> None:
    with pytest.raises(SynopticError, match="is no setting; write key=value"):
        parse_override(text)


@pytest.mark.parametrize("text", ["a..b=1", ".a=1", "a.=1"])
def test_a_key_with_a_hole_is_no_key(text: str) -> None:
    with pytest.raises(SynopticError, match="is no recipe key"):
        parse_override(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rounds: 5\n  seed: 1\n", r"x.yaml, line 2: not YAML \("),
        ("rounds: 5\nrounds: 6\n", r"x.yaml, line 2: 'rounds' is given twice \(first in line 1\)"),
        ("data:\n  clients: 5\n  clients: 6\n", r"x.yaml, line 3: 'data.clients' is given twice \(first in line 2\)"),
        ("data: &d\n  again: *d\n", "nested too deeply"),
        ("? [a]\n: 1\n", "line 1: a key must be a word"),
        ("- a\n- b\n", "x.yaml holds no keys"),
        ("rounds: !!python/object:os.system x\n", "x.yaml, line 1: not YAML"),
        ("a: 1\n---\nb: 2\n", "x.yaml, line 2: not YAML"),
    ],
)
def test_files_that_are_wrong_say_where(text: str, message: str) -> None:
    with pytest.raises(SynopticError, match=message):
        parse_yaml(text, "x.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SynopticError, match="it is not text"):
        read_yaml(tmp_path / "x.yaml")
    with pytest.raises(SynopticError, match=r"there is no recipe file .*y\.yaml"):
        read_yaml(tmp_path / "y.yaml")


def test_an_empty_file_is_an_empty_recipe() -> None:
    assert parse_yaml("# nothing\n", "x.yaml") == ({}, {})


def over(tree: dict[str, Any], *texts: str) -> dict[str, Any]:
    return lay_over(tree, [parse_override(text) for text in texts], Recipe)


def test_a_word_sets_the_primary_field_and_keeps_the_rest() -> None:
    assert over({"data": {"clients": 7}}, "data=world") == {"data": {"clients": 7, "source": "world"}}
    assert over({"data": "digits"}, "data.clients=7") == {"data": {"source": "digits", "clients": 7}}


def test_a_word_starts_a_replaced_section_anew() -> None:
    tree = {"data": {"partition": {"kind": "dirichlet", "alpha": 0.1}}}
    assert over(tree, "data.partition=iid") == {"data": {"partition": "iid"}}
    assert over({"method": {"name": "fedprox", "mu": 1}}, "method=fedavg") == {"method": "fedavg"}


def test_a_tower_word_sets_the_whole_tower() -> None:
    tree = {"adapter": {"vision": {"lora": {"rank": 8}, "head": True}}}
    assert over(tree, "adapter.vision=frozen") == {"adapter": {"vision": "frozen"}}
    assert over(tree, "adapter.vision=lora", "adapter.vision.lora.rank=2") == {
        "adapter": {"vision": {"lora": {"rank": 2}}}
    }


def test_none_takes_something_away() -> None:
    tree = {"adapter": {"vision": {"lora": {"rank": 8}}}}
    assert over(tree, "adapter.vision.lora=none") == {"adapter": {"vision": {"lora": None}}}
    assert over({"adapter": None}, "adapter.text.prompt=8")["adapter"]["text"]["prompt"] == {"length": 8}


@given(st.permutations(["data=world", "data.partition=dirichlet", "data.partition.alpha=0.1", "data.clients=3"]))
def test_the_order_of_settings_does_not_matter(texts: list[str]) -> None:
    assert over({}, *texts) == {
        "data": {"source": "world", "clients": 3, "partition": {"kind": "dirichlet", "alpha": 0.1}}
    }


def test_the_later_of_two_equal_keys_wins() -> None:
    assert over({}, "rounds=3", "rounds=5") == {"rounds": 5}


def test_mappings_and_dotted_keys_mean_the_same() -> None:
    nested = lay_over({}, settings_of({"data": {"source": "world", "partition": {"kind": "iid"}}}), Recipe)
    dotted = lay_over({}, settings_of({"data.source": "world", "data.partition.kind": "iid"}), Recipe)
    assert nested == dotted


def test_a_plain_value_has_no_keys_below() -> None:
    with pytest.raises(SynopticError, match="'rounds' is a plain value and has no keys below it"):
        over({"rounds": 5}, "rounds.x=1")


def test_what_lies_below_is_not_changed() -> None:
    tree = {"data": {"clients": 7}}
    over(tree, "data.clients=8", "data=world")
    assert tree == {"data": {"clients": 7}}

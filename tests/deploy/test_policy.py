from __future__ import annotations

from pathlib import Path

import pytest

from synoptic.core import SynopticError
from synoptic.data.spec import DataSpec
from synoptic.deploy.policy import Policy, read_policy


def test_without_a_word_all_is_allowed() -> None:
    assert Policy().against_terms("anything", 10**6, 1) is None
    assert Policy().against_reply("train", ["adapter", "embedding"], {}) is None


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"methods": ["fedavg", "local"]}, "allows the methods fedavg, local, and was asked for feddtl"),
        ({"methods": []}, "allows the methods none, and was asked for feddtl"),
        ({"max_rounds": 9}, "allows 9 rounds, and was asked for 10"),
        ({"min_examples": 101}, "with at least 101 examples, and holds 100"),
    ],
)
def test_what_a_site_takes_no_part_in(rules: dict[str, object], why: str) -> None:
    assert why in str(Policy.model_validate(rules).against_terms("feddtl", 10, 100))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("digits", None),
        ("folder:{}/data/photos", None),
        ("parquet:{}/data/*.parquet", None),
        ("folder:{}/data", None),
        ("folder:{}/database", "it was asked for"),
        ("parquet:{}/data/*/../../secret.parquet", "it was asked for"),
        ("parquet:/etc/x.parquet", "it was asked for /etc/x.parquet"),
        ("hub:someone/photos", "it was asked for 'someone/photos' from the hub"),
    ],
)
def test_data_are_read_from_the_site_s_folder_only(tmp_path: Path, spec: str, why: str | None) -> None:
    told = Policy(data_folder=tmp_path / "data").against_data(DataSpec.model_validate(spec.format(tmp_path)))
    assert (told is None) if why is None else (why in str(told))
    assert Policy().against_data(DataSpec.model_validate(spec.format(tmp_path))) is None


def test_a_test_file_and_a_link_that_lead_out_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "data"
    inside.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (inside / "link").symlink_to(tmp_path / "elsewhere")
    rules = Policy(data_folder=inside)
    asked = {"source": "parquet", "path": f"{inside}/a.parquet", "test_path": f"{tmp_path}/elsewhere/b.parquet"}
    assert "elsewhere/b.parquet" in str(rules.against_data(DataSpec.model_validate(asked)))
    assert "it was asked for" in str(rules.against_data(DataSpec.model_validate(f"folder:{inside}/link")))


def test_only_listed_kinds_leave() -> None:
    rules = Policy(may_leave=("train.adapter", "*.loss"))
    assert rules.against_reply("train", ["adapter", "loss"], {}) is None
    assert rules.against_reply("sft", ["loss", "embedding"], {}) == "this site lets no 'sft.embedding' leave"


def test_uploads_are_counted_down() -> None:
    rules = Policy(max_uploads={"*.embedding": 2})
    assert rules.against_reply("sft", ["embedding"], {"*.embedding": 1}) is None
    assert "2 times in a run" in str(rules.against_reply("rl", ["loss", "embedding"], {"*.embedding": 2}))
    assert rules.against_reply("rl", ["loss"], {"*.embedding": 2}) is None


def test_a_file_is_read_and_a_mistake_in_it_is_never_all_allowed(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("methods: [fedavg]\nmax_uploads: {'*.embedding': 3}\n")
    assert read_policy(path) == Policy(methods=("fedavg",), max_uploads={"*.embedding": 3})
    path.write_text("method: [fedavg]\n")
    with pytest.raises(SynopticError, match=r"line 1: a policy has no 'method'; did you mean 'methods'\?"):
        read_policy(path)
    path.write_text("methods: [fedavg]\nmax_rounds: many\n")
    with pytest.raises(SynopticError, match="line 2: 'max_rounds' cannot be 'many'"):
        read_policy(path)
    with pytest.raises(SynopticError, match="nowhere"):
        read_policy(tmp_path / "nowhere.yaml")

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from claimed import SMALL, write
from synoptic.core import SynopticError
from synoptic.experiment.claims.reading import find_claims, read_claims
from synoptic.experiment.claims.spec import ClaimsFile
from synoptic.experiment.comparison.suite import Suite

ROOT = Path(__file__).parents[3]
Changed = Callable[[str, str], str]


@pytest.fixture
def small(tmp_path: Path) -> ClaimsFile:
    return read_claims(write(tmp_path))


@pytest.fixture
def told(tmp_path: Path) -> Changed:
    """The error of the small file with one text in the place of another."""

    def error(old: str, new: str) -> str:
        assert old in SMALL
        with pytest.raises(SynopticError) as caught:
            read_claims(write(tmp_path, SMALL.replace(old, new, 1)))
        return str(caught.value).replace(f"{tmp_path}/", "")

    return error


def test_a_file_is_read(small: ClaimsFile) -> None:
    assert (small.name, small.title) == ("small", "Small claims")
    assert list(small.claims) == ["bytes-flow", "zero-is-zero", "gains-a-lot"]
    assert str(small.claims["bytes-flow"].source) == "ours"
    confirmed = small.claims["zero-is-zero"]
    assert str(confirmed.source) == "Somebody 2020 (arXiv 1234.56789), table 1, confirmed"
    assert str(confirmed.paper) == "+1.5 points"
    assert small.suites["pair"].seeds == (0, 1, 2, 3)


def test_parts_of_a_file(small: ClaimsFile) -> None:
    assert list(small.only(["gains-a-lot"]).claims) == ["gains-a-lot"]
    assert len(small.suites["pair"].cells) == 8
    assert small.with_seeds(2).suites["pair"].seeds == (0, 1)
    assert len(small.with_seeds(2).suites["pair"].cells) == 4
    with pytest.raises(SynopticError, match="small has no claim 'bytes-flo'; did you mean 'bytes-flow'"):
        small.only(["bytes-flo"])


def test_the_small_version_lies_over_everything(small: ClaimsFile) -> None:
    suite = small.quicker().suites["pair"]
    recipes = [suite.recipe_of(cell, Path()) for cell in suite.cells]
    assert {(recipe.data.clients, recipe.data.train_limit) for recipe in recipes} == {(2, 40)}
    assert len(suite.seeds) == 2


def test_a_suite_may_be_quicker_than_the_others(tmp_path: Path) -> None:
    text = SMALL.replace("    seeds: 4\n", "    seeds: 4\n    quick: {data.train_limit: 20}\n")
    assert read_claims(write(tmp_path, text)).suites["pair"].quick == {"data.clients": 2, "data.train_limit": 20}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("title: Small claims", "titel: Small claims", "claims/small.yaml, line 1: key 'titel' does not exist"),
        ("claims:\n", "statements:\n", "key 'statements' does not exist"),
        ("    statement: FedAvg sends something.\n", "", "the file does not say 'claims.bytes-flow.statement'"),
        ("mean(fedavg: bytes/total) > 0", "mean(fedavg: bytes/totel) > 0",
         "claims/small.yaml, line 16: key 'claims.bytes-flow.relation': there is no metric 'bytes/totel': 'totel' is "
         "not known; did you mean 'total'?"),
        ("mean(fedavg: bytes/total) > 0", "mean(fedavgg: bytes/total) > 0",
         "claims/small.yaml, line 16: claim 'bytes-flow': the suite has no entry 'fedavgg'; did you mean 'fedavg'?"),
        ("mean(fedavg: bytes/total) > 0", "mean(fedavg@iid: bytes/total) > 0", "leave @iid out"),
        ("mean(fedavg: bytes/total) > 0", "fedavg > 0", "line 16: key 'claims.bytes-flow.relation': 'fedavg' has no"),
        ("    suite: pair\n    relation: \"mean(fedavg: bytes", "    suite: pear\n    relation: \"mean(fedavg: bytes",
         "line 15: there is no suite 'pear'; did you mean 'pair'?"),
        ("  bytes-flow:", "  Bytes_flow:", "line 12: the id 'Bytes_flow' must be of small letters, digits and hyphens"),
        ("status: confirmed", "status: rumoured", "zero-is-zero.source.status' cannot be 'rumoured'; use one of:"),
        ("status: confirmed", "status: reconstructed", "a paper's figure is shown only where"),
        (", status: confirmed", "", "a paper's claim is confirmed or reconstructed"),
        ("zeroshot, fedavg", "zeroshot, fedavg, fedavg", "line 8: key 'methods': two entries are called 'fedavg'"),
        ("    seeds: 4", "    seedz: 4", "key 'seedz' does not exist; did you mean 'seeds'?"),
        ("  pair:\n", "  pear: 3\n  pair:\n", "line 4: the suite 'pear' holds no keys"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_file_and_line(told: Changed, old: str, new: str, expected: str) -> None:
    text = told(old, new)
    assert expected in text
    assert "?." not in text


def test_all_mistakes_are_told_at_once(told: Changed) -> None:
    assert len(told("mean(", "men(").splitlines()) == 1
    text = told("source: ours\n    suite: pair\n    relation", "source: ours\n    suit: pair\n    relatoin")
    assert len(text.splitlines()) == 4


def test_files_are_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SynopticError, match="there are no claims called 'small'; give the path"):
        find_claims("small")
    path = write(tmp_path)
    write(tmp_path, name="other")
    assert find_claims("small") == Path("claims/small.yaml")
    assert find_claims(str(path)) == path
    with pytest.raises(SynopticError, match="there are no claims called 'smal'; did you mean 'small'"):
        find_claims("smal")
    with pytest.raises(SynopticError, match="choose one of: other, small"):
        find_claims("x")
    with pytest.raises(SynopticError, match=r"there is no claims file claims/x\.yaml; check the path"):
        find_claims("claims/x.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "claims").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_files_of_the_repository_are_sound(path: Path) -> None:
    file = read_claims(path)
    assert all(isinstance(suite, Suite) and len(suite.seeds) >= 5 for suite in file.suites.values())
    assert {claim.suite for claim in file.claims.values()} == set(file.suites)
    assert all(claim.statement.endswith(".") for claim in file.claims.values())

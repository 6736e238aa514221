from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core.seeds import generator
from synoptic.learning.uplink import balanced, oddity, pack_all, prototypes, resample, unpack_all, uplink

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=30)


def images(count: int, dim: int = 6, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, dim, generator=generator(seed, "images")), dim=-1)


@given(LABELS, st.integers(1, 6))
def test_a_cap_keeps_at_most_so_many_of_each_class_and_all_where_there_are_fewer(labels: list[int], cap: int) -> None:
    given_ = torch.tensor(labels)
    kept = balanced(given_, cap, generator(0, "cap"))
    assert kept.tolist() == sorted(set(kept.tolist()))
    for label in set(labels):
        assert int((given_[kept] == label).sum()) == min(cap, labels.count(label))


def test_which_ones_are_kept_is_drawn() -> None:
    labels = torch.zeros(40, dtype=torch.long)
    first, second = (balanced(labels, 5, generator(0, "cap", t)) for t in (0, 1))
    assert first.tolist() != second.tolist()


@given(LABELS)
def test_prototypes_are_class_means_and_a_pooled_variance(labels: list[int]) -> None:
    given_, x = torch.tensor(labels), images(len(labels)).double().float()
    means, own, counts, variance = prototypes(x, given_)
    assert own.tolist() == sorted(set(labels))
    square = torch.zeros(6)
    for place, label in enumerate(own.tolist()):
        mine = x[given_ == label]
        assert int(counts[place]) == len(mine)
        torch.testing.assert_close(means[place], mine.mean(0))
        square += (mine - mine.mean(0)).square().sum(0)
    torch.testing.assert_close(variance, square / max(len(labels) - len(own), 1))


def test_draws_have_the_mean_and_the_variance_they_were_drawn_with() -> None:
    means, variance = torch.tensor([[3.0, 0.0], [0.0, 5.0]]), torch.tensor([0.0, 0.04])
    drawn, labels = resample(means, torch.tensor([2, 7]), torch.tensor([4000, 1]), variance, generator(0, "draw"))
    assert labels.tolist() == [2] * 4000 + [7]
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(4001))
    # Undo the normalisation: the first coordinate had no noise.
    second = 3 * drawn[:4000, 1] / drawn[:4000, 0]
    assert float(second.mean()) == pytest.approx(0, abs=0.02)
    assert float(second.std()) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("kind", ["embeddings", "capped", "prototypes"])
def test_what_is_packed_is_unpacked_client_by_client(kind: str) -> None:
    chosen = uplink(kind, cap=2)
    labels = [torch.tensor([0, 0, 0, 3], dtype=torch.int16), torch.tensor([1], dtype=torch.int16)]
    given_ = [images(4), images(1, seed=1)]
    fields = pack_all(chosen, given_, labels, [generator(0, k) for k in range(2)])
    assert all(len(values) == 2 for values in fields.values())
    assert all(label.dtype == torch.int16 for label in fields["label"])
    told = [{name: values[k] for name, values in fields.items()} for k in range(2)]
    assert [oddity(one, 4, 6) for one in told] == [None, None]
    back, names = unpack_all(chosen, told, [generator(1, k) for k in range(2)])
    assert len(back) == len(names)
    counts = {0: 2 if kind == "capped" else 3, 3: 1, 1: 1}
    assert {label: names.tolist().count(label) for label in set(names.tolist())} == counts
    torch.testing.assert_close(back[-1], given_[1][0])
    if kind == "embeddings":
        assert torch.equal(back, torch.cat(given_))


def test_one_image_has_no_variance() -> None:
    _, _, counts, variance = prototypes(images(1), torch.tensor([2]))
    assert counts.tolist() == [1]
    assert variance.tolist() == [0.0] * 6


GOOD = {"embedding": images(2), "label": torch.tensor([0, 3]), "count": torch.tensor([1, 9], dtype=torch.int32),
        "variance": torch.ones(6)}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": torch.tensor([0, 4])}, "class outside 0 to 3"),
        ({"label": torch.tensor([-1, 0])}, "class outside"),
        ({"label": torch.tensor([0.0, 1.0])}, "class outside"),
        ({"label": torch.tensor([1])}, "do not fit"),
        ({"embedding": images(2, dim=5)}, "do not fit"),
        ({"embedding": images(0), "label": torch.zeros(0, dtype=torch.long)}, "do not fit"),
        ({"embedding": None}, "no embeddings"),
        ({"count": torch.tensor([0, 1])}, "one positive number"),
        ({"count": torch.tensor([1])}, "one positive number"),
        ({"variance": -torch.ones(6)}, "at least zero"),
        ({"variance": torch.ones(5)}, "6 numbers"),
    ],
)
def test_what_a_server_would_stumble_over_is_told_in_a_sentence(changes: dict[str, object], reason: str) -> None:
    assert oddity(GOOD, 4, 6) is None
    assert reason in str(oddity({**GOOD, **changes}, 4, 6))

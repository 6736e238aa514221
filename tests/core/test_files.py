from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.core.files import digest, read_json, read_tensors, write_bytes, write_json, write_tensors


def test_a_crash_while_writing_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, crash)
            with pytest.raises(KeyboardInterrupt):
                write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_json_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"ä": [1, 2.5, None]})
    assert read_json(path) == {"ä": [1, 2.5, None]}
    path.write_text('{"a": ')
    with pytest.raises(SynopticError, match=r"a.json is not readable JSON .*; restore it or remove it\."):
        read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SynopticError, match="is not readable JSON"):
        read_json(path)
    with pytest.raises(SynopticError, match=r"b\.json does not exist; check the path"):
        read_json(tmp_path / "b.json")


def test_tensors_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.randn(3, 2).mT, "y": torch.ones(2, dtype=torch.bfloat16, requires_grad=True)}
    write_tensors(path, tensors, {"note": "hello"})
    back, metadata = read_tensors(path)
    assert metadata == {"note": "hello"}
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())
    whole = path.read_bytes()
    for length in (0, 5, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SynopticError, match=r"is truncated or damaged .*; restore it or use an older one\."):
            read_tensors(path)
    with pytest.raises(SynopticError, match="does not exist"):
        read_tensors(tmp_path / "b")


def test_a_digest_tells_content_type_shape_and_order_apart() -> None:
    parts: list[tuple[object, ...]] = [
        (), ("",), ("a",), ("a", "b"), ("b", "a"), ("ab",), (b"a", b"b", b""),
        (torch.zeros(2),), (torch.zeros(2, 1),), (torch.zeros(2, dtype=torch.int32),), (torch.tensor([0.0, -0.0]),),
        (torch.zeros(0),), (torch.zeros(0, 3),),
    ]  # fmt: skip
    digests = [digest(*part) for part in parts]  # type: ignore[arg-type]
    assert len(set(digests)) == len(parts)
    assert all(len(one) == 16 for one in digests)


@given(st.lists(st.integers(0, 255), max_size=12))
def test_a_digest_does_not_depend_on_how_memory_lies(values: list[int]) -> None:
    plain = np.array(values, dtype=np.uint8)
    strided = np.repeat(plain, 2)[::2]
    assert digest(plain) == digest(strided)
    assert digest(torch.tensor(values)) == digest(torch.tensor(values).repeat_interleave(3)[::3])

"""A split on disk: exact positions per client (safetensors) beside what they mean (JSON)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from synoptic.core.errors import SynopticError
from synoptic.core.files import read_json, read_tensors, write_json, write_tensors
from synoptic.data.clients import ClientIndex
from synoptic.data.federated import FederatedData, assemble
from synoptic.data.rows import Rows
from synoptic.data.select import Selection
from synoptic.data.sources import open_source
from synoptic.data.spec import DataSpec

DESCRIPTION: Final = "split.json"
POSITIONS: Final = "split.safetensors"
VERSION: Final = 1


def save(data: FederatedData, folder: Path) -> None:
    """Write ``split.safetensors`` and ``split.json`` into a folder. Only data made by `build` can be saved."""
    origin = data.origin
    if origin is None:
        raise SynopticError("data put together by hand has no source to point at", "make it with synoptic.data.build")
    arrays = {
        "rows/train": origin.train_rows,
        "rows/test": origin.test_rows,
        "classes": origin.classes,
        "novel": data.novel_classes,
        "domains": origin.domains,
    }
    if len(origin.public_rows):
        arrays["rows/public"] = origin.public_rows
    for part, rows in _parts(data.clients).items():
        arrays |= {f"{part}/positions": rows.positions, f"{part}/offsets": rows.offsets}
    write_tensors(folder / POSITIONS, {name: torch.tensor(array) for name, array in arrays.items()})
    write_json(
        folder / DESCRIPTION,
        {
            "version": VERSION,
            "spec": origin.spec.model_dump(mode="json"),
            "seed": origin.seed,
            "source": origin.source,
            "fingerprint": data.fingerprint,
            "dropped": origin.dropped,
            "names": data.clients.names,
        },
    )


def load(folder: Path, spec: DataSpec | None = None) -> FederatedData:
    """Read a split, open its source again and check that both are what they were.

    Args:
        folder: where `save` wrote.
        spec: replaces the stored one, for a source that has moved; the fingerprint must still agree.

    Raises:
        SynopticError: for a missing or damaged file, a source that has changed, or positions that were edited.

    """
    stored = read_json(folder / DESCRIPTION)
    if not isinstance(stored, dict) or stored.get("version") != VERSION:
        raise SynopticError(f"{folder / DESCRIPTION} is no split of version {VERSION}", "make the split anew")
    tensors, _ = read_tensors(folder / POSITIONS)
    arrays = {name: np.asarray(tensor.numpy(), dtype=np.int64) for name, tensor in tensors.items()}
    try:
        return _assembled(folder, stored, arrays, spec)
    except (KeyError, IndexError, ValueError) as error:
        raise SynopticError(f"{folder} does not hold a whole split ({error})", "make the split anew") from error


def _assembled(
    folder: Path, stored: dict[str, Any], arrays: dict[str, np.ndarray], spec: DataSpec | None
) -> FederatedData:
    spec = DataSpec.model_validate(stored["spec"]) if spec is None else spec
    source = open_source(spec)
    if source.fingerprint != stored["source"]:
        raise SynopticError(
            f"the source has changed since {folder} was made ({stored['source']}, now {source.fingerprint})",
            "restore the source or make the split anew",
        )
    selection = Selection(
        arrays["rows/train"],
        arrays["rows/test"],
        arrays["classes"],
        arrays["domains"],
        arrays["novel"],
        stored["dropped"],
        arrays.get("rows/public", np.zeros(0, dtype=np.int64)),
    )
    train, val, test = (Rows(arrays[f"{p}/positions"], arrays[f"{p}/offsets"]) for p in ("train", "val", "test"))
    names = None if stored["names"] is None else tuple(stored["names"])
    data = assemble(source, selection, spec, stored["seed"], ClientIndex(train, val, test, names))
    if data.fingerprint != stored["fingerprint"]:
        raise SynopticError(f"{folder / POSITIONS} does not fit {DESCRIPTION}", "restore both or make the split anew")
    return data


def _parts(clients: ClientIndex) -> dict[str, Rows]:
    return {"train": clients.train_rows, "val": clients.val_rows, "test": clients.test_rows}

"""Small parquet files for the tests of sources, written as the hub and `datasets` write them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def pictures(n: int, seed: int) -> list[dict[str, Any]]:
    """n random pictures of 4 x 4 pixels."""
    rows = []
    for array in np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        rows.append({"bytes": stream.getvalue(), "path": None})
    return rows


def write(path: Path, n: int = 24, seed: int = 0, words: dict[str, list[str]] | None = None, **columns: Any) -> Path:
    """n pictures of three classes and further columns; ``words`` are names of class labels by column."""
    data = {"image": pictures(n, seed), "label": [i % 3 for i in range(n)]} | columns
    table = pa.table(data)
    if words:
        features = {name: {"names": names, "_type": "ClassLabel"} for name, names in words.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path

"""Data: embedded worlds, real sources, partitions, manifests.

>>> from synoptic.data import DataSpec, build
>>> data = build(DataSpec(source="digits", clients=10), seed=0)
>>> len(data.clients)
10
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synoptic.data.clients import ClientIndex
    from synoptic.data.federated import FederatedData, build
    from synoptic.data.gold import Gold
    from synoptic.data.overlap import check_overlap
    from synoptic.data.question_spec import QuestionSpec, TastesSpec
    from synoptic.data.spec import DataSpec, PartitionSpec
    from synoptic.data.table import ArrayImages, EncodedImages, ExampleTable, FileImages, ImageStore, Words

__all__ = [
    "ArrayImages",
    "ClientIndex",
    "DataSpec",
    "EncodedImages",
    "ExampleTable",
    "FederatedData",
    "FileImages",
    "Gold",
    "ImageStore",
    "PartitionSpec",
    "QuestionSpec",
    "TastesSpec",
    "Words",
    "build",
    "check_overlap",
]

_HOMES = {
    "ClientIndex": "clients",
    "DataSpec": "spec",
    "PartitionSpec": "spec",
    "QuestionSpec": "question_spec",
    "TastesSpec": "question_spec",
    "Gold": "gold",
    "FederatedData": "federated",
    "build": "federated",
    "check_overlap": "overlap",
}


def __getattr__(name: str) -> Any:
    # Help texts read the sections in `spec` and must not wait for numpy and torch.
    if name in __all__:
        return getattr(import_module(f"synoptic.data.{_HOMES.get(name, 'table')}"), name)
    raise AttributeError(f"module 'synoptic.data' has no attribute '{name}'")

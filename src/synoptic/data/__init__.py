"""Data: embedded worlds, real sources, partitions, manifests.

>>> from synoptic.data import DataSpec, build
>>> data = build(DataSpec(source="digits", clients=10), seed=0)
>>> len(data.clients)
10
"""

from __future__ import annotations

from synoptic.data.clients import ClientIndex
from synoptic.data.federated import FederatedData, build
from synoptic.data.overlap import check_overlap
from synoptic.data.spec import DataSpec, PartitionSpec
from synoptic.data.table import ArrayImages, EncodedImages, ExampleTable, FileImages, ImageStore

__all__ = [
    "ArrayImages",
    "ClientIndex",
    "DataSpec",
    "EncodedImages",
    "ExampleTable",
    "FederatedData",
    "FileImages",
    "ImageStore",
    "PartitionSpec",
    "build",
    "check_overlap",
]

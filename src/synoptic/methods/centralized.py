"""Centralized: all data in one place. Not federated at all; the ceiling that sharing data would give."""

from __future__ import annotations

from synoptic.methods.fedavg import FedAvg


class Centralized(FedAvg):
    """FedAvg with a single client that holds everybody's training data."""

    summary = "all training data in one place: the ceiling"
    pools_data = True

"""Whoever wants a run's numbers elsewhere: a CSV file, TensorBoard.

A subscriber is a function of the event log. It is given what the log holds, then every event as it comes; what it
writes is therefore right after a resume, and can be made later from the log of a run that had no subscriber.
"""

from __future__ import annotations

from synoptic.experiment.subscribers.metrics_csv import MetricsCsv
from synoptic.experiment.subscribers.rows import Row, Rows
from synoptic.experiment.subscribers.subscriptions import Subscriber, Subscriptions
from synoptic.experiment.subscribers.tensor_board import TensorBoard

__all__ = ["MetricsCsv", "Row", "Rows", "Subscriber", "Subscriptions", "TensorBoard"]

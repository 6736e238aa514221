"""What a person types. Each command calls one function below; nothing heavy is imported before it is needed.

One file for each command or family; importing them attaches them to the application, in the order that help lists them.
"""
# ruff: noqa: I001, F401

from synoptic.cli.app import DEBUG, INTERRUPTED, app, main
from synoptic.cli import run, compare, claims, report, export, onboard, ask, perform, watch, data, catalogue, doctor
from synoptic.cli import serve, join, keys, status

__all__ = ["DEBUG", "INTERRUPTED", "app", "main"]

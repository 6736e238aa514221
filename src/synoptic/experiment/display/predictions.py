"""Predictions as a table, which fits into sixty columns, and as JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from synoptic.experiment.predict import Predictions


def show_predictions(console: Console, predictions: Predictions) -> None:
    """One row for each of a picture's likeliest classes."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
    table.add_column("picture", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    for prediction in predictions.images:
        for place, guess in enumerate(prediction.top):
            table.add_row(str(prediction.image) if place == 0 else "", guess.name, f"{100 * guess.probability:.1f} %")
    console.print(table)
    count = len(predictions.classes)
    console.print(Text(f"among {count} classes on {predictions.base}, prompt: {predictions.template}"))


def predictions_json(predictions: Predictions) -> str:
    """The same for programs: probabilities in full."""
    content = {
        "base": predictions.base,
        "fingerprint": predictions.fingerprint,
        "template": predictions.template,
        "classes": list(predictions.classes),
        "images": [
            {
                "image": str(prediction.image),
                "top": [{"class": guess.name, "probability": guess.probability} for guess in prediction.top],
            }
            for prediction in predictions.images
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)

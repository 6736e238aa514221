"""The shipped recipes: name, setting, minutes, what each needs. Fits into sixty columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from synoptic.experiment.recipe_list import ShippedRecipe


def show_recipes(console: Console, recipes: Sequence[ShippedRecipe]) -> None:
    """Each with its setting, then how to run one."""
    for recipe in recipes:
        console.print(Text(recipe.name, "bold"))
        _indented(console, Text(recipe.title))
        _indented(console, Text(f"minutes: {recipe.minutes}; needs {recipe.needs}", "dim"))
    here = Path.cwd()
    console.print()
    if all(recipe.path.is_relative_to(here) for recipe in recipes):
        folder = recipes[0].path.parent.relative_to(here)
        console.print(Text(f"run one:  synoptic run {folder}/NAME.yaml"), soft_wrap=True)
    console.print(Text("copy one: synoptic recipes --copy NAME"), soft_wrap=True)


def _indented(console: Console, text: Text) -> None:
    console.print(Padding(text, (0, 0, 0, 2), expand=False))

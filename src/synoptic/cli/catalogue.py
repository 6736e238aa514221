"""What is there (`synoptic methods`, `synoptic recipes`), and making an embedded model anew (`synoptic pretrain`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synoptic.cli.app import Debug, app


@app.command("methods")
def methods_command(debug: Debug = False) -> None:
    """List methods and settings."""
    from synoptic.experiment.catalogue import methods_table
    from synoptic.experiment.display import output, show_methods

    show_methods(output(), methods_table())


@app.command("recipes")
def recipes_command(
    copy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Copy a recipe to the current folder, to change it.")
    ] = None,
    debug: Debug = False,
) -> None:
    """List recipes, one for each setting.

    Each says at its top what it shows, what to expect, and how many minutes it takes.
    """
    from synoptic.experiment.recipe_list import copy_recipe, shipped_recipes

    if copy is not None:
        typer.echo(f"run it: synoptic run {copy_recipe(copy, Path())}")
        return
    from synoptic.experiment.display import output
    from synoptic.experiment.display.recipes import show_recipes

    show_recipes(output(), shipped_recipes())


@app.command("pretrain")
def pretrain_command(
    name: Annotated[str, typer.Argument(metavar="NAME", hidden=True)],
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to write; default ./NAME.")] = None,
    seed: Annotated[int, typer.Option(show_default=False, help="Of weights and pictures; default 0.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Training steps; default as shipped.")] = None,
    debug: Debug = False,
) -> None:
    """Train an embedded model anew.

    NAME is tiny-clip, tiny-vlm or tiny-describer; it is
    trained as the shipped one was.
    """
    from synoptic.experiment.display.training import pretrain_embedded

    pretrain_embedded(name, out or Path(name), seed, steps)

"""`synoptic data`: look at data before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synoptic.cli.app import Debug, RecipeCommand, RecipeName, Settings, data_app


@data_app.command("inspect", cls=RecipeCommand)
def inspect_command(
    recipe: RecipeName,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The picture: .png, .svg or .pdf; default who-holds-what.png.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show who holds what.

    RECIPE is a method's name or a YAML file; KEY=VALUE settings are laid over it.
    """
    from synoptic.experiment.recipe import load_recipe

    described = load_recipe(recipe, settings or [])
    from synoptic.data.federated import build
    from synoptic.data.inspect import describe, draw
    from synoptic.experiment.display import output, show_clients

    data = build(described.data, described.seed)
    show_clients(output(), describe(data), data.summary())
    picture = out or Path("who-holds-what.png")
    draw(data, picture)
    typer.echo(f"picture: {picture}")

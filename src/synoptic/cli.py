"""What a person types. Each command calls one function below; nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""

MENDABLE = 2
DEBUG = "SYNOPTIC_DEBUG"

app = typer.Typer(
    name="synoptic",
    help="Federated vision-language models: one frozen base, a stack of small adapters.",
    epilog="Start with: synoptic run fedavg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at data before a run.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")


class RecipeCommand(TyperCommand):
    """A command whose help ends with the recipe's keys, read off its sections."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Usage and options as ever, then the keys."""
        super().format_help(ctx, formatter)
        from synoptic.experiment.help import write_examples, write_keys

        write_examples(formatter, str(ctx.command.name))
        write_keys(formatter)


def _set_debug(value: bool) -> bool:
    if value:
        os.environ[DEBUG] = "1"
    return value


# Arguments are described in a command's own text: with some releases of click, typer drops or garbles their help.
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", hidden=True)]
Settings = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", hidden=True)]
Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show a traceback with every error.")]


def _show_version(value: bool) -> None:
    if value:
        from synoptic import __version__

        typer.echo(f"synoptic {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Federated vision-language models: one frozen base, a stack of small adapters."""


@app.command("run", cls=RecipeCommand)
def run_command(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", hidden=True)] = None,
    settings: Settings = None,
    resume: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Go on with a run that stopped.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the run folder, at the end.")] = False,
    debug: Debug = False,
) -> None:
    """Run a recipe, or go on with one.

    RECIPE is a method's name or a YAML file; KEY=VALUE settings are laid over it.
    """
    if (recipe is None) == (resume is None):
        raise click.UsageError("give either a RECIPE (a method or a YAML file) or --resume FOLDER, which has its own")
    if recipe is not None and "=" in recipe and not Path(recipe).exists():
        raise click.UsageError(f"name a method or a YAML file before the setting '{recipe}'")
    from synoptic.experiment.display import output, show_result, watch

    # A terminated run tells how to go on, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = output()
    watcher = watch(console, quiet)
    try:
        with watcher:
            result = _go(recipe, settings or [], resume, watcher)
    except KeyboardInterrupt:
        _say_how_to_resume(watcher.folder or (str(resume) if resume else None), watcher.rounds_done)
        raise typer.Exit(INTERRUPTED) from None
    if quiet:
        typer.echo(result.folder)
    else:
        show_result(console, result.folder, result.summary)


def _go(recipe: str | None, settings: Sequence[str], resume: Path | None, watcher: Any) -> Any:
    from synoptic.experiment.recipe import load_recipe

    # A recipe with a mistake is told before the seconds that importing the runner takes.
    described = load_recipe(recipe, settings) if recipe is not None else None
    from synoptic.experiment import runner

    if described is not None:
        return runner.run(described, [watcher])
    assert resume is not None
    return runner.resume(resume, [watcher])


def _say_how_to_resume(folder: str | None, rounds: int | None) -> None:
    import shlex

    if folder is None:
        typer.echo("stopped before the run had a folder; nothing to resume", err=True)
    else:
        done = f" with {rounds} rounds done" if rounds is not None else ""
        typer.echo(f"stopped{done}; go on: synoptic run --resume {shlex.quote(folder)}", err=True)


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


@app.command("methods")
def methods_command(debug: Debug = False) -> None:
    """List methods and settings."""
    from synoptic.experiment.catalogue import methods_table
    from synoptic.experiment.display import output, show_methods

    show_methods(output(), methods_table())


@app.command("pretrain")
def pretrain_command(
    name: Annotated[str, typer.Argument(metavar="NAME", hidden=True)],
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to write; default ./NAME.")] = None,
    seed: Annotated[int, typer.Option(show_default=False, help="Of weights and pictures; default 0.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Training steps; default as shipped.")] = None,
    debug: Debug = False,
) -> None:
    """Train an embedded model anew.

    NAME is tiny-clip; it is trained from nothing, as the shipped one was.
    """
    from synoptic.experiment.display.training import pretrain_embedded

    pretrain_embedded(name, out or Path(name), seed, steps)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 2 for an error that a user can mend, 130 after Ctrl-C."""
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name="synoptic", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from synoptic.core.errors import SynopticError

        if not isinstance(error, SynopticError) or os.environ.get(DEBUG, "0") not in ("", "0"):
            raise
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        return MENDABLE
    return status if isinstance(status, int) else 0

"""The application that commands attach to, the words that they share, and how errors end a process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Annotated

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


def at_least(lowest: int) -> Callable[[int | None], int | None]:
    """Callback of a number that may not be smaller; the type's own bound would stand garbled in the help."""

    def check(value: int | None) -> int | None:
        if value is not None and value < lowest:
            raise typer.BadParameter(f"{value} is less than {lowest}")
        return value

    return check


def _set_debug(value: bool) -> bool:
    if value:
        os.environ[DEBUG] = "1"
    return value


# Arguments are described in a command's own text: with some releases of click, typer drops or garbles their help.
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", hidden=True)]
Settings = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", hidden=True)]
Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show a traceback with every error.")]
Jobs = Annotated[
    int, typer.Option(show_default=False, help="Processes at once; set compute.threads=1 with them; default 1.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Run all anew instead of reusing finished runs.")]


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

"""`synoptic serve`: the coordinator of a run whose clients are nodes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from synoptic.cli.app import INTERRUPTED, Debug, RecipeCommand, Settings, app

if TYPE_CHECKING:
    from synoptic.deploy.superlink import SuperLink
    from synoptic.experiment.display import Watcher
    from synoptic.experiment.recipe import Recipe
    from synoptic.experiment.runner import RunResult

Patience = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for nodes to come; default 600.",
                                         show_default=False)]  # fmt: skip


@app.command("serve", cls=RecipeCommand)
def serve_command(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", hidden=True)] = None,
    settings: Settings = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", show_default=False, help="Where nodes come to; default 127.0.0.1:8000.")
    ] = "127.0.0.1:8000",
    tls: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="CERT KEY", help="The server's certificate and its key.")
    ] = None,
    clients: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Public keys of the nodes that may join: one client each.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What nodes trust; sees that it issued the certificate.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain text and no keys; on this machine only.")] = False,
    resume: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Go on with a run that stopped.")] = None,
    patience: Patience = 600,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a node that went may take to come back; default 30.",
                            show_default=False)
    ] = 30,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the run folder, at the end.")] = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Coordinate a run whose clients are nodes, see `synoptic join`.

    RECIPE is a method's name or a YAML file; KEY=VALUE settings are laid over it. The data that the recipe names are
    the server's: its classes, and the test sets on which the shared model is measured. The run begins when all clients
    are there, or some and patience is over.
    """
    if (recipe is None) == (resume is None):
        raise click.UsageError("give either a RECIPE (a method or a YAML file) or --resume FOLDER, which has its own")
    if insecure == any(given is not None for given in (tls, clients, ca)):
        raise click.UsageError("give --tls CERT KEY and --clients FOLDER, or --insecure on this machine")
    require_flower()
    from synoptic.experiment.display import output, show_result, watch
    from synoptic.experiment.recipe import load_recipe

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from synoptic.deploy.session import served_folder

    # What cannot be run is told before nodes are let in.
    what = served_folder(resume).path if resume is not None else load_recipe(str(recipe), settings or [])
    console = output()
    watcher, say = watch(console, quiet), speaker(quiet)
    try:
        result = _coordinate(what, _link(listen, tls, ca, clients, insecure), (patience, grace), watcher, say)
    except KeyboardInterrupt:
        where = watcher.folder or resume
        again = f"go on: synoptic serve --resume {where}, with the same options" if where else "the run had not begun"
        typer.echo(f"stopped; {again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if quiet:
        typer.echo(result.folder)
    else:
        show_result(console, result.folder, result.summary)


def _coordinate(
    what: Recipe | Path, opened: tuple[SuperLink, tuple[str, ...]], waits: tuple[float, float], watcher: Watcher,
    say: Callable[[str], None],
) -> RunResult:  # fmt: skip
    """Let nodes in and run a recipe, or go on with a run's folder."""
    from synoptic.deploy.session import Hall, resume, serve

    link, names = opened
    with link, watcher:
        say(f"listening on {link.host}:{link.port}")
        hall = Hall(link, names, *waits, say=say)
        return resume(what, hall, [watcher]) if isinstance(what, Path) else serve(what, hall, [watcher])


def require_flower() -> None:
    """Say what is missing before anything is imported that needs it."""
    from importlib.util import find_spec

    from synoptic.core import SynopticError

    if find_spec("flwr") is None:
        raise SynopticError("runs over nodes need Flower, which is not installed", "pip install 'synoptic[deploy]'")


def speaker(quiet: bool) -> Callable[[str], None]:
    """Tells a person at the terminal what happens."""

    def say(sentence: str) -> None:
        if not quiet:
            typer.echo(sentence, err=True)

    return say


def _link(
    listen: str, tls: tuple[Path, Path] | None, ca: Path | None, clients: Path | None, insecure: bool
) -> tuple[SuperLink, tuple[str, ...]]:
    from synoptic.core import SynopticError
    from synoptic.deploy.address import parse_address
    from synoptic.deploy.keys import check_certificate, read_clients
    from synoptic.deploy.superlink import SuperLink, Tls

    host, port = parse_address(listen, "--listen")
    if insecure:
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise SynopticError(f"--insecure listens on this machine only, and {host} is open to others",
                                "use --tls and --clients; `synoptic keys` makes what they need")  # fmt: skip
        return SuperLink(host, port), ()
    if tls is None or clients is None:
        raise SynopticError("a server needs both --tls CERT KEY and --clients FOLDER", "`synoptic keys` makes them")
    check_certificate(*tls, ca)
    keys = read_clients(clients)
    return SuperLink(host, port, Tls(*tls), keys), tuple(keys)

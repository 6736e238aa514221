"""`synoptic join`: a site takes part in a run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from synoptic.cli.app import INTERRUPTED, Debug, Settings, app
from synoptic.cli.serve import require_flower, speaker

if TYPE_CHECKING:
    from synoptic.deploy.site import Site

STOPPED = 1


@app.command("join")
def join_command(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", hidden=True)],
    settings: Settings = None,
    data: Annotated[
        str | None, typer.Option(metavar="WHAT", help="This site's data: a folder, or as in a recipe's data=WHAT.")
    ] = None,
    partition: Annotated[
        str | None, typer.Option(metavar="K/N", help="Instead: part K of N, counted from 0, of the recipe's own data.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="This node's private key.")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Authorities to trust; default the system's.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain text and no key; on this machine only.")] = False,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="What this site allows (YAML).")] = None,
    state: Annotated[
        Path, typer.Option(metavar="FOLDER", show_default=False, help="For personal state; default ./synoptic-site.")
    ] = Path("synoptic-site"),
    model: Annotated[str | None, typer.Option(metavar="WHERE", help="Where the base lies at this site.")] = None,
    patience: Annotated[float, typer.Option(metavar="SECONDS", show_default=False,
                                            help="How long to do without a server; default 3600.")] = 3600,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")] = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Take part in the run of a server, see `synoptic serve`, until it is over.

    KEY=VALUE settings describe this site's data, as in a recipe: data.label=diagnosis. Data and personal state stay
    here; what leaves is what the method's page lists, and what a policy file allows.

    Exit status: 0 when the run has finished, 1 when the server ended it otherwise, 130 after Ctrl-C.
    """
    if (data is None) == (partition is None):
        raise click.UsageError("give either --data WHAT, or --partition K/N to try out a recipe's own data")
    if not insecure and key is None:
        raise click.UsageError("give --key FILE, and --ca FILE for a private authority; or --insecure on this machine")
    require_flower()
    from synoptic.deploy.node import Node
    from synoptic.deploy.policy import Policy, read_policy
    from synoptic.deploy.resident import Door, stay

    rules = read_policy(policy) if policy is not None else Policy()
    site = _site(data, partition, settings or [], model)
    from synoptic.deploy.keys import read_key

    door = Door(address, ca, read_key(key) if key is not None else None, insecure)
    say = speaker(quiet)
    # A terminated node signs off, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        ended = stay(door, Node(site, rules, state, say), patience, say)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    say(f"the server ended this: {ended}" if ended else "the run has finished")
    if ended:
        raise typer.Exit(STOPPED)


def _site(data: str | None, partition: str | None, settings: list[str], model: str | None) -> Site:
    from synoptic.deploy.site import Site, own_data, parse_partition

    if partition is not None:
        if settings:
            raise click.UsageError("with --partition the data are the recipe's, and settings have no place")
        seats, of = parse_partition(partition)
        return Site(seats=seats, of=of, model=model)
    assert data is not None
    return Site(data=own_data(data, settings), model=model)

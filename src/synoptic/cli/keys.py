"""`synoptic keys`: certificates and node keys for trying out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synoptic.cli.app import Debug, app, at_least
from synoptic.cli.serve import require_flower


@app.command("keys")
def keys_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", hidden=True)],
    site: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A site that gets a pair of keys; repeat it.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A name or address of the server; default this machine.")
    ] = None,
    days: Annotated[
        int,
        typer.Option(metavar="N", show_default=False, callback=at_least(1),
                     help="Days that certificates last; default 365."),
    ] = 365,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Make a certificate authority, a server certificate and keys of sites in FOLDER.

    What is there already is left as it is, so sites can be added later. Give FOLDER/sites/NAME.key and FOLDER/ca.crt to
    that site alone; FOLDER/clients goes to the server; FOLDER/ca.key stays with whoever signs.
    """
    require_flower()
    from synoptic.deploy.keys import make_keys

    written = make_keys(folder, host or [], site or [], days)
    for path in written:
        typer.echo(f"written: {path}")
    if not written:
        typer.echo(f"nothing to write: {folder} has all of it already")

"""`python -m sim.fci` is `d2ppo fci-server` where the package is not installed."""

from __future__ import annotations

import sys

import click

from d2ppo_core.errors import D2ppoError
from sim.cli.fci_server import fci_server

if __name__ == "__main__":
    try:
        fci_server()
    except D2ppoError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)

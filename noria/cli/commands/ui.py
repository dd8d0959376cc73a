"""``noria ui``."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from noria.cli.options import DEFAULT_HOME, HomeOption
from noria.cli.output import say

if TYPE_CHECKING:
    from noria.places import Place

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_MONITOR_URL: Final = "NORIA_MONITOR_URL"


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Ask for the token in this file. A must beyond loopback."
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="No buttons.")] = False,
    namespace: Annotated[
        str | None, typer.Option(help="Show the Models of this namespace of a cluster.")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="How to reach the cluster.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="A context of the kubeconfig.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(hidden=True, help="Gets the address once it listens.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name that browsers may call it by; repeat for more."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show every model on a web page, with buttons.

    Rollouts, drift, performance, retrains and the ledger. Looking starts nothing; a button
    puts a command into the model's durable inbox, as `noria rollout` does. With --namespace
    it shows a cluster's Models; NORIA_MONITOR_URL says where their monitors are ({model} and
    {namespace} are put in).
    """
    from noria.asgi import Hosts, Listen, serve
    from noria.ui.app import Options, Ui
    from noria.ui.security import Guard, check_address, read_token

    token = None if token_file is None else read_token(token_file)
    check_address(host, token)
    place = _machine(home) if namespace is None else _cluster(namespace, kubeconfig, context)
    # Who knows a shared token may be anybody; on this machine's own page it is this account.
    person = getpass.getuser() if token is None else ""
    options = Options(read_only=read_only, person=person, cluster=namespace is not None)
    pages = Ui(place, Guard(token, time.time), options)
    # Who has signed in has a cookie that no other site's page can use.
    gate = pages.gate(Hosts(host, allowed_host or (), anybody=token is not None))
    listen = Listen(host, port, ready_file)
    with listen.bind() as listener:
        say(f"{place.name}: {listen.url(listener)}/")
        say("Ctrl-C ends the page, and nothing else")
        serve(gate, listen, listener)


def _machine(home: Path) -> Place:
    from noria.places.machine import Machine

    return Machine(home)


def _cluster(namespace: str, kubeconfig: Path | None, context: str | None) -> Place:
    from noria.kube import KubeClient
    from noria.places.cluster import MONITOR_URL, Namespace

    client = KubeClient.connect(kubeconfig, context)
    url = os.environ.get(_MONITOR_URL) or MONITOR_URL
    return Namespace(client, namespace, monitor_url=url)

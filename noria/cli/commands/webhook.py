"""``noria webhook``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from noria.cli.options import DEFAULT_HOME, HomeOption
from noria.cli.output import say

if TYPE_CHECKING:
    from monitoring.webhook.receiver import Route
    from noria.loop.ports import Store

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_POD: Final = "NORIA_POD_NAMESPACE"
_NAMESPACES: Final = "NORIA_NAMESPACES"


@app.command()
def webhook(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 9096,
    ready_file: Annotated[
        Path | None, typer.Option(hidden=True, help="Gets the address once it listens.")
    ] = None,
    max_body_bytes: Annotated[
        int, typer.Option(min=1024, help="Larger deliveries are refused with 413.")
    ] = 4 << 20,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name that senders may call it by; repeat for more."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Receive the alerts of Alertmanager and Grafana.

    An alert with the labels model and noria_signal becomes a signal, which may start a
    training run; every other is written into the model's ledger. POST /alerts, GET /healthz,
    GET /metrics. In a cluster (NORIA_POD_NAMESPACE is set) for the Models of NORIA_NAMESPACES.

    NORIA_WEBHOOK_TOKEN_FILE or NORIA_WEBHOOK_HMAC_FILE names the file of the secret that
    senders must know; without one it listens on loopback only.
    """
    from monitoring.webhook import BOUNDS, Receiver, WebhookApp, locks_from_environment
    from noria.asgi import Hosts, Listen, serve
    from noria.clocks import WallClock

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    locks = locks_from_environment(os.environ)
    locks.check(host)
    route = _cluster(os.environ) if os.environ.get(_POD) else _machine(home)
    clock = WallClock()
    # Who knows the secret proves by it that no page of another site sent it.
    hosts = Hosts(host, allowed_host or (), anybody=locks.closed)
    app = WebhookApp(Receiver(route, clock), locks, clock)
    gate = app.gate(hosts, replace(BOUNDS, max_body=max_body_bytes))
    listen = Listen(host, port, ready_file)
    with listen.bind() as listener:
        say(f"alerts go to {listen.url(listener)}/alerts")
        serve(gate, listen, listener)


def _machine(home: Path) -> Route:
    """Return the store of this machine, whatever namespace an alert names."""
    from noria.embedded.home import Home
    from noria.loop.sqlite_store import SqliteStore

    store = SqliteStore(Home(home.absolute()).create().store)
    return lambda _: store


def _cluster(environment: Mapping[str, str]) -> Route:
    """Return the stores of the namespaces that the operator keeps, its own one by default."""
    from noria.kube import KubeClient
    from noria.kube.store import KubeStore

    own = environment[_POD]
    listed = [name.strip() for name in environment.get(_NAMESPACES, "").split(",")]
    client = KubeClient.connect()
    stores: dict[str, Store] = {
        name: KubeStore(client, name) for name in listed or [own] if name
    } or {own: KubeStore(client, own)}
    default = own if own in stores else next(iter(stores))
    return lambda namespace: stores.get(namespace or default)

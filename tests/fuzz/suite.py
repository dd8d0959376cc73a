"""Every door, one after another, within a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.fuzz import decoders, files, holding, servers, strategies
from tests.fuzz.doors import Door, send_grpc, send_http
from tests.fuzz.tally import Tally

_PREDICT: Final = (
    b"POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
_BODY: Final = strategies.as_json(strategies.V2)
PREDICT: Final = _PREDICT % (len(_BODY), _BODY)
HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

Part = Callable[[float, int], list[Tally]]


def parts(folder: Path) -> Iterator[tuple[float, Part]]:
    """Yield each part with its share of the time; its processes keep their files in ``folder``."""
    model, watch = servers.model_server(folder / "serving"), servers.monitor(folder / "monitor")
    hook, page = servers.webhook(folder / "webhook"), servers.page(folder / "page")
    doors = (
        (0.2, Door("model server, HTTP", model, strategies.MODEL_SERVER, send_http, PREDICT)),
        (0.1, Door("model server, gRPC", model, strategies.grpc_messages(), send_grpc, PREDICT)),
        (0.2, Door("monitor", watch, strategies.MONITOR, send_http, HEALTH)),
        (0.08, Door("webhook", hook, strategies.WEBHOOK, send_http, HEALTH)),
        (0.08, Door("page", page, strategies.PAGE, send_http, HEALTH)),
    )
    for share, door in doors:
        yield share, _of_door(door)
    for server, name, asked in (
        (model, "model server", PREDICT),
        (watch, "monitor", HEALTH),
        (hook, "webhook", HEALTH),
        (page, "page", HEALTH),
    ):
        yield 0.04, _of_holding(server, name, asked)
    # Its wheels are for Linux on x86-64 alone.
    for name in decoders.DECODERS if find_spec("atheris") is not None else ():
        yield 0.02, _of_decoder(name)
    yield 0.1, _of_files(folder)


def _of_door(door: Door) -> Part:
    return lambda seconds, seed: [door.run(seconds, seed)]


def _of_holding(server: servers.Server, name: str, asked: bytes) -> Part:
    def run(seconds: float, seed: int) -> list[Tally]:
        del seed
        return holding.hold(name, server, asked, max(seconds / len(holding.STEPS), 1.0))

    return run


def _of_decoder(name: str) -> Part:
    return lambda seconds, seed: [decoders.run(name, max(seconds, 2.0), seed)]


def _of_files(folder: Path) -> Part:
    def run(seconds: float, seed: int) -> list[Tally]:
        home = folder / "files"
        home.mkdir(parents=True, exist_ok=True)
        return [files.damage(files.make_home(home), seconds, seed)]

    return run

"""CPU of the model server per request, against others that predict the same.

FastAPI + orjson; the stock kserve server; and our own service behind plain ASGI on
uvicorn and on granian, which shows what the HTTP server of our own is worth.

All servers run at once and are loaded in turns, round after round, by the same
clients over kept connections; what is compared is the CPU time that each server's
process used, not what a busy machine let through. Values: standard normal, rounded
to three decimals as tables have them; ``.digits17`` repeats 1000x4 with all digits.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from noria.tasks.package import Feature, Input, Manifest, Output, write_package
from noria.tasks.tabular.hand_made import package_linear
from tests.bench.aims import AIMS
from tests.bench.rows import Row, resident_mib, row

CLIENTS: Final = 8
ROUNDS: Final = 5
SECONDS: Final = 1.0
PATH: Final = "/v2/models/m/infer"

Load = Callable[[float], Coroutine[Any, Any, int]]


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test."""

    name: str
    process: subprocess.Popen[bytes]
    rest: int
    grpc: int = 0

    @property
    def cpu(self) -> float:
        """CPU seconds of all its threads so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def run() -> list[Row]:
    """Measure everything; about two minutes."""
    return [*requests(), *resources()]


def requests() -> list[Row]:
    """CPU per request of the servers."""
    with tempfile.TemporaryDirectory() as home:
        return _requests(Path(home))


def resources() -> list[Row]:
    """Seconds to ready and resident memory of a server of a LightGBM model."""
    with tempfile.TemporaryDirectory() as home:
        return _resources(Path(home))


def _requests(home: Path) -> list[Row]:
    package = home / "linear"
    package_linear(package, "m", list("abcd"), [0.5, -0.25, 1.0, 0.1], 0.1)
    rows: list[Row] = []
    with _servers(home, package) as servers:
        ours, fastapi, stock = servers["noria"], servers["fastapi"], servers["kserve"]
        rest = tuple(servers.values())
        for name, count, decimals in (
            ("serve.json.1", 1, 3),
            ("serve.json.1000x4", 1000, 3),
            ("serve.json.1000x4.digits17", 1000, None),
        ):
            request = _json_request(count, decimals)
            rows += _compare(name, {s: _rest(s, request) for s in rest})
        # FastAPI has neither protocol: its JSON of the same rows stands beside them.
        as_json = _json_request(1000, 3)
        binary = _binary_request(1000)
        rows += _compare(
            "serve.binary.1000x4",
            {s: _rest(s, as_json if s is fastapi else binary) for s in rest},
        )  # fmt: skip
        message = _grpc_request(1000)
        rows += _compare(
            "serve.grpc.1000x4",
            {ours: _grpc(ours, message), fastapi: _rest(fastapi, as_json),
             stock: _grpc(stock, message)},
        )  # fmt: skip
    return rows


def _compare(name: str, loads: Mapping[Server, Load]) -> list[Row]:
    """Load the servers in turns; the first is ours, the second the baseline.

    Every other one is a figure of its own: what ours costs, against it.
    """
    costs: dict[Server, list[float]] = {server: [] for server in loads}
    for _ in range(ROUNDS):
        for server, load in loads.items():
            asyncio.run(load(0.1))  # connections, caches
            before = server.cpu
            answered = asyncio.run(load(SECONDS))
            costs[server].append((server.cpu - before) / answered * 1e6)
    (_, ours), (_, fastapi), *others = (
        (server.name, statistics.median(cost)) for server, cost in costs.items()
    )
    return [
        row(name, ours, "us", fastapi),
        *(row(f"{name}.{other}", ours, "us", theirs) for other, theirs in others),
    ]


def _resources(home: Path) -> list[Row]:
    package = home / "lightgbm"
    _package_lightgbm(package)
    seconds, memory = [], []
    for _ in range(3):
        began = time.perf_counter()
        server = _noria(home, package)
        seconds.append(time.perf_counter() - began)
        asyncio.run(_rest(server, _json_request(1000, 3))(0.5))
        memory.append(resident_mib(server.process.pid))
        _end(server)
    ready, resident = "serve.ready.seconds", "serve.rss.mb"
    return [
        row(ready, statistics.median(seconds), "s", AIMS[ready].at_most),
        row(resident, statistics.median(memory), "MiB", AIMS[resident].at_most),
    ]


def _package_lightgbm(package: Path) -> None:
    import lightgbm

    random = np.random.default_rng(0)
    matrix = random.normal(size=(5000, 4))
    labels = (matrix.sum(axis=1) + random.normal(size=5000) > 0).astype(int)
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 31},
        lightgbm.Dataset(matrix, labels),
        num_boost_round=150,
    )
    manifest = Manifest(
        model="m",
        family="tabular-classification",
        algorithm="lightgbm",
        inputs=tuple(Input(name, "FP64", "numeric") for name in "abcd"),
        outputs=(Output("probability", "FP64"), Output("label", "INT64")),
        features=tuple(Feature(name, "numeric") for name in "abcd"),
        classes=(0, 1),
    )
    write_package(package, manifest, {"model.lightgbm.txt": booster.model_to_string().encode()})


# -- servers


@contextmanager
def _servers(home: Path, package: Path) -> Iterator[dict[str, Server]]:
    started = []
    try:
        started.append(_noria(home, package, "--grpc-port", "0"))
        here = Path(__file__).parent
        for name in ("fastapi", "kserve"):
            ports = [_free_port(), _free_port()]
            arguments = [sys.executable, str(here / f"{name}_server.py"), str(package)]
            process = _spawn(home, [*arguments, *map(str, ports)])
            started.append(Server(name, process, ports[0], ports[1]))
        for name in ("uvicorn", "granian"):
            port = _free_port()
            script = str(here / "asgi_server.py")
            process = _spawn(home, [sys.executable, script, name, str(package), str(port)])
            started.append(Server(name, process, port))
        for server in started:
            _wait_for_port(server)
        yield {server.name: server for server in started}
    finally:
        for server in started:
            _end(server)


def _noria(home: Path, package: Path, *options: str) -> Server:
    ready = home / f"ready-{time.monotonic_ns()}.json"
    arguments = ["--package", str(package), "--name", "m", "--version", "1"]
    process = _spawn(
        home,
        [sys.executable, "-m", "serving", *arguments, "--ready-file", str(ready), *options],
    )
    while not ready.exists():
        if process.poll() is not None:
            raise RuntimeError((home / "servers.log").read_text())
        time.sleep(0.005)
    said = json.loads(ready.read_bytes())
    return Server("noria", process, said["rest"], said["grpc"] or 0)


def _spawn(home: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    with (home / "servers.log").open("ab") as log:
        return subprocess.Popen(arguments, stdout=log, stderr=log)


def _wait_for_port(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.rest), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise
            time.sleep(0.1)


def _end(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(10)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# -- requests and clients


def _matrix(count: int, decimals: int | None) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).normal(size=(count, 4))
    return values if decimals is None else values.round(decimals)


def _json_request(count: int, decimals: int | None) -> bytes:
    data = _matrix(count, decimals).ravel().tolist()
    tensor = {"name": "input-0", "shape": [count, 4], "datatype": "FP64", "data": data}
    body = json.dumps({"id": "bench", "inputs": [tensor]}, separators=(",", ":")).encode()
    return _http(body, "Content-Type: application/json")


def _binary_request(count: int) -> bytes:
    raw = _matrix(count, None).tobytes()
    parameters = {"binary_data_size": len(raw)}
    tensor = {
        "name": "input-0", "shape": [count, 4], "datatype": "FP64", "parameters": parameters,
    }  # fmt: skip
    document = {"id": "bench", "inputs": [tensor], "parameters": {"binary_data_output": True}}
    head = json.dumps(document).encode()
    return _http(
        head + raw,
        "Content-Type: application/octet-stream",
        f"Inference-Header-Content-Length: {len(head)}",
    )


def _http(body: bytes, *headers: str) -> bytes:
    lines = (f"POST {PATH} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def _rest(server: Server, request: bytes) -> Load:
    async def client(until: float) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.rest, limit=1 << 20)
        answered = 0
        while time.monotonic() < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{server.name}: {head!r}")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            answered += 1
        writer.close()
        await writer.wait_closed()
        return answered

    return _together(client)


def _grpc_request(count: int) -> bytes:
    from serving.oip.messages import load_messages

    messages = load_messages()
    tensor = {"name": "input-0", "shape": [count, 4], "datatype": "FP64"}
    request = messages.ModelInferRequest(
        model_name="m",
        id="bench",
        inputs=[tensor],
        raw_input_contents=[_matrix(count, None).tobytes()],
    )
    return bytes(request.SerializeToString())


def _grpc(server: Server, message: bytes) -> Load:
    import grpc

    async def client(until: float) -> int:
        answered = 0
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{server.grpc}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            while time.monotonic() < until:
                await call(message)
                answered += 1
        return answered

    return _together(client)


def _together(client: Callable[[float], Awaitable[int]]) -> Load:
    async def load(seconds: float) -> int:
        until = time.monotonic() + seconds
        return sum(await asyncio.gather(*(client(until) for _ in range(CLIENTS))))

    return load

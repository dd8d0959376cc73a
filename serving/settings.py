"""What one server process is told: parsed from its arguments, then immutable."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noria.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Settings:
    """One server process. Sizes are bytes, times seconds; port 0 takes a free one, -1 none."""

    package: Path
    digest: str | None
    name: str
    version: str
    host: str = "127.0.0.1"
    port: int = 0
    grpc_port: int = -1
    sink: str = ""
    sample: float = 1.0
    redact: frozenset[str] = frozenset()
    namespace: str = ""
    ready_file: Path | None = None
    max_request_bytes: int = 16 << 20
    batch_rows: int = 256
    batch_delay: float = 0.002
    max_queue: int = 512
    feature_base: Path = Path()
    drain_delay: float = 0.5
    drain_timeout: float = 30.0


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line of ``python -m serving``.

    Raises:
        InvalidInput: A value is out of range.
    """
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve one version of one model over the Open Inference Protocol v2.",
    )
    add = parser.add_argument
    add("--package", type=Path, required=True, help="directory of the model package")
    add("--digest", default="", help="digest the package must have; empty: not checked")
    add("--name", required=True, help="name the model is served under")
    add("--version", required=True, help="version of the model")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="REST port; 0: a free one")
    add("--grpc-port", type=int, default=-1, help="gRPC port; 0: a free one, -1: no gRPC")
    add("--sink", default="", help="URL that payload events are posted to; empty: none")
    add("--sample", type=float, default=1.0, help="share of requests that are logged, 0 to 1")
    add(
        "--redact",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column that is left out of payload events; once for each",
    )
    add("--namespace", default="", help="namespace named in payload events")
    add("--ready-file", type=Path, default=None, help="written once the server is ready")
    add("--max-request-bytes", type=int, default=16 << 20, help="largest request body")
    add("--batch-rows", type=int, default=256, help="rows in one call of the predictor")
    add("--batch-delay-ms", type=float, default=2.0, help="longest wait for a batch to fill")
    add("--max-queue", type=int, default=512, help="requests that may wait; more get a 503")
    add("--feature-base", type=Path, default=Path(), help="folder of model.yaml, for Feast")
    add("--drain-delay", type=float, default=0.5, help="seconds from unready to not listening")
    add("--drain-timeout", type=float, default=30.0, help="seconds for requests in flight")
    given = parser.parse_args(arguments)
    if not 0 <= given.sample <= 1:
        raise InvalidInput(f"--sample: {given.sample} is not between 0 and 1")
    for option in ("max_request_bytes", "batch_rows", "max_queue"):
        if getattr(given, option) < 1:
            flag = option.replace("_", "-")
            raise InvalidInput(f"--{flag}: {getattr(given, option)} is less than 1")
    return Settings(
        package=given.package,
        digest=given.digest or None,
        name=given.name,
        version=given.version,
        host=given.host,
        port=given.port,
        grpc_port=given.grpc_port,
        sink=given.sink,
        sample=given.sample,
        redact=frozenset(given.redact),
        namespace=given.namespace,
        ready_file=given.ready_file,
        max_request_bytes=given.max_request_bytes,
        batch_rows=given.batch_rows,
        batch_delay=given.batch_delay_ms / 1000,
        max_queue=given.max_queue,
        feature_base=given.feature_base,
        drain_delay=given.drain_delay,
        drain_timeout=given.drain_timeout,
    )

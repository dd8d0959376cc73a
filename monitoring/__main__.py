"""``python -m monitoring``: the monitor of one model as a process."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

from monitoring.app import READ_HEADERS, App
from monitoring.config import MonitorConfig
from monitoring.partials.replica import Replica
from monitoring.processor import Part
from monitoring.service import Monitor, Setting
from noria.errors import NoriaError
from noria.http import HttpLimits, HttpServer
from noria.spec import load_model

_DRAIN_SECONDS: Final = 10.0
_MAX_HELD_BYTES: Final = 256 * 1024 * 1024


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        config = MonitorConfig.from_model(load_model(asked.model))
        part = Part(Replica.parse(asked.replica) if asked.replica else None, asked.replicas)
        setting = Setting(asked.state, asked.clock, part=part, aggregator=asked.aggregator)
        monitor = Monitor(config, setting, time.time)
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(monitor, asked))
    except OSError as error:
        sys.stderr.write(f"{asked.host}:{asked.port} can't be listened on: {error}\n")
        return 1
    finally:
        monitor.close()
    return 0


async def _serve(monitor: Monitor, asked: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = App(monitor)
    limits = HttpLimits(
        asked.max_body_bytes, max_connections=asked.max_connections, max_held=_MAX_HELD_BYTES
    )
    server = HttpServer(app, app.refuse, limits, READ_HEADERS)
    listener = await server.listen(asked.host, asked.port)
    sweeper = loop.create_task(server.sweep())
    try:
        if asked.ready_file is not None:
            port = listener.sockets[0].getsockname()[1]
            ready = {"pid": os.getpid(), "http": port, "url": f"http://{asked.host}:{port}"}
            partial = asked.ready_file.with_name(asked.ready_file.name + ".partial")
            partial.write_text(json.dumps(ready))
            partial.replace(asked.ready_file)
        await stop.wait()
    finally:
        listener.close()
        sweeper.cancel()
        await server.drain(_DRAIN_SECONDS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the Model resource, a YAML file")
    parser.add_argument("--state", type=Path, required=True, help="folder of the log and the state")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--ready-file", type=Path, help='gets {"pid", "http", "url"} when ready')
    parser.add_argument(
        "--clock",
        choices=("wall", "event"),
        default="wall",
        help="arrival time: wall clock, or the largest event time seen (for replays)",
    )
    parser.add_argument("--max-body-bytes", type=int, default=16 * 1024 * 1024)
    parser.add_argument("--max-connections", type=int, default=4096)
    parser.add_argument("--replica", default="", help="be replica I/N, and test nothing")
    parser.add_argument("--aggregator", default="", help="URL that a replica sends partials to")
    parser.add_argument("--replicas", type=int, default=0, help="be the aggregator of N replicas")
    return parser


if __name__ == "__main__":
    sys.exit(main())

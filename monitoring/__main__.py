"""``python -m monitoring``: the monitor of one model as a process."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import uvicorn
import uvloop

from monitoring.app import App
from monitoring.config import MonitorConfig
from monitoring.service import Monitor, Setting
from noria.errors import NoriaError
from noria.spec import load_model


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        config = MonitorConfig.from_model(load_model(asked.model))
        monitor = Monitor(config, Setting(asked.state, asked.clock), time.time)
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    # uvicorn stops at these, puts our handlers back and raises them again: nothing more to do then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
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
    listener = socket.create_server((asked.host, asked.port), backlog=1024)
    # Inherited by the connections. Without it an answer's body waits 40 ms for a delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listener.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            App(monitor, max_body_bytes=asked.max_body_bytes),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if asked.ready_file is not None and not serving.done():
        ready = {"pid": os.getpid(), "http": port, "url": f"http://{asked.host}:{port}"}
        partial = asked.ready_file.with_name(asked.ready_file.name + ".partial")
        partial.write_text(json.dumps(ready))
        partial.replace(asked.ready_file)
    await serving


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
    return parser


if __name__ == "__main__":
    sys.exit(main())

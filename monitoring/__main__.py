"""``python -m monitoring``: the monitor of one model as a process."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from monitoring.app import BOUNDS, App
from monitoring.config import MonitorConfig
from monitoring.partials.replica import Replica
from monitoring.processor import Role
from monitoring.service import Monitor, Setting
from monitoring.written import read
from noria.asgi import Hosts, Listen, serve
from noria.errors import NoriaError
from noria.spec import load_model

_WATCH_SECONDS: Final = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    asked = _parser().parse_args(arguments)
    # What the libraries write of it is nobody else's to read, either.
    os.umask(0o077)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        hosts = Hosts(asked.host, asked.allowed_host)
        config = (
            read(asked.config)
            if asked.model is None
            else MonitorConfig.from_model(load_model(asked.model))
        )
        role = Role(Replica.parse(asked.replica) if asked.replica else None, asked.replicas)
        setting = Setting(asked.state, asked.clock, role=role, aggregator=asked.aggregator)
        monitor = Monitor(config, setting, time.time)
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    listen = Listen(asked.host, asked.port, asked.ready_file)
    bounds = replace(BOUNDS, max_body=asked.max_body_bytes, max_connections=asked.max_connections)
    threading.Thread(target=_watch, args=(monitor,), name="watch", daemon=True).start()
    try:
        with listen.bind() as listener:
            serve(App(monitor).gate(hosts, bounds), listen, listener)
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    finally:
        monitor.close()
    return 0


def _watch(monitor: Monitor) -> None:
    """End the process when only a new start helps; whoever started it starts it again.

    What was acknowledged is on disk, and a thread that is stuck would not let it end.
    """
    while not (problem := monitor.hopeless):
        time.sleep(_WATCH_SECONDS)
    logging.getLogger(__name__).error("the monitor ends, to start again: %s", problem)
    logging.shutdown()
    os._exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    watched = parser.add_mutually_exclusive_group(required=True)
    watched.add_argument("--model", type=Path, help="the Model resource, a YAML file")
    watched.add_argument("--config", type=Path, help="what the operator took from the resource")
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
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name that it may be called by, beside its addresses; repeat for more",
    )
    parser.add_argument("--max-body-bytes", type=int, default=BOUNDS.max_body)
    parser.add_argument("--max-connections", type=int, default=BOUNDS.max_connections)
    parser.add_argument("--replica", default="", help="be replica I/N, and test nothing")
    parser.add_argument("--aggregator", default="", help="URL that a replica sends partials to")
    parser.add_argument("--replicas", type=int, default=0, help="be the aggregator of N replicas")
    return parser


if __name__ == "__main__":
    sys.exit(main())

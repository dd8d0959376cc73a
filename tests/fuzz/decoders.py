"""Coverage-guided fuzzing (atheris) of what reads a stranger's bytes, in a process of its own.

``python -m tests.fuzz.decoders NAME SECONDS SEED``: prints how many inputs were tried; an
exception that is no error of ours ends it with the input.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.fuzz.tally import Tally

_EXTRA_SECONDS: Final = 120


def _resource(data: bytes) -> None:
    from noria.spec.text import read_yaml

    read_yaml(data.decode("utf-8", "replace"), origin="fuzz")


def _block(data: bytes) -> None:
    from noria.predictions import decode

    decode(data)


def _event(data: bytes) -> None:
    from monitoring.events import read_events

    read_events({"content-type": "application/cloudevents-batch+json"}, data)


def _feedback(data: bytes) -> None:
    from monitoring.config import MonitorConfig
    from monitoring.feedback import read_feedback
    from noria.spec import parse_model
    from tests.fuzz.servers import DOCUMENT

    read_feedback(data, MonitorConfig.from_model(parse_model(DOCUMENT)))


def _ledger(data: bytes) -> None:
    from noria.loop.archive import check

    check(data.splitlines())


DECODERS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "resource": _resource,
    "block": _block,
    "event": _event,
    "ledger": _ledger,
}
SEEDS: Final[Mapping[str, bytes]] = {
    "resource": b"apiVersion: noria.dev/v1alpha1\nkind: Model\nspec: {a: [1, 'x', 2026-01-01]}\n",
    "block": b"\x96\xa1m\xa11\x91\xa2r1\xc4\x04\x01\x00\x00\x00\x80\x80",
    "event": b'[{"specversion":"1.0","id":"1","type":"x","source":"y","data":{}}]',
    "ledger": b'{"format":"noria-ledger/1","model":"m",'
    b'"head":{"sequence":0,"hash":"00"},"anchors":[]}\n',
}


def run(name: str, seconds: float, first_seed: int) -> Tally:
    """Fuzz a decoder for so long."""
    tally = Tally(f"decoder: {name}")
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.decoders",
             name, str(int(seconds)), str(first_seed), folder],
            capture_output=True, check=False, timeout=seconds + _EXTRA_SECONDS,
        )  # fmt: skip
    said = ran.stderr.decode("utf-8", "replace")
    runs = re.findall(r"^#(\d+)\s", said, re.MULTILINE) + re.findall(r"Done (\d+) runs", said)
    tally.tried = max(map(int, runs), default=0)
    peaks = re.findall(r"rss: (\d+)Mb", said)
    tally.start, tally.peak = (
        (float(peaks[0]), float(max(map(int, peaks)))) if peaks else (0.0, 0.0)
    )
    if ran.returncode:
        tally.tracebacks += 1
        tally.keep(f"exit {ran.returncode}", said[-3000:].encode())
    return tally


def main(name: str, seconds: int, first_seed: int, folder: Path) -> None:
    """Fuzz in this process until the time is over."""
    import atheris

    with atheris.instrument_imports(include=["noria", "monitoring"]):
        from noria.errors import NoriaError

        decode = DECODERS[name]
        decode_once(decode, SEEDS[name], NoriaError)

    def one(data: bytes) -> None:
        decode_once(decode, data, NoriaError)

    (folder / "seed").write_bytes(SEEDS[name])
    options = [
        f"-max_total_time={seconds}",
        f"-seed={first_seed}",
        "-timeout=20",
        "-rss_limit_mb=2048",
    ]
    atheris.Setup([sys.argv[0], str(folder), *options], one)
    os.chdir(folder)
    atheris.Fuzz()


def decode_once(decode: Callable[[bytes], None], data: bytes, ours: type[Exception]) -> None:
    """Decode; an error of ours is a fine answer."""
    try:
        decode(data)
    except ours:
        return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))

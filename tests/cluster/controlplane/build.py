"""``python -m tests.cluster.controlplane.build [PART ...]``: the programs of the cluster tests.

Kubernetes, the KServe controller and helm are built from pinned Go modules: a
control plane is needed, and neither a container runtime nor a download of
binaries may be. What is built stays outside the clone, under the hash of the
files that decide what is built, so that every clone and branch of the machine
shares it and a changed version never meets an old binary.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noria.errors import NotInstalled, Unavailable

HERE: Final = Path(__file__).resolve().parent
GO: Final = (1, 26)
_FLAGS: Final = ("-trimpath",)
_SOURCES: Final = ("go.mod", "go.sum", "*.go")


@dataclass(frozen=True, slots=True)
class Part:
    """One wrapper module: where it is, the package it builds and the names of its programs."""

    name: str
    module: Path
    package: str
    programs: tuple[str, ...]

    def key(self) -> str:
        """Return the hash of the module's files: the same key, the same binary."""
        digest = hashlib.sha256(" ".join(("go", *map(str, GO), *_FLAGS)).encode())
        for file in sorted(file for glob in _SOURCES for file in self.module.glob(glob)):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()[:16]


CONTROL_PLANE: Final = Part(
    "controlplane", HERE, ".", ("kube-apiserver", "kube-controller-manager", "kubectl")
)
KSERVE: Final = Part(
    "kserve", HERE.parent / "kserve", "github.com/kserve/kserve/cmd/manager", ("kserve-manager",)
)
HELM: Final = Part("helm", HERE.parent / "helm", "helm.sh/helm/v4/cmd/helm", ("helm",))
PARTS: Final = {part.name: part for part in (CONTROL_PLANE, KSERVE, HELM)}


def cache() -> Path:
    """Return the folder of everything that was built: ``NORIA_CACHE``, else in the user's cache."""
    return Path(os.environ.get("NORIA_CACHE") or Path.home() / ".cache" / "noria")


def programs(part: Part) -> Mapping[str, Path]:
    """Return the programs of a part by name; builds them when the cache has them not.

    ``KUBEBUILDER_ASSETS``, the folder that envtest's tools fill, wins for the
    programs that are in it.

    Raises:
        NotInstalled: there is no Go, or it is too old.
        Unavailable: the build failed.
    """
    given = _given(part)
    if len(given) == len(part.programs):
        return given
    folder = cache() / part.name / part.key() / "bin"
    with _locked(cache() / f"{part.name}.lock"):
        if not folder.is_dir():
            _build(part, folder)
    return {name: folder / name for name in part.programs} | given


def etcd() -> Path:
    """Return etcd: of ``KUBEBUILDER_ASSETS``, of the machine, or installed from Debian by root.

    Raises:
        NotInstalled: it is not there and can't be installed by this user.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / "etcd").is_file():
        return Path(assets) / "etcd"
    with _locked(cache() / "etcd.lock"):
        found = shutil.which("etcd") or _install_etcd()
    return Path(found)


def module_folder(wrapper: Path, module: str) -> Path:
    """Return the unpacked source of a module at the version that a wrapper pins.

    Raises:
        Unavailable: the module can't be downloaded, or isn't what ``go.sum`` says.
    """
    done = subprocess.run(
        [_go(), "mod", "download", "-json", module],
        cwd=wrapper,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return Path(str(json.loads(done.stdout)["Dir"]))
    except (ValueError, KeyError) as error:
        raise Unavailable(
            f"module {module!r} of {wrapper / 'go.mod'} can't be had: {done.stdout}{done.stderr}"
        ) from error


def _given(part: Part) -> dict[str, Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    paths = {name: Path(assets) / name for name in part.programs} if assets else {}
    return {name: path for name, path in paths.items() if path.is_file()}


def _build(part: Part, folder: Path) -> None:
    compiler = _go()
    _say(f"building {part.name} ({', '.join(part.programs)}); minutes, once per version ...")
    began, cpu = time.monotonic(), _children_cpu()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "bin"
        made.mkdir()
        binary = made / part.name if len(part.programs) > 1 else made / part.programs[0]
        linker = " ".join(("-s", "-w", *_version(part)))
        command = [compiler, "build", *_FLAGS, "-ldflags", linker, "-o", str(binary), part.package]
        done = subprocess.run(command, cwd=part.module, env=_environment(), check=False)
        if done.returncode:
            raise Unavailable(f"{part.name} can't be built: {' '.join(command)} failed, see above")
        for name in part.programs:
            if name != binary.name:
                (made / name).symlink_to(binary.name)
        made.rename(folder)
    size = (folder / binary.name).stat().st_size / 1e6
    _say(
        f"built {part.name} in {time.monotonic() - began:.0f} s "
        f"({_children_cpu() - cpu:.0f} s of CPU, {size:.0f} MB) into {folder}"
    )


def _version(part: Part) -> list[str]:
    """Stamp the release into Kubernetes: clients and helm ask the API server for it."""
    found = re.search(
        r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", (part.module / "go.mod").read_text()
    )
    if part is not CONTROL_PLANE or found is None:
        return []
    values = {"gitVersion": found[1], "gitMajor": found[2], "gitMinor": found[3]}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return [f"-X {package}.{key}={value}" for package in packages for key, value in values.items()]


def _go() -> str:
    fix = f"install Go {GO[0]}.{GO[1]} or newer and put `go` into PATH"
    compiler = shutil.which("go")
    if compiler is None:
        raise NotInstalled("the cluster tests build a control plane, and `go` isn't here", fix=fix)
    said = subprocess.run(
        [compiler, "env", "GOVERSION"], env=_environment(), capture_output=True, text=True,
        check=False,
    ).stdout  # fmt: skip
    found = re.match(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < GO:
        raise NotInstalled(f"{compiler} is {said.strip() or 'not a working Go'}", fix=fix)
    return compiler


def _environment() -> dict[str, str]:
    # GOTOOLCHAIN: a compiler is never downloaded. No cgo: no C compiler is needed either.
    settings = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    return os.environ | settings | {"GOWORK": "off"}


def _install_etcd() -> str:
    command = "apt-get install -y --no-install-recommends etcd-server"
    fix = f"run `{command}`, or put etcd into PATH or KUBEBUILDER_ASSETS"
    if os.geteuid() or shutil.which("apt-get") is None:
        raise NotInstalled("the cluster tests need etcd, and it isn't here", fix=fix)
    _say(f"etcd is missing: {command}")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in ("apt-get update -qq", command):
        # An update that fails may have left good lists: what counts is the last command.
        subprocess.run(words.split(), env=quiet, stdout=subprocess.DEVNULL, check=False)
    found = shutil.which("etcd")
    if found is None:
        raise NotInstalled("etcd could not be installed, see above", fix=fix)
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process of the machine in; the others wait and then find its result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Build the named parts, or all; print where their programs are."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.controlplane.build")
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; none: all")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.part if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        _say(f"etcd: {etcd()}")
        for name in given.part or PARTS:
            for program, path in programs(PARTS[name]).items():
                _say(f"{program}: {path}")
    except (NotInstalled, Unavailable) as error:
        _say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

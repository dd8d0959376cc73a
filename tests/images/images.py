"""Builds and runs the images without a registry or an engine: debootstrap, buildah, runc.

The base is a Debian made by debootstrap and tagged as the image that the
Dockerfile names. Layers are kept in a cache outside the clone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/debian:bookworm-slim"
CAS = Path("/etc/ssl/certs/ca-certificates.crt")
TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap", "runc": "runc"}


def cache() -> Path:
    """Return the folder of the base and the layers."""
    home = os.environ.get("NORIA_CACHE") or str(Path.home() / ".cache" / "noria")
    return Path(home) / "images"


def install_tools() -> None:
    """Install what builds images from Debian; the command is in the error when that can't be."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise RuntimeError(f"missing {missing}: run `sudo {' '.join(command)}`")
    subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Buildah:
    """One image store in the cache."""

    store: Path

    def __call__(self, *arguments: str | Path) -> str:
        """Run buildah and return what it printed; its errors are in the exception."""
        done = subprocess.run(
            ["buildah", *self._where(), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr)[-3000:]
            raise RuntimeError(f"buildah {arguments[0]}: {said}")
        return done.stdout.strip()

    def _where(self) -> list[str]:
        return [
            *("--root", str(self.store / "storage")),
            *("--runroot", str(self.store / "run")),
            *("--storage-driver", "overlay"),
        ]


def make_base(buildah: Buildah) -> None:
    """Make the base once: a minimal Debian, tagged as the image that ``FROM`` names."""
    if buildah("images", "--quiet", "--filter", f"reference={BASE}"):
        return
    folder = buildah.store / "base"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", partial],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # As in the official slim image.
        for waste in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/lib/apt/lists"):
            shutil.rmtree(partial / waste, ignore_errors=True)
        for archive in (partial / "var/cache/apt").rglob("*.deb"):
            archive.unlink()
        partial.rename(folder)
    container = buildah("from", "scratch")
    buildah("copy", "--quiet", container, folder, "/")
    buildah("commit", "--quiet", container, BASE)
    buildah("rm", container)


def build(buildah: Buildah, target: str) -> str:
    """Build one target of the Dockerfile and return the image's name."""
    name = f"localhost/noria-{target}:test"
    buildah(
        "bud",
        "--isolation=chroot",
        "--network=host",
        "--pull-never",
        "--layers",
        *("--volume", f"{CAS}:{CAS}:ro"),
        *("--ignorefile", ROOT / "manifests/images/Dockerfile.dockerignore"),
        *("--file", ROOT / "manifests/images/Dockerfile"),
        *("--target", target, "--tag", name),
        ROOT,
    )
    return name


def prune(buildah: Buildah) -> None:
    """Delete layers that no image of the present Dockerfile has."""
    buildah("rmi", "--prune", "--force")


def size(buildah: Buildah, image: str) -> int:
    """Return the bytes of an image's files, all layers together."""
    with rootfs(buildah, image) as root:
        said = subprocess.run(["du", "-sxb", root], capture_output=True, text=True, check=True)
        return int(said.stdout.split()[0])


@contextmanager
def rootfs(buildah: Buildah, image: str) -> Iterator[Path]:
    """Mount an image's file system."""
    container = buildah("from", "--pull-never", image)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("umount", container)
        buildah("rm", container)


def config(buildah: Buildah, image: str) -> Mapping[str, object]:
    """Return the image's OCI configuration: user, environment, entry point, command."""
    told = json.loads(buildah("inspect", "--type", "image", image))
    found: Mapping[str, object] = told["OCIv1"]["config"]
    return found


@contextmanager
def running(
    buildah: Buildah,
    image: str,
    arguments: Sequence[str],
    *,
    mounts: Mapping[Path, str] | None = None,
    writable: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    entrypoint: Sequence[str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run the image's entry point as a restricted pod would.

    Its own user, no capabilities, no new privileges, a read-only root; ``/tmp``
    and ``writable`` are fresh and in memory. It shares this machine's network.
    ``entrypoint`` replaces the image's.
    """
    with rootfs(buildah, image) as root, tempfile.TemporaryDirectory() as bundle:
        told = config(buildah, image)
        first = _words(told.get("Entrypoint")) if entrypoint is None else entrypoint
        command = [*first, *(arguments or _words(told.get("Cmd")))]
        spec = _bundle(root, told, command, mounts or {}, writable, environment or {})
        (Path(bundle) / "config.json").write_text(json.dumps(spec))
        name = f"noria-test-{os.getpid()}-{time.monotonic_ns()}"
        state = str(Path(bundle) / "state")
        process = subprocess.Popen(
            ["runc", "--root", state, "run", "--bundle", bundle, name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                subprocess.run(["runc", "--root", state, "kill", name, "TERM"], check=False)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(15)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            subprocess.run(
                ["runc", "--root", state, "delete", "--force", name],
                check=False,
                capture_output=True,
            )


def _words(value: object) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list) else []


def _bundle(
    root: Path,
    told: Mapping[str, object],
    command: Sequence[str],
    mounts: Mapping[Path, str],
    writable: Sequence[str],
    environment: Mapping[str, str],
) -> dict[str, object]:
    user, _, group = str(told["User"]).partition(":")
    memory = ["nosuid", "nodev", "mode=1777"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": int(user), "gid": int(group)},
            "args": list(command),
            "env": [*_words(told.get("Env")), *(f"{k}={v}" for k, v in environment.items())],
            "cwd": str(told.get("WorkingDir") or "/"),
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            *(
                {"destination": at, "type": "tmpfs", "source": "tmpfs", "options": memory}
                for at in ("/tmp", "/dev/shm", *writable)
            ),
            *(
                {"destination": at, "type": "bind", "source": str(of), "options": ["bind", "ro"]}
                for of, at in mounts.items()
            ),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }

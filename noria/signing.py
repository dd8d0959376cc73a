"""Ed25519 signatures (RFC 8032) of the ledger's heads; needs the `cryptography` package.

The private key is a PEM file that only the loop's account may read; the public key
is all that a check needs:

    openssl genpkey -algorithm ed25519 -out ledger.key
    openssl pkey -in ledger.key -pubout -out ledger.pub
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from noria.errors import InvalidInput, NotInstalled

KEY_VARIABLE: Final = "NORIA_LEDGER_KEY"
"""Environment variable with the path of the private key; without it heads are not signed."""

_MAX_KEY_BYTES: Final = 10_000


def signer_of_environment() -> Callable[[bytes], str] | None:
    """Return what signs with the key that ``NORIA_LEDGER_KEY`` names, None when it names none.

    Raises:
        InvalidInput: The file can't be read, or holds no Ed25519 private key.
        NotInstalled: `cryptography` is missing.
    """
    named = os.environ.get(KEY_VARIABLE, "")
    return signer(Path(named)) if named else None


def signer(path: Path) -> Callable[[bytes], str]:
    """Return what signs a message with a private key; a signature is text in base64.

    Raises:
        InvalidInput: The file can't be read, or holds no unencrypted Ed25519 private key.
        NotInstalled: `cryptography` is missing.
    """
    from_pem, kinds = _library()
    key = _load(path, lambda pem: from_pem.load_pem_private_key(pem, password=None), "private")
    if not isinstance(key, kinds.Ed25519PrivateKey):
        raise _no_key(path, "private")
    return lambda message: base64.b64encode(key.sign(message)).decode()


def checker(path: Path) -> Callable[[bytes, str], bool]:
    """Return what says whether a signature of a message is by the owner of a public key.

    Raises:
        InvalidInput: The file can't be read, or holds no Ed25519 public key.
        NotInstalled: `cryptography` is missing.
    """
    from cryptography.exceptions import InvalidSignature

    from_pem, kinds = _library()
    key = _load(path, from_pem.load_pem_public_key, "public")
    if not isinstance(key, kinds.Ed25519PublicKey):
        raise _no_key(path, "public")

    def check(message: bytes, signature: str) -> bool:
        try:
            key.verify(base64.b64decode(signature, validate=True), message)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    return check


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise NotInstalled(
            "signing the ledger needs the package cryptography", fix="install noria[signing]"
        ) from error
    return serialization, ed25519


def _load(path: Path, read: Callable[[bytes], Any], kind: str) -> Any:
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise InvalidInput(f"the {kind} key {path} can't be read: {error.strerror}") from error
    try:
        return read(pem)
    except Exception as error:  # the library has an exception of its own for each kind of nonsense
        raise _no_key(path, kind) from error


def _no_key(path: Path, kind: str) -> InvalidInput:
    return InvalidInput(
        f"{path} holds no Ed25519 {kind} key in PEM",
        fix="make one with `openssl genpkey -algorithm ed25519`, and its public half with "
        "`openssl pkey -pubout`",
    )

"""CURVE keys on disk: who may listen, and how a listener knows the publisher.

A publisher's folder holds ``publisher.key_secret``, ``publisher.key`` and ``allowed/`` with the public key
of everybody who may listen. A listener's folder holds its ``client.key_secret`` and the ``publisher.key``.
These files are ZeroMQ certificates, which other ZeroMQ programs read as well. WebSockets know no such keys:
for them a listener has a ``websocket.token``, of which ``allowed/`` holds the hash.
"""

import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq
import zmq.auth

PUBLISHER: Final = "publisher"
CLIENT: Final = "client"
ALLOWED: Final = "allowed"
CLIENTS: Final = "clients"
TOKEN: Final = "websocket.token"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class KeysError(ValueError):
    """Keys are missing, damaged or would be overwritten; the message says which and what to do."""


@dataclass(frozen=True)
class PublisherKeys:
    """What a publisher needs to encrypt, and to know its listeners.

    Attributes:
        folder: where they were read from.
        public, secret: Z85 text, 40 bytes each.
    """

    folder: Path
    public: bytes
    secret: bytes

    @classmethod
    def load(cls, folder: str | Path) -> "PublisherKeys":
        """Read the keys that `create_publisher_keys` made. Raises ``KeysError``."""
        folder = Path(folder)
        public, secret = _pair(folder / f"{PUBLISHER}.key_secret", f"kinestream keys {folder}")
        return cls(folder, public, secret)

    def allowed(self) -> dict[bytes, str]:
        """Names of those who may listen, by public key; read anew at every call."""
        names = {}
        for path in sorted((self.folder / ALLOWED).glob("*.key")):
            try:
                names[zmq.auth.load_certificate(path)[0]] = path.stem
            except (OSError, ValueError):
                continue  # half written or no key: opens no door
        return names

    def bearer(self, token: str) -> str | None:
        """Name of the one who may listen with this token, None for nobody's; read anew at every call."""
        found = _token_hash(token)
        for path in sorted((self.folder / ALLOWED).glob("*.token")):
            try:
                hashed = path.read_text(encoding="ascii").strip()
                if secrets.compare_digest(hashed, found) and path.with_suffix(".key").exists():
                    return path.stem
            except (OSError, ValueError):
                continue  # half written or no token: opens no door
        return None


@dataclass(frozen=True)
class ClientKeys:
    """What a listener needs: its own pair, and the public key of the publisher it trusts; Z85 text."""

    public: bytes
    secret: bytes
    publisher: bytes

    @classmethod
    def load(cls, folder: str | Path) -> "ClientKeys":
        """Read a folder that `create_client_keys` made. Raises ``KeysError``."""
        folder = Path(folder)
        advice = "kinestream keys FOLDER --client NAME makes such a folder on the publisher's side"
        public, secret = _pair(folder / f"{CLIENT}.key_secret", advice)
        return cls(public, secret, _public(folder / f"{PUBLISHER}.key", advice))


def create_publisher_keys(folder: str | Path) -> Path:
    """Make the keys of a publisher in ``folder``. Raises ``KeysError`` where there are some already."""
    folder = Path(folder)
    if (folder / f"{PUBLISHER}.key_secret").exists():
        raise KeysError(f"{folder}: holds a publisher's keys already; delete them first to make new ones")
    (folder / ALLOWED).mkdir(parents=True, exist_ok=True)
    _create_pair(folder, PUBLISHER)
    return folder


def create_client_keys(folder: str | Path, name: str) -> Path:
    """Allow one more listener; returns the folder to give to it.

    Args:
        folder: of the publisher.
        name: of the listener, as it will stand in logs.

    Raises ``KeysError`` for an impossible name, or where the name is taken.
    """
    publisher = PublisherKeys.load(folder)
    if not _NAME.fullmatch(name):
        raise KeysError(f"client: expected letters, digits, '.', '_' and '-', found {name!r}")
    bundle, entry = publisher.folder / CLIENTS / name, publisher.folder / ALLOWED / f"{name}.key"
    if bundle.exists() or entry.exists():
        raise KeysError(f"{name}: is allowed already; delete {entry} and {bundle} to start over")
    bundle.mkdir(parents=True)
    entry.parent.mkdir(exist_ok=True)
    _create_pair(bundle, CLIENT)
    shutil.copy(publisher.folder / f"{PUBLISHER}.key", bundle)
    shutil.copy(bundle / f"{CLIENT}.key", entry)
    token = secrets.token_urlsafe(32)
    os.close(
        os.open(bundle / TOKEN, os.O_CREAT | os.O_EXCL, 0o600)
    )  # the owner's alone from the first byte on
    (bundle / TOKEN).write_text(f"{token}\n", encoding="ascii")
    entry.with_name(f"{name}.token").write_text(f"{_token_hash(token)}\n", encoding="ascii")
    return bundle


def _token_hash(token: str) -> str:
    """A token is random and long, so that a plain hash of it tells nothing."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _create_pair(folder: Path, name: str) -> None:
    before = os.umask(0o077)  # secrets are the owner's alone from the first byte on
    try:
        zmq.auth.create_certificates(folder, name)
    finally:
        os.umask(before)
    os.chmod(folder / f"{name}.key", 0o644)


def _pair(path: Path, advice: str) -> tuple[bytes, bytes]:
    public, secret = _certificate(path, advice)
    if secret is None:
        raise KeysError(f"{path}: holds no secret key; {advice}")
    return public, secret


def _public(path: Path, advice: str) -> bytes:
    return _certificate(path, advice)[0]


def _certificate(path: Path, advice: str) -> tuple[bytes, bytes | None]:
    if not path.is_file():
        raise KeysError(f"{path}: no such key; {advice}")
    try:
        public, secret = zmq.auth.load_certificate(path)
    except ValueError as error:
        raise KeysError(f"{path}: is no ZeroMQ key ({error}); {advice}") from error
    if any(key is not None and len(key) != 40 for key in (public, secret)):
        raise KeysError(f"{path}: is damaged, keys have 40 characters; {advice}")
    return public, secret

"""Docker's credential helpers: programs that are asked for, given and told to forget secrets.

Protocol: github.com/docker/docker-credential-helpers.  A helper is one of the user's own
programs, but a configuration file names it: the name is checked, the program is looked for
in absolute directories of PATH only, it has 30 seconds, and what it prints is bounded.
"""

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Final

from bpfpack.registry.client.wire import Credential
from bpfpack.spec import fields, strictjson
from bpfpack.spec.errors import SpecError, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.safetext import printable

_NAME: Final = re.compile(r"[a-z0-9-]+")
# Of our keys; a variable that held a key itself is gone since it was read (`keyfiles`).
_PASSWORDS: Final = ("BPFPACK_", "COSIGN_PASSWORD")
_SECONDS: Final = 30.0
_LONGEST: Final = LIMITS.token_body
# What helpers answer for "none", by the letter of the protocol's own constant.
_NOT_FOUND: Final = "credentials not found in native keychain"
# Helpers answer an identity token under this name.
_TOKEN_USER: Final = "<token>"  # noqa: S105


def get(name: str, server: str, environ: Mapping[str, str]) -> Credential | None:
    """Return what a helper has for ``server``, None for nothing; raises StoreError."""
    status, output = _run(name, "get", server.encode(), environ)
    if status:
        said = output.decode("utf-8", "replace").strip()
        if _NOT_FOUND in said:
            return None
        raise StoreError(f"credential helper {name} failed: {printable(said, 200)}")
    try:
        data = strictjson.loads_object(output, _LONGEST)
        user, secret = fields.string(data, "Username"), fields.string(data, "Secret")
    except SpecError as e:
        raise StoreError(f"credential helper {name} answered with something else: {e}") from e
    if user == _TOKEN_USER:
        return Credential(identity_token=secret)
    return Credential(username=user, secret=secret) if secret else None


def store(name: str, server: str, credential: Credential, environ: Mapping[str, str]) -> None:
    """Give a credential to a helper; raises StoreError."""
    data = {"ServerURL": server, "Username": credential.username, "Secret": credential.secret}
    _must(name, "store", json.dumps(data).encode(), environ)


def erase(name: str, server: str, environ: Mapping[str, str]) -> None:
    """Make a helper forget ``server``; raises StoreError."""
    _must(name, "erase", server.encode(), environ)


def _must(name: str, action: str, data: bytes, environ: Mapping[str, str]) -> None:
    status, output = _run(name, action, data, environ)
    if status:
        said = printable(output.strip(), 200)
        raise StoreError(f"credential helper {name} failed to {action}: {said}")


def _run(name: str, action: str, data: bytes, environ: Mapping[str, str]) -> tuple[int, bytes]:
    """Run a helper; returns its exit status and what it printed."""
    command = [_program(name, environ), action]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={k: v for k, v in environ.items() if not k.startswith(_PASSWORDS)},
            start_new_session=True,
        )
    except OSError as e:
        raise StoreError(f"cannot run credential helper {name}: {e.strerror}") from e
    with process:
        try:
            return _converse(process, data, name)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _converse(process: "subprocess.Popen[bytes]", data: bytes, name: str) -> tuple[int, bytes]:
    if process.stdin is None or process.stdout is None:
        raise StoreError(f"credential helper {name} has no pipes")
    ends, output = time.monotonic() + _SECONDS, bytearray()
    try:
        # Smaller than a pipe's buffer: this cannot block.
        process.stdin.write(data[:_LONGEST])
        process.stdin.close()
    except BrokenPipeError:
        pass  # it did not read its input; its exit status tells the rest
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(ends - time.monotonic(), 0)):
            chunk = os.read(process.stdout.fileno(), 65536)
            output += chunk
            if len(output) > _LONGEST:
                raise StoreError(f"credential helper {name} prints too much")
            if not chunk:
                return _status(process, ends, name), bytes(output)
    raise StoreError(f"credential helper {name} did not answer within {_SECONDS:g} seconds")


def _status(process: "subprocess.Popen[bytes]", ends: float, name: str) -> int:
    try:
        return process.wait(max(ends - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired as e:
        raise StoreError(f"credential helper {name} did not end") from e


def _program(name: str, environ: Mapping[str, str]) -> str:
    if not _NAME.fullmatch(name):
        raise StoreError(f"not the name of a credential helper: {printable(name, 64)}")
    # An empty or relative entry of PATH means the working directory: anybody's files.
    directories = [d for d in environ.get("PATH", os.defpath).split(":") if d.startswith("/")]
    found = shutil.which(f"docker-credential-{name}", path=":".join(directories))
    if found is None:
        raise StoreError(f"credential helper docker-credential-{name} is not in PATH")
    return found

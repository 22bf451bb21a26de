"""What was built on this host: signed by a key that never leaves it.

The key and one record for each endorsed digest are kept in the state directory, outside of
the store, so that a copied store, an archive or a registry cannot claim "built here".
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bpfpack.registry.owned import OwnedDir
from bpfpack.registry.trust.check import CryptographyCheck
from bpfpack.registry.trust.keyfiles import find_private
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError, StoreError, TrustError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.signature import Candidate, PlaceName, SignaturePlace, host_statement

if TYPE_CHECKING:
    from bpfpack.registry.trust.keys import PrivateKey

_KEY: Final = "host.key"
_PUBLIC: Final = "host.pub"
_BUILT: Final = "built"
# DER ECDSA P-256 signatures have at most 72 bytes.
_RECORD: Final = 256


class BuiltRecords(ABC):
    """What a host key, below some state directory, has signed as built by its owner."""

    place_name: PlaceName

    @abstractmethod
    def opened(self, *names: str) -> AbstractContextManager[OwnedDir | None]:
        """Open a directory of the state; None when missing; raises StoreError."""

    def public_pem(self) -> str | None:
        """Return the public half, or None when nothing was ever built here.

        Raises StoreError when others could have written it.
        """
        with self.opened() as directory:
            data = directory.read(_PUBLIC, LIMITS.key_file) if directory else None
        return None if data is None else data.decode("ascii", "replace")

    def place(self, digest: Digest) -> SignaturePlace:
        """Look for the record of ``digest``; never raises for what is on the disk."""
        try:
            with self.opened(_BUILT) as built:
                signature = built.read(_record(digest), _RECORD) if built else None
        except (StoreError, SpecError) as e:
            return SignaturePlace(name=self.place_name, state="failed", reason=str(e))
        if signature is None:
            return SignaturePlace(name=self.place_name, state="absent")
        candidate = Candidate(form="host", signed=host_statement(digest), signature=signature)
        return SignaturePlace(name=self.place_name, state="present", candidates=(candidate,))


class HostKey(BuiltRecords):
    """The host key below a state directory; nothing is made before the first `endorse`."""

    place_name = "host"

    def __init__(self, state: Path) -> None:
        self._state = state

    @contextmanager
    def opened(self, *names: str) -> Iterator[OwnedDir | None]:
        """See `BuiltRecords.opened`."""
        state = OwnedDir.find(self._state)
        if state is None:
            yield None
            return
        with state, state.below(*names) as directory:
            yield directory

    def endorse(self, digest: Digest) -> None:
        """Record that ``digest`` was built here; raises StoreError."""
        with OwnedDir.open(self._state, create=True) as directory:
            signature = self._key(directory).sign(host_statement(digest))
            with directory.child(_BUILT) as built:
                built.write(_record(digest), signature)

    def usable(self) -> bool:
        """Say whether there is a key; raises StoreError, SpecError for one that cannot be used."""
        from bpfpack.registry.trust import keys

        with self.opened() as directory:
            data = find_private(directory, _KEY) if directory else None
        if data is not None:
            keys.import_key(data)
        return data is not None or self.public_pem() is not None

    def built_here(self, digest: Digest) -> bool:
        """Say whether a genuine record of ``digest`` exists."""
        pem = self.public_pem()
        candidates = self.place(digest).candidates
        if pem is None or not candidates:
            return False
        try:
            CryptographyCheck().verify(pem, candidates[0].signed, candidates[0].signature)
        except (TrustError, SpecError):
            return False
        return True

    def _key(self, directory: OwnedDir) -> "PrivateKey":
        """Return the key, made on first use; two processes make one."""
        from bpfpack.registry.trust import keys  # `run` reads only the public half

        with directory.locked("host.lock", exclusive=True):
            data = find_private(directory, _KEY)
            key = keys.import_key(data) if data is not None else keys.generate()
            if data is None:
                directory.write(_KEY, keys.plain_pem(key))
            if directory.read(_PUBLIC, LIMITS.key_file) != key.public_pem.encode():
                directory.write(_PUBLIC, key.public_pem.encode())
        return key


def _record(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}"

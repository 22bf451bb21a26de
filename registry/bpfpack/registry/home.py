"""The files of the user for whom root runs, as sudo has it: content and statements, never rules.

Nothing of the environment says where they are: the account database does.  Below the home
directory every component must belong to that user alone, no link is followed, and everything
is reached from the descriptor of the one before.  What is read is only ever content that is
hashed again, and signatures that are checked by keys of root's own policy.
"""

import pwd
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from bpfpack.registry.owned import OwnedDir
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.trust.hostkey import BuiltRecords
from bpfpack.spec.errors import StoreError, UsageError
from bpfpack.spec.policy import Invoker
from bpfpack.spec.value import valuetype

_UID: Final = re.compile(r"[1-9][0-9]{0,9}")
#: Where a user's files are when no variable says otherwise; see `paths`.
_STORE: Final = (".local", "share", "bpfpack", "store")
_STATE: Final = (".local", "state", "bpfpack")


@valuetype
class Home:
    """A user's home directory."""

    user: Invoker
    path: Path

    @classmethod
    def of_caller(cls, environ: Mapping[str, str], euid: int) -> "Home | None":
        """The home of who called sudo; None where nobody did or the account is gone."""
        text = environ.get("SUDO_UID", "")
        if euid != 0 or not _UID.fullmatch(text):
            return None
        try:
            return cls._of(pwd.getpwuid(int(text)))
        except (KeyError, OverflowError):
            return None

    @classmethod
    def of_user(cls, name: str) -> "Home":
        """The home of a user by name or number; raises UsageError."""
        try:
            by_number = _UID.fullmatch(name)
            found = pwd.getpwuid(int(name)) if by_number else pwd.getpwnam(name)
        except (KeyError, OverflowError, ValueError) as e:
            raise UsageError(f"no user is called {name[:80]!r}") from e
        if found.pw_uid == 0:
            raise UsageError("what root built counts for root already")
        return cls._of(found)

    @classmethod
    def _of(cls, account: pwd.struct_passwd) -> "Home":
        user = Invoker(uid=account.pw_uid, name=account.pw_name)
        return cls(user=user, path=Path(account.pw_dir))

    @contextmanager
    def opened(self, *names: str) -> Iterator[OwnedDir | None]:
        """Open a directory below; None when missing; raises StoreError."""
        home = OwnedDir.find(self.path, owners=frozenset({0, self.user.uid}))
        if home is None:
            yield None
            return
        with home:
            theirs = OwnedDir(home.fd, home.path, frozenset({self.user.uid}))
            with theirs.below(*names) as directory:
                yield directory


class HomeStore(DiskStore):
    """That user's store, to be read."""

    def __init__(self, home: Home) -> None:
        super().__init__(home.path.joinpath(*_STORE))
        self._home = home

    @contextmanager
    def opened(self, *names: str) -> Iterator[OwnedDir | None]:
        """See `DiskStore.opened`."""
        with self._home.opened(*_STORE, *names) as directory:
            yield directory

    def writing(self) -> NoReturn:
        """Refuse: root writes nothing among the files of others."""
        raise StoreError(f"{self.root} is {self._home.user.name}'s, and only read here")


class HomeBuilds(BuiltRecords):
    """What that user's host key says of builds."""

    place_name = "user"

    def __init__(self, home: Home) -> None:
        self._home = home

    @contextmanager
    def opened(self, *names: str) -> Iterator[OwnedDir | None]:
        """See `BuiltRecords.opened`."""
        with self._home.opened(*_STATE, *names) as directory:
            yield directory

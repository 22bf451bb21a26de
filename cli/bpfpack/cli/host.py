"""This host and this user: the directories, the store and the printer of one command."""

import os
from dataclasses import dataclass, field
from functools import cached_property

from bpfpack.cli.printer import Printer
from bpfpack.registry.paths import Dirs
from bpfpack.registry.store.disk import DiskStore


@dataclass(frozen=True, kw_only=True)
class Host:
    """What every command is composed of; nothing is opened before it is used."""

    dirs: Dirs
    printer: Printer = field(default_factory=Printer.standard)

    @classmethod
    def here(cls, *, quiet: bool = False, verbose: bool = False) -> "Host":
        """The host as the environment of this process describes it."""
        host = cls(dirs=Dirs.of(os.environ, os.geteuid()))
        host.printer.quiet, host.printer.verbose = quiet, verbose
        return host

    @cached_property
    def store(self) -> DiskStore:
        """The local store."""
        return DiskStore(self.dirs.store)

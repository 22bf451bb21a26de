"""This host and this user: what every command is composed of, opened when first used."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bpfpack.cli.printer import Printer
from bpfpack.registry.paths import Dirs
from bpfpack.registry.store.disk import DiskStore
from bpfpack.spec.value import field, valuetype

if TYPE_CHECKING:
    from bpfpack.registry.client.remote import RegistryClient
    from bpfpack.registry.client.settings import Settings
    from bpfpack.registry.home import Home, HomeBuilds, HomeStore
    from bpfpack.registry.partial import Partials
    from bpfpack.registry.trust.hostkey import HostKey
    from bpfpack.registry.trust.marks import MarkFiles
    from bpfpack.spec.judgement import Judgement, SignatureCheck
    from bpfpack.spec.policy import Invoker, Policy


@valuetype
class Caller:
    """Who called sudo: where their packages are read from, and what they built."""

    home: "Home"
    store: "HomeStore"
    builds: "HomeBuilds"

    @property
    def user(self) -> "Invoker":
        """Their number and name."""
        return self.home.user


@valuetype(slots=False)
class Host:
    """Directories, store, trust and registries of one command."""

    dirs: Dirs
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    printer: Printer = field(default_factory=Printer.standard)
    plain_http: bool = False
    ca_file: Path | None = None

    @classmethod
    def here(
        cls,
        *,
        quiet: bool = False,
        verbose: bool = False,
        plain_http: bool = False,
        ca_file: Path | None = None,
    ) -> "Host":
        """The host as the environment of this process describes it."""
        dirs = Dirs.of(os.environ, os.geteuid())
        host = cls(dirs=dirs, plain_http=plain_http, ca_file=ca_file)
        host.printer.quiet, host.printer.verbose = quiet, verbose
        return host

    @property
    def now(self) -> datetime:
        """The time by which signatures are judged."""
        return datetime.now(UTC)

    @cached_property
    def store(self) -> DiskStore:
        """The local store."""
        return DiskStore(self.dirs.store)

    @cached_property
    def caller(self) -> Caller | None:
        """Who called sudo, whose store is a further source of content; None for all others."""
        if os.geteuid() != 0 or "SUDO_UID" not in self.environ:
            return None
        from bpfpack.registry.home import Home, HomeBuilds, HomeStore

        home = Home.of_caller(self.environ, 0)
        return Caller(home=home, store=HomeStore(home), builds=HomeBuilds(home)) if home else None

    @property
    def invoker(self) -> "Invoker | None":
        """For whom root runs, as a judgement asks it."""
        return self.caller.user if self.caller else None

    @cached_property
    def registries(self) -> "RegistryClient":
        """The client for registries; importing its transport is left to its first request."""
        from bpfpack.registry.client.remote import RegistryClient

        return RegistryClient(self.registry_settings(), partials=self.partials)

    def registry_settings(self) -> "Settings":
        """How registries are talked to."""
        from bpfpack.registry.client import realmfile
        from bpfpack.registry.client.settings import Settings

        return Settings(
            plain_http=self.plain_http,
            ca_file=self.ca_file,
            realms=realmfile.read(self.dirs.config),
            certificates=(self.dirs.config / "certs.d", Path("/etc/docker/certs.d")),
        )

    @property
    def partials(self) -> "Partials":
        """Beginnings of downloads that broke off."""
        from bpfpack.registry.partial import Partials

        return Partials(self.dirs.cache / "downloads")

    @cached_property
    def policy(self) -> "Policy":
        """The rules in force; what cannot be read denies everything."""
        from bpfpack.registry.trust.policyfile import SYSTEM, load

        # Root's directory is the system's, also where a test or a container moved it.
        system = self.dirs.config if os.geteuid() == 0 else SYSTEM
        return load(self.dirs.config, system)

    @cached_property
    def marks(self) -> "MarkFiles":
        """The newest signatures that this host accepted."""
        from bpfpack.registry.trust.marks import MarkFiles

        return MarkFiles(self.dirs.state)

    @cached_property
    def host_key(self) -> "HostKey":
        """The key that vouches for what was built here."""
        from bpfpack.registry.trust.hostkey import HostKey

        return HostKey(self.dirs.state)

    @cached_property
    def check(self) -> "SignatureCheck":
        """The cryptography behind `admit` and `judge`."""
        from bpfpack.registry.trust.check import CryptographyCheck

        return CryptographyCheck()

    def accepted(self, judgement: "Judgement") -> None:
        """Remember the newest signature of what was just accepted."""
        if judgement.mark is not None:
            self.marks.record(judgement.mark)

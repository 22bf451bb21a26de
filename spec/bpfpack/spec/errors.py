"""Everything bpfpack raises on purpose.

BpfpackError                  .hint
├─ UsageError                           the request itself makes no sense
├─ SpecError                  .path     malformed reference, manifest, ELF, BTF, config
│  ├─ LimitExceeded                     larger than the bound in `limits`
│  └─ ConfigMismatch                    the config contradicts the object
├─ ContentError                         bytes are not the ones promised
│  ├─ SizeMismatch
│  └─ DigestMismatch
├─ StoreError                           the local store failed or is not ours
├─ TransportError             .status   the registry failed
│  ├─ NotFound
│  └─ Denied
├─ TrustError                 .reasons  policy said no
├─ BuildError                 .log      the compiler said no
├─ EngineError                          the event engine cannot be had, or failed
└─ KernelError (OSError)      .errno
   ├─ Unsupported             .feature, .minimum
   ├─ MissingCapability       .capabilities
   └─ ProgramRejected         .program, .log

Every error is one line as text; ``hint`` says what to do next.
"""

import errno
from collections.abc import Mapping
from typing import Final, Self

#: What a host may run out of, and what to do about it, by errno.
SHORTAGES: Final[Mapping[int, str]] = {
    errno.EMFILE: "allow this process more open files: ulimit -n 1024",
    errno.ENFILE: "the whole system has too many open files: look at sysctl fs.file-max",
    errno.ENOMEM: "there is too little memory: free some, or look at the limits of its cgroup",
}


class BpfpackError(Exception):
    """Base of every error raised on purpose; ``hint`` is what to type or change next."""

    hint: str | None = None

    def with_hint(self, hint: str) -> Self:
        """Return the same error with the next step attached.

        >>> NotFound("no such tag").with_hint("see `bpfpack list`").hint
        'see `bpfpack list`'
        """
        self.hint = hint
        return self


class UsageError(BpfpackError):
    """The request itself makes no sense, whatever the world looks like."""


class SpecError(BpfpackError, ValueError):
    """Malformed input; ``path`` says where, from the outside in."""

    def __init__(self, reason: str, *, path: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, path

    def __str__(self) -> str:
        return f"{self.reason} in {'.'.join(self.path)!r}" if self.path else self.reason

    def inside(self, key: str) -> "SpecError":
        """Return the same fault seen from one level up.

        >>> str(SpecError("not a digest", path=("digest",)).inside("layers[0]"))
        "not a digest in 'layers[0].digest'"
        """
        seen = type(self)(self.reason, path=(key, *self.path))
        seen.hint = self.hint
        return seen


class LimitExceeded(SpecError):
    """Larger, deeper or longer than a bound of `bpfpack.spec.limits`."""


class ConfigMismatch(SpecError):
    """The config says something that the object contradicts."""


class ContentError(BpfpackError):
    """The bytes are not the ones that were promised."""


class SizeMismatch(ContentError):
    """A stream ended early or went on too long."""


class DigestMismatch(ContentError):
    """Other bytes than the digest names."""


class StoreError(BpfpackError):
    """The local store cannot be read or written, or does not belong to us."""


class TransportError(BpfpackError):
    """A registry, or the way to it, failed; ``status`` is the HTTP status, if there was one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotFound(TransportError):
    """Nothing there by that name, in a registry or in the local store."""


class Denied(TransportError):
    """The registry wants other credentials, or none would do."""


class TrustError(BpfpackError):
    """Policy said no; ``reasons`` keeps every one of them."""

    def __init__(self, message: str, *, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons


class BuildError(BpfpackError):
    """The tool chain, or what it was given, said no; ``log`` is its full text."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class EngineError(BpfpackError):
    """The event engine cannot be had on this host, or failed."""


class KernelError(BpfpackError, OSError):
    """The kernel, or libbpf in front of it, said no."""

    def __init__(self, errno: int, strerror: str, what: str = "") -> None:
        super().__init__(errno, strerror)
        self.what = what

    def __str__(self) -> str:
        """One line: what failed and why.

        >>> str(KernelError(2, "No such file or directory", "bpf_program__attach"))
        'bpf_program__attach: No such file or directory'
        """
        return f"{self.what}: {self.strerror}" if self.what else str(self.strerror)


class Unsupported(KernelError):
    """This kernel, or this bpfpack, cannot do it; ``feature`` names what is missing."""

    def __init__(
        self, feature: str, why: str, *, minimum: str | None = None, errno: int = 95
    ) -> None:
        super().__init__(errno, why, feature)
        self.feature, self.minimum = feature, minimum


class MissingCapability(KernelError):
    """The process lacks privileges; ``capabilities`` are the names that would do."""

    def __init__(self, capabilities: tuple[str, ...], what: str) -> None:
        super().__init__(1, f"needs {', '.join(capabilities)}", what)
        self.capabilities = capabilities


class ProgramRejected(KernelError):
    """The kernel refused a program: one line as text, all of it in ``log``.

    >>> log = "0: r0 = *(u64 *)(r1 +0)\\nR1 invalid mem access\\nprocessed 1 insns"
    >>> str(ProgramRejected(13, "xdp_drop", log))
    'xdp_drop: R1 invalid mem access (2 lines omitted)'
    """

    def __init__(self, errno: int, program: str, log: str) -> None:
        super().__init__(errno, "rejected by the verifier", program)
        self.program, self.log = program, log

    def __str__(self) -> str:
        lines = self.log.splitlines()
        told = [line for line in lines if line.strip() and not line.startswith("processed ")]
        summary = told[-1].strip() if told else self.strerror
        omitted = len(lines) - bool(told)
        if not omitted:
            return f"{self.program}: {summary}"
        return f"{self.program}: {summary} ({omitted} line{'s' * (omitted != 1)} omitted)"


def shortage_hint(error: BaseException) -> str | None:
    """Return what to do about the shortage that an error, or a cause of it, tells of.

    >>> shortage_hint(KernelError(24, "Too many open files"))
    'allow this process more open files: ulimit -n 1024'
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and (hint := SHORTAGES.get(seen.errno or 0)):
            return hint
        seen = seen.__cause__
    return None

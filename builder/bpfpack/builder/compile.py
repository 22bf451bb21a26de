"""C to a BPF object: compile each source, link several, strip DWARF."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bpfpack.builder import sandbox
from bpfpack.builder.project import Workspace
from bpfpack.builder.sandbox import Finished
from bpfpack.builder.toolchain import Architecture, find_tool, include_directories
from bpfpack.spec.errors import BuildError
from bpfpack.spec.value import field, valuetype

#: Before the project's own flags, so that those win.
_DEFAULTS: Final = ("-mcpu=v3", "-O2", "-Wall")
_UNCONFINED: Final = (
    "this kernel has no Landlock: the compiler could read every file that its user can"
)


@valuetype(frozen=False)
class Compiler:
    """One compiler for one target; ``flags`` have passed `check_flags`.

    What it warned of, in the user's paths, gathers in ``warnings``.
    """

    clang: str
    target: Architecture
    workspace: Workspace
    flags: tuple[str, ...] = ()
    epoch: int | None = None
    warnings: list[str] = field(default_factory=list)

    def build(self, sources: Sequence[Path]) -> bytes:
        """Return the object of all ``sources``, relative paths; raises BuildError."""
        objects = [self._compile(source) for source in sources]
        return self._strip(objects[0] if len(objects) == 1 else self._link(objects))

    def preprocess(self, source: Path) -> str:
        """Return a source after the preprocessor, with its line markers."""
        return self._clang(source, "-E", "-w").decode(errors="replace")

    def _compile(self, source: Path) -> bytes:
        return self._clang(source, "-g", "-c")

    def _clang(self, source: Path, *mode: str) -> bytes:
        workspace = self.workspace
        command = [
            *(str(find_tool(self.clang)), "--target=bpf", *_DEFAULTS, *self._flags(), *mode),
            f"-D__TARGET_ARCH_{self.target.define}",
            *(f"-I{workspace.source}", f"-I{workspace.include}"),
            *(f"-idirafter{place}" for place in include_directories(self.target)),
            # Nothing of this machine's paths may end in the object.
            *("-fdebug-compilation-dir=.", f"-ffile-prefix-map={workspace.source}/="),
            f"-ffile-prefix-map={workspace.include}/=",
            "-fno-color-diagnostics",
            *(str(workspace.source / source), "-o", "-"),
        ]
        epoch = {} if self.epoch is None else {"SOURCE_DATE_EPOCH": str(self.epoch)}
        finished = self._run(command, environment=epoch)
        messages = workspace.in_users_words(finished.messages)
        if finished.code:
            raise BuildError(f"{workspace.shown}{source} does not compile", log=messages)
        if messages:
            self.warnings.append(messages.rstrip("\n"))
        return finished.output

    def _flags(self) -> tuple[str, ...]:
        """The project's flags, its include directories in the copy; debug info stays on."""
        source = self.workspace.source
        return tuple(
            f"-I{source / flag.removeprefix('-I')}" if flag.startswith("-I") else flag
            for flag in self.flags
            if not flag.startswith("-g")
        )

    def _link(self, objects: Sequence[bytes]) -> bytes:
        """Link objects statically, maps and globals of one name becoming one."""
        names = [self._written(f"{i}.o", data) for i, data in enumerate(objects)]
        # bpftool writes to a path: that of a file in memory, so that nobody can change it.
        linked = os.memfd_create("linked")
        try:
            target = f"/proc/self/fd/{linked}"
            command = [str(find_tool("bpftool")), "gen", "object", target, *names]
            finished = self._run(command, files=(linked,))
            if finished.code:
                raise BuildError(
                    "the sources do not link", log=self.workspace.in_users_words(finished.messages)
                )
            return os.pread(linked, os.fstat(linked).st_size, 0)
        finally:
            os.close(linked)

    def _strip(self, data: bytes) -> bytes:
        """Drop DWARF, keep .BTF and .BTF.ext."""
        path = self._written("whole.o", data)
        finished = self._run([str(find_tool("llvm-strip")), "-g", path, "-o", "-"])
        if finished.code:
            raise BuildError("the object cannot be stripped", log=finished.messages)
        return finished.output

    def _written(self, name: str, data: bytes) -> str:
        path = self.workspace.root / name
        path.write_bytes(data)
        path.chmod(0o644)
        return str(path)

    def _run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
    ) -> Finished:
        workspace = self.workspace
        finished = sandbox.run(
            command,
            readable=[workspace.root],
            identity=workspace.identity,
            cwd=workspace.source,
            environment=environment,
            files=files,
        )
        if not finished.confined and _UNCONFINED not in self.warnings:
            self.warnings.append(_UNCONFINED)
        return finished

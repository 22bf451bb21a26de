"""C to a BPF object: compile each source, link several, strip DWARF."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bpfpack.builder import sandbox
from bpfpack.builder.project import Workspace
from bpfpack.builder.sandbox import Finished
from bpfpack.builder.toolchain import Architecture, find_tool, include_directories
from bpfpack.spec.elf import Elf
from bpfpack.spec.errors import BuildError, SpecError
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
        if len(objects) == 1:
            return self._strip(objects[0])
        return self._strip(self._link(dict(zip(sources, objects, strict=True))))

    def preprocess(self, source: Path) -> str:
        """Return a source after the preprocessor, with its line markers."""
        finished, messages = self._clang(source, "-E", "-w")
        if finished.code:
            raise BuildError(f"{self.workspace.shown}{source} does not compile", log=messages)
        return finished.output.decode(errors="replace")

    def _compile(self, source: Path) -> bytes:
        finished, messages = self._clang(source, "-g", "-c")
        if finished.code:
            error = BuildError(f"{self.workspace.shown}{source} does not compile", log=messages)
            error.hint = self._hint(source, messages)
            raise error
        return finished.output

    def _hint(self, source: Path, messages: str) -> str | None:
        from bpfpack.builder.mistakes import explain

        header = (self.workspace.include / "bpfpack.h").read_text()
        preprocessed, _ = self._clang(source, "-E", "-w")
        return explain(preprocessed.output.decode(errors="replace"), header, messages)

    def _clang(self, source: Path, *mode: str) -> tuple[Finished, str]:
        """Return how clang ended, and its messages in the user's paths."""
        workspace = self.workspace
        command = [
            *(str(find_tool(self.clang)), "--target=bpf", *_DEFAULTS, *self._flags(), *mode),
            f"-D__TARGET_ARCH_{self.target.define}",
            *(f"-I{workspace.source}", f"-I{workspace.include}"),
            *(f"-idirafter{place}" for place in include_directories(self.target)),
            # Nothing of this machine's paths may end in the object.
            *("-fdebug-compilation-dir=.", f"-ffile-prefix-map={workspace.source}/="),
            f"-ffile-prefix-map={workspace.include}/=",
            # How our macros come about explains nothing.
            *("-fno-color-diagnostics", "-fmacro-backtrace-limit=1"),
            *(str(workspace.source / source), "-o", "-"),
        ]
        epoch = {} if self.epoch is None else {"SOURCE_DATE_EPOCH": str(self.epoch)}
        finished = self._run(command, environment=epoch)
        messages = workspace.in_users_words(finished.messages)
        if messages and not finished.code:
            self.warnings.append(messages.rstrip("\n"))
        return finished, messages

    def _flags(self) -> tuple[str, ...]:
        """The project's flags, its include directories in the copy; debug info stays on."""
        source = self.workspace.source
        return tuple(
            f"-I{source / flag.removeprefix('-I')}" if flag.startswith("-I") else flag
            for flag in self.flags
            if not flag.startswith("-g")
        )

    def _link(self, objects: Mapping[Path, bytes]) -> bytes:
        """Link objects statically, maps and globals of one name becoming one."""
        self._check_licenses(objects)
        written = {self._written(f"{i}.o", data): s for i, (s, data) in enumerate(objects.items())}
        # bpftool writes to a path: that of a file in memory, so that nobody can change it.
        linked = os.memfd_create("linked")
        try:
            target = f"/proc/self/fd/{linked}"
            command = [str(find_tool("bpftool")), "gen", "object", target, *written]
            finished = self._run(command, files=(linked,))
            if finished.code:
                messages = finished.messages
                for path, source in written.items():
                    messages = messages.replace(path, f"{self.workspace.shown}{source}")
                raise BuildError("the sources do not link", log=messages)
            return os.pread(linked, os.fstat(linked).st_size, 0)
        finally:
            os.close(linked)

    def _check_licenses(self, objects: Mapping[Path, bytes]) -> None:
        """Refuse what no linker takes: it would not say which sources differ."""
        shown = self.workspace.shown
        said: dict[str, Path] = {}
        for source, data in objects.items():
            try:
                section = Elf.parse(data).section("license")
            except SpecError as e:
                raise BuildError(f"{shown}{source}: {e}") from e
            if section is not None:
                said[section.data.split(b"\0", 1)[0].decode(errors="replace")] = source
        if len(said) > 1:
            (one, first), (other, second), *_ = said.items()
            raise BuildError(
                f"{shown}{second}: licence {other!r}, but {one!r} in {shown}{first}"
            ).with_hint("an object has one licence: say the same in all sources")

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

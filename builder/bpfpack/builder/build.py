"""Source, or an object that exists already, to a package."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final

from bpfpack.builder import vmlinux
from bpfpack.builder.compile import Compiler
from bpfpack.builder.diagnosis import Diagnosis
from bpfpack.builder.draft import toml_draft
from bpfpack.builder.flags import check_flags
from bpfpack.builder.metadata import make_metadata
from bpfpack.builder.opened import ProjectFiles
from bpfpack.builder.places import Places
from bpfpack.builder.project import Workspace, package_name, source_files, workspace
from bpfpack.builder.release import FILE_NAME, Release
from bpfpack.builder.sourcetar import source_archive
from bpfpack.builder.tags import PREFIX
from bpfpack.builder.toolchain import architecture
from bpfpack.spec.btf import DeclTag
from bpfpack.spec.config import Config
from bpfpack.spec.errors import BuildError, SpecError, UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.package import Package, build_package
from bpfpack.spec.value import field, valuetype

SOURCE_SUFFIX: Final = ".bpf.c"
_HEADER: Final = "bpfpack.h"
_INCLUDES_VMLINUX: Final = re.compile(rb'^\s*#\s*include\s*[<"]vmlinux\.h[>"]', re.MULTILINE)


@valuetype
class BuildOptions:
    """How to build: ``vmlinux`` a header or BTF in place of the running kernel's, ``cache``
    where vmlinux.h is kept, ``arch`` the target, ``epoch`` SOURCE_DATE_EPOCH."""

    clang: str = "clang"
    arch: str | None = None
    vmlinux: bytes | None = field(default=None, repr=False)
    cache: Path | None = None
    with_source: bool = False
    epoch: int | None = None


@valuetype
class BuildResult:
    """A package; ``draft`` is a bpfpack.toml for an object that says nothing of itself."""

    package: Package
    config: Config
    from_source: bool
    warnings: tuple[str, ...] = ()
    draft: str | None = None


@valuetype
class Inputs:
    """All that a build reads: ``files`` of the project, ``argument`` the one to build.

    ``shown`` is what leads to a file as the user typed it; ``argument`` is "." for all of it.
    """

    name: str
    shown: str
    argument: Path
    files: Mapping[Path, bytes] = field(repr=False)
    from_source: bool


@valuetype
class _Project:
    """What to build: ``sources`` relative to ``directory``, or else ``object_``, which is too."""

    directory: Path
    name: str
    sources: tuple[Path, ...] = ()
    object_: Path | None = None
    whole: bool = False

    @property
    def shown(self) -> str:
        """What leads to a file of the project, as the user typed it."""
        text = str(self.directory)
        return "" if text == "." else f"{text.rstrip('/')}/"

    @property
    def subject(self) -> str:
        """What is built: the one file, or else the directory."""
        if self.object_ is not None:
            return f"{self.shown}{self.object_}"
        only = len(self.sources) == 1
        return f"{self.shown}{self.sources[0]}" if only else str(self.directory)

    def diagnosis(self, release: Release, places: Sequence[Places] = ()) -> Diagnosis:
        """Return what is known of where the project's words are said."""
        return Diagnosis(subject=self.subject, shown=self.shown, release=release, places=places)


def build(path: Path, options: BuildOptions | None = None) -> BuildResult:
    """Build a directory, one ``.bpf.c`` or one object that exists already.

    Raises BuildError, UsageError, and SpecError for an object that is malformed.
    """
    options = options or BuildOptions()
    try:
        project = _project(path)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    try:
        with ProjectFiles(project.directory) as files:
            release = _release(project, files)
            if project.object_ is not None:
                return _from_object(project, files, release, options)
            return _from_source(project, files, release, options)
    except OSError as e:
        raise BuildError(f"{e.filename or path}: {e.strerror}") from e


def inputs(path: Path) -> Inputs:
    """Return what building ``path`` would read, for a build that is done elsewhere.

    Raises BuildError, UsageError and SpecError, as `build` does.
    """
    try:
        project = _project(path)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    try:
        with ProjectFiles(project.directory) as files:
            return Inputs(
                name=path.resolve().name if project.whole else project.directory.resolve().name,
                shown=project.shown,
                argument=Path() if project.whole else Path(path.name),
                files=_contents(project, files, _release(project, files)),
                from_source=project.object_ is None,
            )
    except OSError as e:
        raise BuildError(f"{e.filename or path}: {e.strerror}") from e


def _contents(project: _Project, files: ProjectFiles, release: Release) -> dict[Path, bytes]:
    """Return the files of a project that a build reads, by relative path."""
    found: dict[Path, bytes] = {}
    if project.object_ is not None:
        found[project.object_] = files.read(project.object_, LIMITS.object)
    else:
        found |= _sources(project, files, _checked_flags(project, release))
    if release.text:
        found[Path(FILE_NAME)] = release.text.encode()
    if (readme := _readme(project, files, release)) is not None:
        found[Path(release.readme or "README.md")] = readme
    return found


def _project(path: Path) -> _Project:
    if path.is_dir():
        sources = tuple(sorted(p.relative_to(path) for p in path.glob(f"*{SOURCE_SUFFIX}")))
        name = package_name(path.resolve().name)
        if sources:
            return _Project(directory=path, name=name, sources=sources, whole=True)
        objects = sorted(p.relative_to(path) for p in path.glob("*.o"))
        if len(objects) == 1:
            return _Project(directory=path, name=name, object_=objects[0], whole=True)
        raise UsageError(f"{path}: no *{SOURCE_SUFFIX} in it, nor one *.o")
    if not path.is_file():
        raise UsageError(f"{path}: no such file or directory")
    name = package_name(path.name.removesuffix(".c").removesuffix(".o").removesuffix(".bpf"))
    if path.name.endswith(".c"):
        return _Project(directory=path.parent, name=name, sources=(Path(path.name),))
    return _Project(directory=path.parent, name=name, object_=Path(path.name))


def _release(project: _Project, files: ProjectFiles) -> Release:
    data = files.find(Path(FILE_NAME), LIMITS.config)
    if data is None:
        return Release()
    try:
        return Release.parse(data)
    except SpecError as e:
        told = Release(text=data.decode(errors="replace"))
        raise project.diagnosis(told).toml_error(e) from e


def _from_object(
    project: _Project, files: ProjectFiles, release: Release, options: BuildOptions
) -> BuildResult:
    data = files.read(project.object_ or Path(), LIMITS.object)
    try:
        spec = ObjectSpec.from_bytes(data)
    except SpecError as e:
        raise _in_file(project.subject, e) from e
    diagnosis = project.diagnosis(release)
    metadata = make_metadata(spec, diagnosis, name=project.name)
    return BuildResult(
        package=_package(metadata.config, data, _readme(project, files, release), options),
        config=metadata.config,
        from_source=False,
        warnings=metadata.warnings,
        draft=None if metadata.config.outputs else toml_draft(spec, metadata.config),
    )


def _in_file(path: str, error: SpecError) -> SpecError:
    """Return the same error, the file's name first."""
    seen = type(error)(f"{path}: {error.reason}", path=error.path)
    seen.hint = error.hint
    return seen


def _from_source(
    project: _Project, files: ProjectFiles, release: Release, options: BuildOptions
) -> BuildResult:
    flags = _checked_flags(project, release)
    target = architecture(options.arch)
    sources, readme = _sources(project, files, flags), _readme(project, files, release)
    with workspace(project.directory, sources) as place:
        _provide_headers(place, sources, options)
        compiler = Compiler(
            clang=options.clang,
            target=target,
            workspace=place,
            flags=flags,
            epoch=source_epoch(options),
        )
        data = compiler.build(project.sources)
        places = _places(compiler, project, place)
        diagnosis = project.diagnosis(release, places)
        spec = _compiled(data, diagnosis)
        metadata = make_metadata(spec, diagnosis, name=project.name, architecture_=target.name)
        lost = _lost_tags(spec, places, project.shown)
    if release.text:
        sources[Path(FILE_NAME)] = release.text.encode()
    return BuildResult(
        package=_package(metadata.config, data, readme, options, sources),
        config=metadata.config,
        from_source=True,
        warnings=(*compiler.warnings, *lost, *metadata.warnings),
    )


def _checked_flags(project: _Project, release: Release) -> tuple[str, ...]:
    try:
        return check_flags(release.flags)
    except UsageError as e:
        cause = SpecError(str(e)).with_hint(e.hint or "")
        raise project.diagnosis(release).error(cause, told=("build", "flags")) from e


def _compiled(data: bytes, diagnosis: Diagnosis) -> ObjectSpec:
    """Return what an object is that was made here: what is wrong with it is so in the source."""
    try:
        return ObjectSpec.from_bytes(data)
    except SpecError as e:
        # Mostly a section or a function, by the name that the source gives it.
        raise diagnosis.error(e, name=e.path[-1] if e.path else "") from e


def _sources(project: _Project, files: ProjectFiles, flags: Sequence[str]) -> dict[Path, bytes]:
    names = source_files(project.directory, deep=project.whole, also=_include_paths(flags))
    return files.read_sources(names)


def _include_paths(flags: Sequence[str]) -> tuple[Path, ...]:
    return tuple(Path(f.removeprefix("-I")) for f in flags if f.startswith("-I"))


def _provide_headers(
    place: Workspace, sources: Mapping[Path, bytes], options: BuildOptions
) -> None:
    """Put bpfpack.h, and vmlinux.h where it is wanted and not the project's own, in place."""
    header = resources.files("bpfpack.builder").joinpath("include", _HEADER).read_bytes()
    place.add_header(_HEADER, header)
    if any(name.name == "vmlinux.h" for name in sources) and options.vmlinux is None:
        return
    if not any(_INCLUDES_VMLINUX.search(text) for text in sources.values()):
        return
    if options.vmlinux is not None:
        place.add_header("vmlinux.h", vmlinux.from_bytes(options.vmlinux))
        return
    target, host = architecture(options.arch).name, architecture().name
    if target != host:
        raise BuildError(f"the running kernel's types are {host}'s, not {target}'s").with_hint(
            "give the target's with --vmlinux FILE: a vmlinux.h, or BTF"
        )
    place.add_header("vmlinux.h", vmlinux.running_kernel(options.cache))


def _places(compiler: Compiler, project: _Project, place: Workspace) -> list[Places]:
    return [Places(compiler.preprocess(source), place.source) for source in project.sources]


def _lost_tags(spec: ObjectSpec, places: Sequence[Places], shown: str) -> list[str]:
    """Say which words of the source did not reach the object.

    They are counted in each source against the whole object, so that a header which several
    sources include is no reason to warn.
    """
    if spec.btf is None:
        return []
    btf = spec.btf
    tags = [found.name for i in btf.ids(DeclTag) if isinstance(found := btf[i], DeclTag)]
    present = Counter(tag for tag in tags if tag.startswith(PREFIX))
    missing = [p.missing(present) for p in places]
    lost = {place: tag for found in missing for place, tag in found.items()}
    return [
        f"{shown}{place}: {tag.removeprefix(PREFIX)!r} is not in the object: the compiler drops "
        "what is said of things that nothing refers to"
        for place, tag in lost.items()
    ]


def _package(
    config: Config,
    data: bytes,
    readme: bytes | None,
    options: BuildOptions,
    sources: Mapping[Path, bytes] | None = None,
) -> Package:
    epoch = source_epoch(options)
    source = None
    if options.with_source and sources:
        source = source_archive(sources, epoch or 0)
    return build_package(
        config,
        data,
        file_name=f"{config.name}.bpf.o",
        readme=readme,
        source=source,
        created=None if epoch is None else _rfc3339(epoch),
    )


def _readme(project: _Project, files: ProjectFiles, release: Release) -> bytes | None:
    """Return the file that the TOML names, else a whole project's README.md."""
    if release.readme is not None:
        return files.read(Path(release.readme), LIMITS.readme)
    return files.find(Path("README.md"), LIMITS.readme) if project.whole else None


def source_epoch(options: BuildOptions) -> int | None:
    """Return the time that stands for now (reproducible-builds.org), None when none is set.

    Raises UsageError when SOURCE_DATE_EPOCH is no number.
    """
    if options.epoch is not None:
        return options.epoch
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,11}", text):
        raise UsageError(f"SOURCE_DATE_EPOCH={text[:80]!r} is not a number of seconds")
    return int(text)


def _rfc3339(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

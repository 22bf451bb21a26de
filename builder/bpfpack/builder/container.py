"""Build inside a container: a pinned tool chain, on hosts that have none.

The container sees the project's own files, read-only, and its standard output takes the
archive back.  It has no network, no privileges, no file system to write to but a /tmp in
memory, and bounds on memory, processes, time and output.  It goes with the build, however
that ends: what a killed process leaves behind, the next build removes.
"""

import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import LogConfig, Mount

from bpfpack.builder.build import BuildOptions, Inputs, inputs, source_epoch
from bpfpack.builder.ending import Ending
from bpfpack.builder.sandbox import Identity
from bpfpack.builder.temporary import private_directory
from bpfpack.spec.errors import BpfpackError, BuildError, SpecError, UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import valuetype

#: Where the project lies inside; no file of the user's own has a name that begins so.
_PROJECT: Final = "/.bpfpack/project"
_VMLINUX: Final = "/.bpfpack/vmlinux"
_LABEL: Final = "io.bpfpack.build"
#: How long the daemon may take for one answer.
_SECONDS: Final = 60
_USAGE, _BAD_INPUT = 2, 3  # see `bpfpack.cli._exit`
_HINT: Final = (
    "build one of bpfpack's sources: docker build --target build -t bpfpack-build .\n"
    "or fetch it first: docker pull IMAGE"
)


@valuetype
class ContainerResult:
    """What came out: an OCI archive, which is nobody's word for anything yet.

    ``image`` is the id of the image that was used, ``notes`` what the build said besides its
    ``warnings``.
    """

    archive: IO[bytes]
    image: str
    from_source: bool
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def build_in_container(image: str, path: Path, options: BuildOptions) -> ContainerResult:
    """Build ``path`` with the tools and the bpfpack of ``image``, which must be there.

    The kernel's types are those of the daemon's machine unless ``options`` give others.
    Raises BuildError, UsageError and SpecError, with the user's paths.
    """
    given = inputs(path)
    with ExitStack() as stack:
        archive = stack.enter_context(tempfile.TemporaryFile())
        used, code, said = _build(image, given, options, archive)
        told = _in_users_words(said, given, path)
        if code:
            raise _failure(image, code, told)
        stack.pop_all()
    archive.seek(0)
    warnings, notes = _split(told)
    return ContainerResult(
        archive=archive,
        image=used,
        from_source=given.from_source,
        warnings=warnings,
        notes=notes,
    )


def _build(
    image: str, given: Inputs, options: BuildOptions, archive: IO[bytes]
) -> tuple[str, int, str]:
    """Run one build; returns the image's id, the exit code and what it said."""
    with Ending() as ending, private_directory() as place, _daemon(image) as client:
        _sweep(client)
        used = str(client.images.get(image).id)
        container: Container | None = None
        try:
            with ending.held():
                container = _create(client, used, place, given, options)
            return used, *_run(container, archive)
        finally:
            with ending.held(), suppress(NotFound):
                if container is not None:
                    container.remove(force=True)


@contextmanager
def _daemon(image: str) -> Iterator[docker.DockerClient]:
    """Talk to the daemon that DOCKER_HOST names; what fails there is a BuildError."""
    try:
        client = docker.from_env(timeout=_SECONDS)
    except (DockerException, OSError) as e:
        raise BuildError(f"no docker daemon answers: {_one_line(e)}").with_hint(
            "start it, or set DOCKER_HOST; your user may need to be in the group docker"
        ) from e
    try:
        yield client
    except ImageNotFound as e:
        raise BuildError(f"docker has no image {image}").with_hint(_HINT) from e
    except APIError as e:
        raise _refused(image, e) from e
    except (DockerException, OSError) as e:
        if isinstance(e, BpfpackError):
            raise
        raise BuildError(f"docker: {_one_line(e)}") from e
    finally:
        client.close()


def _refused(image: str, error: APIError) -> BuildError:
    said = _one_line(error.explanation or error)
    if "executable file not found" in said or "no such file or directory" in said:
        return BuildError(f"{image} has no bpfpack in it").with_hint(_HINT)
    if "bind source path does not exist" in said:
        return BuildError("the docker daemon does not see this machine's files").with_hint(
            "build where the daemon runs: the project is given to it as a directory"
        )
    return BuildError(f"docker: {said}")


def _create(
    client: docker.DockerClient, image: str, place: Path, given: Inputs, options: BuildOptions
) -> Container:
    """Create the container of one build, named after its directory."""
    identity = Identity.current()
    name = given.name or "project"
    mounts = [_mount(f"{_PROJECT}/{name}", _written(place / "project", given))]
    arguments = ["--clang", options.clang]
    if options.arch is not None:
        arguments += ["--arch", options.arch]
    if options.with_source:
        arguments.append("--with-source")
    if options.vmlinux is not None:
        mounts.append(_mount(_VMLINUX, _file(place / "vmlinux", options.vmlinux)))
        arguments += ["--vmlinux", _VMLINUX]
    epoch = source_epoch(options)
    return client.containers.create(
        image,
        ["build", "-v", "-f", "-", *arguments, f"{_PROJECT}/{name}/{given.argument}"],
        entrypoint=["bpfpack"],
        name=place.name,
        labels={_LABEL: f"{socket.gethostname()}:{place}"},
        mounts=mounts,
        environment={
            "HOME": "/tmp",  # noqa: S108  # the container's own
            "LC_ALL": "C.UTF-8",
            **({} if epoch is None else {"SOURCE_DATE_EPOCH": str(epoch)}),
        },
        use_config_proxy=False,
        network_mode="none",
        user=f"{identity.uid}:{identity.gid}",
        read_only=True,
        tmpfs={"/tmp": f"rw,nosuid,nodev,noexec,size={LIMITS.container_scratch}"},  # noqa: S108
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        pids_limit=LIMITS.container_processes,
        mem_limit=LIMITS.container_memory,
        memswap_limit=LIMITS.container_memory,
        log_config=LogConfig(type=LogConfig.types.NONE),
        stdin_open=False,
        detach=True,
    )


def _mount(target: str, source: Path) -> Mount:
    return Mount(target=target, source=str(source), type="bind", read_only=True)


def _written(place: Path, given: Inputs) -> Path:
    """Write the project's files for any user who comes in by the mount; none else can."""
    place.mkdir()
    for relative, data in given.files.items():
        target = place / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        _file(target, data)
    for directory in (place, *(p for p in place.rglob("*") if p.is_dir())):
        directory.chmod(0o755)
    return place


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o644)
    return path


def _sweep(client: docker.DockerClient) -> None:
    """Remove containers of builds on this machine whose directories are gone with them."""
    here = f"{socket.gethostname()}:"
    for container in client.containers.list(all=True, filters={"label": _LABEL}):
        owner = str(container.labels.get(_LABEL, ""))
        if owner.startswith(here) and not Path(owner.removeprefix(here)).exists():
            with suppress(NotFound):
                container.remove(force=True)


def _run(container: Container, archive: IO[bytes]) -> tuple[int, str]:
    """Run it to its end: the exit code, and the first of its messages."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        with suppress(DockerException, OSError):  # it has ended, or is removed in a moment
            container.kill()

    timer = threading.Timer(LIMITS.container_seconds, stop)
    timer.daemon = True  # a signal may come while it starts
    # Closed before the container is removed: the daemon waits for who reads from it.
    streams: Any = container.attach(stdout=True, stderr=True, stream=True, demux=True)
    with _closed(streams):
        container.start()
        try:
            timer.start()
            said = _received(streams, archive)
        finally:
            timer.cancel()
    code = int(container.wait(timeout=_SECONDS)["StatusCode"])
    if late.is_set():
        raise BuildError(f"the build took more than {LIMITS.container_seconds} s")
    container.reload()
    if container.attrs["State"].get("OOMKilled"):
        raise BuildError(f"the build needs more than {LIMITS.container_memory} bytes of memory")
    return code, said


@contextmanager
def _closed(streams: Any) -> Iterator[None]:
    """Close what was attached to, whether or not its other end is there."""
    try:
        yield
    finally:
        with suppress(OSError):
            streams.close()
        # That was a shutdown; only the response knows what else is open.
        streams._response.close()


def _received(streams: Iterable[tuple[bytes | None, bytes | None]], archive: IO[bytes]) -> str:
    """Read both streams to their ends: one into ``archive``, the other's beginning is returned."""
    size, messages = 0, bytearray()
    for output, message in streams:
        size += archive.write(output or b"")
        messages += (message or b"")[: LIMITS.tool_messages - len(messages)]
        if size > LIMITS.archive:
            raise BuildError(f"the build wrote more than {LIMITS.archive} bytes")
    return messages.decode(errors="replace")


def _in_users_words(said: str, given: Inputs, path: Path) -> str:
    inside = f"{_PROJECT}/{given.name or 'project'}"
    for argument in (f"{inside}/.", inside):
        said = said.replace(f"{argument}: ", f"{path}: ")
    return said.replace(f"{inside}/./", given.shown).replace(f"{inside}/", given.shown)


def _failure(image: str, code: int, said: str) -> BpfpackError:
    """Return the error that ended the build inside, in its own words."""
    _, found, rest = f"\n{said}".partition("\nerror: ")
    if not found:
        return BuildError(f"{image} ended the build with code {code}", log=said)
    message, _, more = rest.partition("\n")
    more = "\n".join(line.removeprefix("  ") for line in more.splitlines())
    if code in (_USAGE, _BAD_INPUT):
        kind = UsageError if code == _USAGE else SpecError
        return kind(message).with_hint(more) if more else kind(message)
    return BuildError(message, log=more)


def _split(said: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell warnings, each with the lines that belong to it, from all else."""
    warnings: list[str] = []
    notes: list[str] = []
    for line in said.splitlines():
        if line.startswith("warning: "):
            warnings.append(line.removeprefix("warning: "))
        elif line.startswith("  ") and warnings and not notes:
            warnings[-1] += f"\n{line.removeprefix('  ')}"
        else:
            notes.append(line)
    return tuple(warnings), tuple(notes)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:500]

"""Copies whole packages from any source to any sink: push, pull, copy, save and load are this.

What belongs to it travels along: the children of an index, and whatever signs or describes
each of them.  Content goes before the name for it, so that whoever sees a
tag finds all of it.  All bytes pass `bounded` in the sink.
"""

import io
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Final, Protocol, runtime_checkable

from bpfpack.registry.fetch_package import resolve_child
from bpfpack.registry.moving import Moving
from bpfpack.registry.store import attached
from bpfpack.registry.tagging import Conditional, change
from bpfpack.spec import mediatypes
from bpfpack.spec.content import Progress, ReferrersUnsupported, Sink, Source
from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    BpfpackError,
    ContentError,
    LimitExceeded,
    NotFound,
    SpecError,
    TransportError,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.package import children
from bpfpack.spec.signature import fallback_tag
from bpfpack.spec.value import field, valuetype

# What a repository that others write may do to us, and does not end the copy.
_THEIRS: Final = (TransportError, ContentError, SpecError)
# Of a blob from a source that cannot be rewound.
_TRIES: Final = 3
_SIGNATURES: Final = frozenset({mediatypes.SIGSTORE_BUNDLE, mediatypes.COSIGN_SIGNATURE})


@runtime_checkable
class Shared(Conditional, Sink, Protocol):
    """A sink that others write too, and whose tags name what was put last."""

    def resolve(self, name: str | Digest) -> Manifest | Index: ...


@runtime_checkable
class NamesByDigest(Protocol):
    """A sink that finds a manifest by the digest that it was stored under alone."""

    def put_as(self, manifest: Manifest | Index, digest: Digest) -> None:
        """Store a manifest under a digest of its own algorithm."""
        ...


@valuetype
class Copied:
    """What was copied; ``problems`` say, a line each, what of the signatures was not.

    ``lost`` are those of them that are not the content's own fault: something was listed, or
    may be there, that could not be read or written, or was too much.
    """

    content: Manifest | Index
    blobs: int
    signatures: int
    problems: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@valuetype
class _Extra:
    """Something about a manifest: a referrer, or what an attached ``tag`` names."""

    content: Manifest | Index
    tag: str | None = None

    @property
    def name(self) -> str:
        return self.tag or f"referrer {self.content.descriptor.digest}"

    @property
    def is_signature(self) -> bool:
        """Whether it signs, so that nothing signs it in turn."""
        if self.tag is not None:
            return self.tag.endswith(".sig")
        return isinstance(self.content, Manifest) and self.content.kind in _SIGNATURES


@valuetype
class _Problems:
    """What went wrong with what is about the content, and does not end the copy."""

    all: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def note(self, what: str, why: BpfpackError) -> None:
        line = f"{what}: {why}"
        self.all.append(line)
        if isinstance(why, TransportError | ContentError | LimitExceeded):
            self.lost.append(line)


def copy(
    source: Source,
    sink: Sink,
    name: str | Digest,
    tag: str | None,
    *,
    progress: Progress | None = None,
    verb: str = "pull",
    concurrency: int = 3,
    signatures: bool = True,
    platform: Platform | None = None,
    whole: bool = False,
) -> Copied:
    """Copy what ``name`` stands for, and name it ``tag``; the name is resolved once.

    With ``platform`` an index brings that child alone.  Raises NotFound, TransportError,
    StoreError, ContentError, SpecError, LimitExceeded; a signature that cannot be had is
    among ``problems`` instead.  ``whole`` also brings what is about the signatures and
    descriptions, names nothing that has lost one, and raises TransportError then.
    """
    root = source.resolve(name)
    graph = _graph(source, root, platform, name)
    contents = tuple(graph.values())
    mover = _Mover(source, sink, progress, verb, concurrency)
    mover.blobs(contents)
    if not signatures:
        _put_all(sink, graph, tag)
        return Copied(content=root, blobs=mover.moved, signatures=0)
    _put_all(sink, graph, None)
    problems = _Problems()
    extras = _extras(source, contents, problems, LIMITS.index_depth if whole else 1)
    count = sum(mover.carry(e, problems) for e in extras)
    if whole and problems.lost:
        raise TransportError(
            f"copied, but neither all that signs it nor its name: {problems.lost[0]}"
        )
    if tag is not None:
        sink.put(root, tag)
    return Copied(
        content=root,
        blobs=mover.moved,
        signatures=count,
        problems=tuple(problems.all),
        lost=tuple(problems.lost),
    )


def _put_all(sink: Sink, contents: Mapping[Digest, Manifest | Index], tag: str | None) -> None:
    *below, (name, root) = contents.items()
    for digest, content in below:
        _put(sink, content, digest)
    if tag is None:
        _put(sink, root, name)
    else:
        sink.put(root, tag)


def _put(sink: Sink, content: Manifest | Index, name: Digest) -> None:
    """Store a manifest under the digest that it is asked for by."""
    if name != content.descriptor.digest and isinstance(sink, NamesByDigest):
        sink.put_as(content, name)
    else:
        sink.put(content)


def _graph(
    source: Source,
    root: Manifest | Index,
    platform: Platform | None,
    name: str | Digest | None = None,
) -> Mapping[Digest, Manifest | Index]:
    """Return every manifest to copy by the digest that names it, children before parents.

    Raises LimitExceeded for depth and number.  No index holds itself, since each child has
    the digest that its parent names.
    """
    found: dict[Digest, Manifest | Index] = {}

    def visit(digest: Digest, content: Manifest | Index, depth: int) -> None:
        if depth > LIMITS.index_depth:
            raise LimitExceeded(f"indexes nested deeper than {LIMITS.index_depth}")
        if len(found) > LIMITS.index_children:
            raise LimitExceeded(f"more than {LIMITS.index_children} manifests")
        if isinstance(content, Index):
            for child in _wanted(content, platform):
                if child.digest not in found:
                    visit(child.digest, resolve_child(source, child), depth + 1)
        found[digest] = content

    visit(name if isinstance(name, Digest) else root.descriptor.digest, root, 0)
    return found


def _wanted(index: Index, platform: Platform | None) -> tuple[Descriptor, ...]:
    return index.manifests if platform is None else (index.select(platform),)


def _extras(
    source: Source, contents: tuple[Manifest | Index, ...], problems: _Problems, levels: int
) -> Iterator[_Extra]:
    """Find what is about each manifest, and about that for so many ``levels``, within a number."""
    left = [(content, 1) for content in contents]
    seen = {content.descriptor.digest for content in contents}
    found = 0
    while left:
        content, depth = left.pop(0)
        for extra in _about(source, content.descriptor.digest, problems):
            if extra.tag is None and extra.content.descriptor.digest in seen:
                continue
            seen.add(extra.content.descriptor.digest)
            found += 1
            if found > LIMITS.index_children:
                most = LIMITS.index_children
                problems.note(str(source), LimitExceeded(f"more than {most} referrers"))
                return
            yield extra
            if depth < levels and not extra.is_signature:
                left.append((extra.content, depth + 1))


def _about(source: Source, subject: Digest, problems: _Problems) -> Iterator[_Extra]:
    """Find what is about one manifest, signatures first."""
    for tag in attached.tags_for(subject):
        try:
            yield _Extra(content=source.resolve(tag), tag=tag)
        except NotFound:
            continue
        except _THEIRS as e:
            problems.note(tag, e)
    listed = sorted(_referrers(source, subject, problems), key=_rank)
    if len(listed) > LIMITS.signature_candidates:
        left = len(listed) - LIMITS.signature_candidates
        problems.note(f"referrers of {subject}", LimitExceeded(f"{left} left behind"))
    for descriptor in listed[: LIMITS.signature_candidates]:
        try:
            extra = _Extra(content=resolve_child(source, descriptor))
            if not extra.content.subject or extra.content.subject.digest != subject:
                raise SpecError("it refers to something else")
            yield extra
        except _THEIRS as e:
            problems.note(f"referrer {descriptor.digest}", e)


def _rank(listed: Descriptor) -> int:
    """Signatures first, and among them those that verification would look at."""
    if listed.artifact_type not in _SIGNATURES:
        return 2
    return int(listed.size > LIMITS.signature_referrer)


def _referrers(source: Source, subject: Digest, problems: _Problems) -> Iterable[Descriptor]:
    """Return what the referrers API and the referrers tag list, each once."""
    found: dict[Digest, Descriptor] = {}
    try:
        found |= {d.digest: d for d in source.referrers(subject)}
    except ReferrersUnsupported:
        pass
    except _THEIRS as e:
        problems.note(f"referrers of {subject}", e)
    try:
        tagged = source.resolve(fallback_tag(subject))
        if isinstance(tagged, Index):
            found = {d.digest: d for d in tagged.manifests} | found
    except NotFound:
        pass
    except _THEIRS as e:
        problems.note(fallback_tag(subject), e)
    return found.values()


class _Mover:
    """Moves blobs, several at once, and what refers to manifests, one after the other."""

    def __init__(
        self, source: Source, sink: Sink, progress: Progress | None, verb: str, concurrency: int
    ) -> None:
        self._source, self._sink = source, sink
        self._progress, self._verb, self._concurrency = progress, verb, concurrency
        self.moved = 0
        self._lock = threading.Lock()
        self._extra_bytes = 0

    def blobs(self, contents: Iterable[Manifest | Index]) -> None:
        """Have every blob of every manifest in the sink; the first error ends it all."""
        manifests = [content for content in contents if isinstance(content, Manifest)]
        wanted = {want.digest: want for m in manifests for want in children(m)}
        with ThreadPoolExecutor(self._concurrency) as pool:
            running = [pool.submit(self._blob, want) for want in wanted.values()]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def carry(self, extra: _Extra, problems: _Problems) -> bool:
        """Copy one referrer or attachment; say whether it went."""
        try:
            if extra.tag is not None and isinstance(extra.content, Index):
                raise SpecError("an index, which is not copied")
            graph = _graph(self._source, extra.content, None)
            manifests = [content for content in graph.values() if isinstance(content, Manifest)]
            size = sum(want.size for m in manifests for want in children(m))
            if self._extra_bytes + size > LIMITS.layer:  # and what is smaller may still go
                raise LimitExceeded(f"more than {LIMITS.layer} bytes of them, left behind")
            self._extra_bytes += size
            self.blobs(manifests)
            if extra.tag is not None and isinstance(extra.content, Manifest):
                self._attach(extra.tag, extra.content)
            else:
                _put_all(self._sink, graph, extra.tag)
        except _THEIRS as e:  # not StoreError: nothing else would be kept either
            problems.note(extra.name, e)
            return False
        return True

    def _attach(self, tag: str, content: Manifest) -> None:
        """Add to what the tag names already: nobody's signature is taken away."""
        if not isinstance(self._sink, Shared):  # it joins them itself
            self._sink.put(content, tag)
            return
        sink = self._sink

        def wanted(held: Manifest | Index | None) -> Manifest | Index | None:
            whole = attached.extended(held, content)
            if whole.content == held:
                return None
            if whole.config is not None and isinstance(whole.content, Manifest):
                sink.push(whole.content.config, io.BytesIO(whole.config))
            return whole.content

        change(sink, tag, wanted)

    def _blob(self, want: Descriptor) -> None:
        if self._sink.has(want):
            self._told(want, "exists")
            return
        self._told(want, self._verb, finished=False)
        for attempt in itertools.count(1):
            moving = Moving(want, self._progress)
            try:
                with self._source.fetch(want) as stream:
                    self._sink.push(want, moving.counted(stream))
                break
            except (TransportError, ContentError) as e:
                if attempt == _TRIES or not moving.may_succeed(e):
                    raise
            moving.rewind()
            if isinstance(self._sink, Conditional):
                self._sink.wait(float(attempt))
        if self._progress:
            self._progress.finish(want)
        with self._lock:
            self.moved += 1

    def _told(self, want: Descriptor, verb: str, *, finished: bool = True) -> None:
        if self._progress:
            self._progress.start(want, verb)
            if finished:
                self._progress.finish(want)

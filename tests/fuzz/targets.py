"""What is fuzzed: each parser, good inputs to begin with, and the damage that suits them."""

import contextlib
import functools
import io
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bpfpack.cli import units
from bpfpack.registry.store.files import tar_from_stream
from bpfpack.registry.store.layout import Layout
from bpfpack.registry.trust import keys, podman, policyfile
from bpfpack.registry.trust.check import CryptographyCheck
from bpfpack.runner import journal
from bpfpack.runner.attach.clsact import ClsactEntry
from bpfpack.runner.events.formatter import make_formatter
from bpfpack.runner.filters.filter import make_filters
from bpfpack.runner.filters.selection import select_fields
from bpfpack.runner.netns import Namespace
from bpfpack.runner.symbols.debugfiles import in_memory
from bpfpack.runner.symbols.feed import TaskFeed
from bpfpack.runner.symbols.jit import JitMap
from bpfpack.runner.symbols.mappings import Mappings
from bpfpack.runner.symbols.tables import read_functions
from bpfpack.spec import safetext, signature, strictjson
from bpfpack.spec.agreement import check_config, event_layout
from bpfpack.spec.btf import Btf, Struct
from bpfpack.spec.btfext import LineInfo
from bpfpack.spec.config import Config
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.displays import FORMATS, FieldDisplay
from bpfpack.spec.errors import BpfpackError, NotFound, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest, parse
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.package import PackageLayout
from bpfpack.spec.policy import Policy, canonical_scope
from bpfpack.spec.record import RecordLayout
from bpfpack.spec.reference import Reference
from bpfpack.spec.sections import parse_section
from bpfpack.spec.signature import Candidate
from bpfpack.spec.targets import parse_target
from tests.fuzz.mutation import Mutator
from tests.kit import filtering, records
from tests.kit.packages import index_of, package
from tests.kit.signing import key_of
from tests.kit.stripped import linked_program
from tests.kit.taskrecords import PID, Told, life
from tests.kit.vectors import vectors
from tests.property.test_object_parsers import all_types, everything, objects, section_of

_CHECK: Final = CryptographyCheck()
_SIGNED: Final = b"signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``run`` takes any bytes and lets nothing but errors of ours out."""

    run: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    change: Callable[[Mutator, bytes], bytes] = lambda mutator, data: mutator.bytes_(data)


def _vectors(*kinds: str) -> Callable[[], Sequence[bytes]]:
    def read() -> Sequence[bytes]:
        found = [v.bytes for v in vectors() if v.kind in kinds]
        return [data for data in found if len(data) < 1 << 16]

    return read


def _each(*parsers: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """Give the bytes to each parser; what one refuses another may take."""

    def run(data: bytes) -> None:
        for parser in parsers:
            with contextlib.suppress(BpfpackError):
                parser(data)

    return run


def _text(parser: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parser(data.decode("utf-8", "replace"))


def _targets(text: str) -> None:
    for section in ("xdp", "tc", "uprobe", "usdt", "perf_event", "cgroup_skb/ingress", "kprobe"):
        with contextlib.suppress(BpfpackError):
            parse_target(parse_section(section), text)


def _json(mutator: Mutator, data: bytes) -> bytes:
    try:
        return mutator.document(data)
    except (ValueError, RecursionError):
        return mutator.bytes_(data)


def _manifest(data: bytes) -> None:
    found = parse(data)
    if isinstance(found, Manifest):
        PackageLayout.of(found)


def _config(data: bytes) -> None:
    found = Config.from_bytes(data)
    assert Config.from_bytes(found.to_bytes()) == found
    spec = _tracer()
    check_config(spec, found)
    for output in found.outputs:
        for event in output.types:
            event_layout(spec, found, event)


@functools.cache
def _tracer() -> ObjectSpec:
    return ObjectSpec.from_bytes(objects()[0])


def _btf(data: bytes) -> None:
    for order in ("little", "big"):
        with contextlib.suppress(SpecError):
            all_types(Btf.parse(data, order))


def _line_info(data: bytes) -> None:
    lines = LineInfo.parse(data, _good_btf(), "little")
    for offset in (0, 8, 1 << 40):
        lines.line_of("tp_btf/sched_wakeup", offset)


@functools.cache
def _good_btf() -> Btf:
    return Btf.parse(section_of(objects()[0], ".BTF"), "little")


def _policy(data: bytes) -> None:
    Policy.from_dict(policyfile._parse(data), source="fuzzed")


def _claims(form: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        signed = signature.pae(data) if form == "bundle" else data
        candidate = Candidate(form=form, signed=signed, signature=b"")  # type: ignore[arg-type]
        return signature.claims(candidate, (Digest.sha256(b""),))

    return read


def _key(data: bytes) -> None:
    keys.is_locked(data)
    keys.import_key(data)


def _unlocked(data: bytes) -> None:
    # scrypt takes a fifth of a second: only what differs from a good file can get there.
    if data not in _keys():
        keys.unlock_pkcs8(data, b"x")


def _public(data: bytes) -> None:
    _CHECK.verify(data.decode("latin-1"), _SIGNED, key_of("alice").sign(_SIGNED))


def _signature(data: bytes) -> None:
    _CHECK.verify(key_of("alice").public_pem, _SIGNED, data)


@functools.cache
def _keys() -> Sequence[bytes]:
    key = key_of("alice")
    return [
        keys.lock(key, b"secret"),
        keys.plain_pem(key),
        key.public_pem.encode(),
        key.sign(_SIGNED),
    ]


def _archive(data: bytes) -> None:
    with Layout(tar_from_stream(io.BytesIO(data)), "fuzzed") as layout:
        layout.referrers()
        for entry in layout.packages():
            layout.manifest(entry.descriptor.digest)


def _archives() -> Sequence[bytes]:
    from tests.fuzz.archives import tar_of

    one = package()
    index = index_of({})
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": index.raw,
        **{f"blobs/sha256/{d.encoded}": data for d, data in one.blobs.items()},
    }
    return [tar_of(files)]


def _no_file(path: str) -> str:
    raise NotFound(f"no key file {path}")


_HEAD: Final = b'{"version":1,"pid":7,"started":1,"boot":"b"}\n'
_ENTRY: Final = strictjson.dumps(
    ClsactEntry(
        namespace=Namespace(inode=1, cookie=2),
        ifindex=3,
        direction="ingress",
        priority=49152,
        handle=4,
        program_id=5,
    ).to_dict()
)
_JOURNALS: Final = (_HEAD, _HEAD + _ENTRY + b"\n", _HEAD + (_ENTRY + b"\n") * 3)


def _lines(mutator: Mutator, data: bytes) -> bytes:
    """Change one line of a journal."""
    lines = data.split(b"\n")
    at = mutator.below(len(lines))
    lines[at] = _json(mutator, lines[at]) if lines[at] else mutator.bytes_(data)
    return b"\n".join(lines)


def _display(data: bytes) -> None:
    """Formats, titles and members that a config may ask for, of a real event."""
    event = _good_btf().find(Struct, "event")
    assert event is not None
    words = data.decode("utf-8", "replace").split("\n")
    shown = {
        words[i]: FieldDisplay(
            title=words[i + 1] or None,
            format=words[i + 2] or None,
            labels={len(words): words[i + 1]},
        )
        for i in range(0, len(words) - 2, 3)
    }
    RecordLayout.of(_good_btf(), event, shown)


def _units(text: str) -> None:
    for read in (units.seconds, units.lifetime, units.byte_count, units.count):
        with contextlib.suppress(BpfpackError):
            read(text, "--option")


def _printable(text: str) -> None:
    # Not isprintable(), for which a character of private use is none.
    found = {unicodedata.category(char) for char in safetext.printable(text)}
    assert not found & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _narrowing(text: str) -> None:
    """An expression, which answers of any record, and the same text as names of fields."""
    of = records.output(filtering.EVENT)
    for expression, names in ((text, None), (None, text)):
        with contextlib.suppress(BpfpackError):
            made = make_filters(expression, names, [of])["events"]
            made.image()
            for length in range(0, len(filtering.RECORD), 7):
                made.keeps(memoryview(filtering.RECORD[:length]))
    with contextlib.suppress(BpfpackError):
        (chosen,) = select_fields(text, [of], nested=True)
        make_formatter("json", chosen)


def _displays() -> Iterator[bytes]:
    for member in ("when", "pid", "peer.port", "octets", "matrix", "name", "rest"):
        for format_ in FORMATS:
            yield f"{member}\nTITLE\n{format_}".encode()


def _program(data: bytes) -> None:
    """The functions of a program, and where its debug file would be."""
    with in_memory(data) as fd:
        found = read_functions(fd, "/program", ["/nowhere"])
    if found is not None:
        for offset in range(0, len(data), 256):
            found.find(offset, called=True)


def _told(data: bytes) -> None:
    """What a process, or the kernel, says of code that is mapped."""
    made = JitMap(data)
    mappings = Mappings(fed=True)
    TaskFeed(Told(data), mappings).drain()
    for address in (0, 0x1000, 0x7FFF_FFFF_F000, (1 << 64) - 1):
        made.find(address)
        mappings.find(PID, address)


@functools.cache
def _programs() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [linked_program(Path(folder))]


_EXPRESSIONS: Final = (
    b"pid > 1 and (comm ~ 'ss*[a-d]' or not exists(ret)) && flags has O_CREAT|O_WRONLY",
    b"addr in (10.0.0.0/8, 192.168.1.1) || to not in fe80::/10 and lat >= 1.5ms",
    b"ret in (ENOENT, -13) and kind != CLOSE and ports[1] == 443 and mac == 00:1b:21:3c:9d:f8",
    rb'path contains "\x2fetc" and load < 1e-3 and size >= 4KiB and owner.uid == root and ok',
    b"pid,-comm,owner,ports[0]",
)
_UNITS: Final = (b"10s", b"1.5h", b"400d", b"64k", b"1MiB", b"-1", b"1e9", b"0x10", b"\xd9\xa3s")
TARGETS: Final[dict[str, Target]] = {
    "reference": Target(
        run=_each(
            _text(Reference.parse),
            _text(Digest.parse),
            _text(canonical_scope),
            _text(parse_section),
            _text(_targets),
        ),
        seeds=_vectors("reference", "digest", "section"),
    ),
    "manifest": Target(
        run=_each(
            _manifest,
            lambda data: Descriptor.from_dict(strictjson.loads_object(data, LIMITS.manifest)),
        ),
        seeds=_vectors("manifest", "index", "descriptor", "package", "json"),
        change=_json,
    ),
    "config": Target(run=_each(_config), seeds=_vectors("config", "agreement"), change=_json),
    "elf": Target(run=everything, seeds=objects, change=lambda mutator, data: mutator.object(data)),
    "btf": Target(run=_btf, seeds=lambda: [section_of(o, ".BTF") for o in objects()[:2]]),
    "btf.ext": Target(run=_each(_line_info), seeds=lambda: [section_of(objects()[0], ".BTF.ext")]),
    "policy": Target(
        run=_each(_policy, lambda data: podman.import_policy(data, _no_file)),
        seeds=_vectors("policy"),
    ),
    "signature": Target(
        run=_each(
            _claims("legacy"),
            _claims("bundle"),
            _claims("host"),
            signature.candidate_from_bundle,
            _signature,
        ),
        seeds=_vectors("bundle", "legacy-payload", "statement"),
        change=_json,
    ),
    "key": Target(run=_each(_key, _unlocked, _public), seeds=_keys),
    "archive": Target(run=_each(_archive), seeds=_archives),
    "program": Target(run=_program, seeds=_programs),
    "mappings": Target(
        run=_told, seeds=lambda: [b"1000 100 f\n1100 20 g\n", life(), life() + life()]
    ),
    "filter": Target(run=_text(_narrowing), seeds=lambda: _EXPRESSIONS),
    "journal": Target(run=_each(journal.parse), seeds=lambda: _JOURNALS, change=_lines),
    "display": Target(
        run=_each(_display, _text(_units), _text(_printable)),
        seeds=lambda: [*_displays(), *_UNITS],
    ),
}

"""Reads the vectors of `spec/vectors`, and says what the Python model makes of each.

`spec/vectors/README.md` describes the format.  `outcome` is the only way from a vector to
code: whoever implements the specification in another language writes that function.
"""

import base64
import io
import json
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from bpfpack.builder.diagnosis import Diagnosis
from bpfpack.builder.metadata import make_metadata
from bpfpack.builder.release import Release
from bpfpack.registry.trust.check import CryptographyCheck
from bpfpack.runner.events.formatter import EventOutput, RecordType
from bpfpack.spec import sections, signature, strictjson
from bpfpack.spec.agreement import check_config, display_of, record_type
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.btf import Struct, Union
from bpfpack.spec.config import Config
from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.digest import Digest
from bpfpack.spec.layout import members, size_of
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, parse
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.origin import Origin
from bpfpack.spec.package import PackageLayout
from bpfpack.spec.policy import Policy
from bpfpack.spec.record import RecordLayout
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import Candidate, Claims, SignaturePlace
from bpfpack.spec.targets import parse_target, section_target
from bpfpack.spec.trust import Evidence, Mark, judge
from bpfpack.spec.value import names
from bpfpack.spec.versions import highest_release
from tests.kit.elfwriter import ElfWriter
from tests.kit.records import FixedClock, shown
from tests.kit.signing import MemoryMarks

SPEC: Final = Path(__file__).parents[2] / "spec"
VECTORS: Final = SPEC / "vectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One case; ``name`` is its path below `VECTORS`."""

    name: str
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.data["kind"])

    @property
    def valid(self) -> bool:
        return self.name.startswith("valid/")

    @property
    def bytes(self) -> bytes:
        """The input, byte for byte."""
        if "base64" in self.data:
            return base64.b64decode(self.data["base64"], validate=True)
        if "text" in self.data:
            return str(self.data["text"]).encode()
        if "parts" in self.data:
            return "".join(text * count for text, count in self.data["parts"]).encode()
        return strictjson.dumps(self.data["input"])

    def __str__(self) -> str:
        return self.name


@cache
def vectors() -> tuple[Vector, ...]:
    """All of them, by name."""
    return tuple(
        Vector(name=str(path.relative_to(VECTORS)), data=json.loads(path.read_bytes()))
        for path in sorted(VECTORS.rglob("*.json"))
    )


def of_kind(*kinds: str) -> list[Vector]:
    """Those of some kinds."""
    return [vector for vector in vectors() if vector.kind in kinds]


@cache
def object_of(name: str) -> ObjectSpec:
    """The object that a vector speaks of by the name of another."""
    data = json.loads((VECTORS / name).read_bytes())
    return ObjectSpec.from_bytes(base64.b64decode(data["base64"], validate=True))


def outcome(vector: Vector) -> Any:
    """What the model makes of a vector, as JSON; raises what it raises."""
    return OUTCOMES[vector.kind](vector)


def _reference(vector: Vector) -> Any:
    found = Reference.parse(vector.bytes.decode())
    return {
        "registry": found.registry,
        "repository": found.repository,
        "tag": found.tag,
        "digest": None if found.digest is None else str(found.digest),
        "text": str(found),
        "host": None if found.is_bare else found.api_host,
    }


def _digest(vector: Vector) -> Any:
    found = Digest.parse(vector.bytes.decode())
    return {"algorithm": found.algorithm, "encoded": found.encoded}


def _json(vector: Vector) -> Any:
    return strictjson.loads(vector.bytes, vector.data.get("limit", LIMITS.manifest))


def _descriptor(vector: Vector) -> Any:
    return Descriptor.from_dict(strictjson.loads_object(vector.bytes, LIMITS.manifest)).to_dict()


def _manifest(vector: Vector) -> Any:
    found = parse(vector.bytes, media_type=vector.data.get("transport"))
    assert found.raw == vector.bytes
    described: dict[str, Any] = {
        "digest": str(found.descriptor.digest),
        "mediaType": found.media_type,
        "artifactType": found.artifact_type,
        "subject": None if found.subject is None else str(found.subject.digest),
    }
    if isinstance(found, Index):
        return {**described, "manifests": [str(child.digest) for child in found.manifests]}
    return {
        **described,
        "config": str(found.config.digest),
        "layers": [str(layer.digest) for layer in found.layers],
    }


def _package(vector: Vector) -> Any:
    manifest = parse(vector.bytes)
    assert isinstance(manifest, Manifest)
    found = PackageLayout.of(manifest)
    return {
        "config": str(found.config.digest),
        "object": str(found.object.digest),
        "readme": None if found.readme is None else str(found.readme.digest),
    }


def _select(vector: Vector) -> Any:
    index = parse(vector.bytes)
    assert isinstance(index, Index)
    return str(index.select(Platform.from_dict(vector.data["platform"])).digest)


def _content(vector: Vector) -> Any:
    want = Descriptor.from_dict(vector.data["descriptor"])
    return read_exactly(io.BytesIO(vector.bytes), want, vector.data["limit"]).decode()


def _config(vector: Vector) -> Any:
    found = Config.from_bytes(vector.bytes)
    assert Config.from_bytes(found.to_bytes()) == found
    return found.to_dict()


def _agreement(vector: Vector) -> Any:
    check_config(object_of(vector.data["object"]), Config.from_bytes(vector.bytes))
    return {}


def _target(vector: Vector) -> Any:
    said = json.loads(vector.bytes)
    kind = sections.parse_section(said["section"])
    base = section_target(kind)
    if "base" in said:
        base = parse_target(kind, said["base"], base)
    found = parse_target(kind, said["target"], base)
    return {name: getattr(found, name) for name in names(type(found))}


def _object(vector: Vector) -> Any:
    found = ObjectSpec.from_bytes(vector.bytes)
    return {
        "byteOrder": found.byte_order,
        "license": found.license,
        "programs": [{"name": p.name, "section": p.section} for p in found.programs],
        "maps": [
            {
                "name": m.name,
                "type": m.type_name,
                "keySize": m.key_size,
                "valueSize": m.value_size,
                "maxEntries": m.max_entries,
            }
            for m in found.maps
        ],
        "globals": [
            {"name": v.name, "section": v.section, "const": v.const, "initial": v.initial.hex()}
            for v in found.variables
        ],
    }


def _btf(vector: Vector) -> Any:
    """Structs and unions; of each member name, type, size, bit offset, bits of a bit-field."""
    elf = ElfWriter(vector.data["byteOrder"])
    elf.section(".BTF", vector.bytes)
    btf = ObjectSpec.from_bytes(elf.build()).types("a vector")
    return {
        btf.spelling(type_id): {
            "size": size_of(btf, type_id),
            "members": [
                [
                    *(m.name, btf.spelling(m.type_id), size_of(btf, m.type_id)),
                    *(m.bit_offset, m.bit_size),
                ]
                for m in members(btf, type_id)
            ],
        }
        for kind in (Struct, Union)
        for type_id in btf.ids(kind)
    }


def _section(vector: Vector) -> Any:
    found = sections.parse_section(vector.bytes.decode())
    attach = found.attach_type
    return {
        "type": found.type,
        "programType": sections.PROG_TYPES[found.prog_type],
        "attachType": None if attach is None else sections.ATTACH_TYPES[attach],
        "target": found.target,
        "sleepable": found.sleepable,
        "autoload": found.autoload,
    }


def _record(vector: Vector) -> Any:
    """The JSON and the table line of one record; all clocks began with the epoch."""
    spec = object_of(vector.data["object"])
    btf = spec.types("a vector")
    type_id = record_type(btf, vector.data["type"])
    assert type_id is not None
    config = Config.from_dict(
        {
            "schemaVersion": 1,
            "name": "x",
            "fields": {vector.data["type"]: vector.data.get("fields", {})},
            "requirements": {"byteOrder": spec.byte_order},
        }
    )
    layout = RecordLayout.of(btf, type_id, display_of(config, btf, type_id))
    output = EventOutput(name="x", types=(RecordType(layout=layout),))
    record = bytes.fromhex(vector.data["record"])
    found: dict[str, Any] = {}
    for shape in ("json", "csv"):
        (line,) = shown(shape, output, record, clock=FixedClock())
        found[shape] = line
    return {**found, "json": json.loads(found["json"])}


def _policy(vector: Vector) -> Any:
    policy = Policy.from_dict(tomllib.loads(vector.bytes.decode()))
    origin = vector.data.get("origin")
    if origin is None:
        return {"scopes": sorted(policy.scopes)}
    reference = origin.get("reference")
    rule = policy.rule_for(
        Origin(
            kind=origin["kind"],
            reference=None if reference is None else Reference.parse(reference),
            location=origin.get("location", ""),
        )
    )
    return {"scope": None if rule is None else rule.name}


def _claims(found: Claims) -> Any:
    return {
        "digest": str(found.digest),
        "reference": None if found.reference is None else str(found.reference),
        "created": found.created and signature.format_time(found.created),
        "expires": found.expires and signature.format_time(found.expires),
    }


def _wanted(vector: Vector) -> tuple[Digest, ...]:
    return tuple(Digest.parse(text) for text in vector.data["wanted"])


def _legacy(vector: Vector) -> Any:
    candidate = Candidate(form="legacy", signed=vector.bytes, signature=b"")
    return _claims(signature.claims(candidate, _wanted(vector)))


def _statement(vector: Vector) -> Any:
    candidate = Candidate(form="bundle", signed=signature.pae(vector.bytes), signature=b"")
    return _claims(signature.claims(candidate, _wanted(vector)))


def _bundle(vector: Vector) -> Any:
    found = signature.candidate_from_bundle(vector.bytes)
    return {
        "signed": found.signed.decode(),
        "signature": base64.b64encode(found.signature).decode(),
        "hint": found.hint,
    }


def _judgement(vector: Vector) -> Any:
    """What was decided, on whose word, and the mark that it leaves; raises what a refusal is."""
    data, origin = vector.data, vector.data["origin"]
    manifest = parse(data["manifest"].encode())
    index = parse(data["index"].encode()) if "index" in data else None
    assert index is None or isinstance(index, Index)
    reference = Reference.parse(origin["reference"])
    judged = judge(
        Evidence(
            origin=Origin(
                kind=origin["kind"],
                reference=reference,
                location=str(reference),
                implicit=origin.get("implicit", False),
            ),
            manifest=manifest,
            index=index,
            places=tuple(_place(place) for place in data["places"]),
        ),
        Policy.from_dict(tomllib.loads(vector.bytes.decode())),
        CryptographyCheck(),
        now=signature.parse_time(data["now"]),
        marks=_marks(reference, data.get("marks", ())),
    )
    if not judged.accepted:
        raise judged.error()
    assert judged.scope
    return {
        "scope": judged.scope.name,
        "signers": [
            {"name": signer.name, "form": signer.form} | _claims(signer.claims)
            for signer in judged.signers
        ],
        "mark": judged.mark and [judged.mark.tag, signature.format_time(judged.mark.created)],
    }


def _place(data: dict[str, Any]) -> SignaturePlace:
    return SignaturePlace(
        name=data["name"],
        state=data["state"],
        reason="no answer" if data["state"] == "failed" else None,
        candidates=tuple(
            Candidate(
                form=found["form"],
                signed=base64.b64decode(found["signed"], validate=True),
                signature=base64.b64decode(found["signature"], validate=True),
            )
            for found in data["candidates"]
        ),
    )


def _marks(reference: Reference, data: Iterable[dict[str, str]]) -> MemoryMarks:
    marks = MemoryMarks()
    for held in data:
        created = signature.parse_time(held["created"])
        digest = Digest.parse(held["digest"])
        marks.record(
            Mark(repository=reference.name, tag=held["tag"], created=created, digest=digest)
        )
    return marks


def _metadata(vector: Vector) -> Any:
    diagnosis = Diagnosis(subject="x.o", release=Release.parse(vector.bytes))
    return make_metadata(
        object_of(vector.data["object"]), diagnosis, name="unnamed"
    ).config.to_dict()


def _version(vector: Vector) -> Any:
    return highest_release(json.loads(vector.bytes))


OUTCOMES: Final[dict[str, Callable[[Vector], Any]]] = {
    "reference": _reference,
    "digest": _digest,
    "json": _json,
    "descriptor": _descriptor,
    "manifest": _manifest,
    "index": _manifest,
    "package": _package,
    "select": _select,
    "content": _content,
    "config": _config,
    "agreement": _agreement,
    "target": _target,
    "object": _object,
    "btf": _btf,
    "section": _section,
    "record": _record,
    "policy": _policy,
    "legacy-payload": _legacy,
    "statement": _statement,
    "bundle": _bundle,
    "judgement": _judgement,
    "metadata": _metadata,
    "version": _version,
}

"""Laws of the model: one spelling, bytes that stay, a value or one of our errors."""

import contextlib
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfpack.spec import signature, strictjson
from bpfpack.spec.config import Config
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.displays import CLOCKS, FORMATS, TIME_UNITS
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest, build_manifest, parse
from bpfpack.spec.package import PackageLayout
from bpfpack.spec.policy import Policy, canonical_scope
from bpfpack.spec.reference import Reference, canonical_host
from bpfpack.spec.sections import parse_section
from bpfpack.spec.signature import Candidate
from tests.kit import schemas

# No surrogates: they are no UTF-8, so no bytes spell them.
TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES: Final = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z")
MEMBERS: Final = st.from_regex(r"\A[a-z]{1,4}(\.[a-z]{1,4}){0,2}\Z")
OPTIONS: Final = st.from_regex(r"\A[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,4})?\Z")
INTEGERS: Final = st.integers(-(2**63), 2**64 - 1)
PLAIN: Final = st.one_of(
    st.booleans(), INTEGERS, TEXT, st.floats(allow_nan=False, allow_infinity=False)
)
DIGESTS: Final = st.binary(max_size=8).map(Digest.sha256)


def some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object that has all of the first members and any of the second."""
    return st.fixed_dictionaries(required, optional=optional)


def many(
    of: st.SearchStrategy[dict[str, Any]], *keys: str | Callable[[dict[str, Any]], Any]
) -> st.SearchStrategy[list[Any]]:
    """At least one, unique by each key."""
    unique = tuple(_by(key) if isinstance(key, str) else key for key in keys)
    return st.lists(of, min_size=1, max_size=3, unique_by=unique or None)


def _by(key: str) -> Callable[[dict[str, Any]], Any]:
    # What is absent is never the same.
    return lambda item: item.get(key, id(item))


def _reads(output: dict[str, Any]) -> Any:
    # Two outputs of one buffer's events would share them out.
    return output["map"] if output["kind"] == "events" else id(output)


PROGRAMS: Final = many(
    some({"name": NAMES, "section": TEXT}, {})
    | some({"name": NAMES, "section": TEXT, "optional": st.just(True)}, {})
    | some({"name": NAMES, "section": TEXT, "alternative": OPTIONS}, {}),
    "name",
)
SIZES: Final = st.integers(0, 2**32 - 1)
MAPS: Final = many(
    some(
        {"name": NAMES, "type": TEXT, "keySize": SIZES, "valueSize": SIZES, "maxEntries": SIZES},
        {},
    ),
    "name",
)
PARAMS: Final = many(
    some(
        {"global": NAMES, "option": OPTIONS, "type": TEXT},
        {
            "short": st.from_regex(r"\A[A-Za-z0-9]\Z"),
            "help": TEXT,
            "default": PLAIN,
            "choices": st.dictionaries(NAMES.map(str.lower), INTEGERS, min_size=1, max_size=3),
            "unit": TEXT,
            "role": st.just("target-pid"),
        },
    ),
    *("global", "option", "short", "role"),
)
OUTPUT: Final = {"name": NAMES, "map": NAMES}
SAMPLED: Final = {"unit": TEXT, "intervalMs": st.integers(10, 86_400_000)}
OUTPUTS: Final = many(
    some({**OUTPUT, "kind": st.just("events"), "types": many(some({"type": NAMES}, {}))}, {})
    | some(
        {
            **OUTPUT,
            "kind": st.just("events"),
            "types": many(some({"type": NAMES, "when": INTEGERS}, {}), "when"),
            "discriminator": MEMBERS,
        },
        {},
    )
    | some(
        {**OUTPUT, "kind": st.just("histogram"), "scale": st.just("log2")},
        {**SAMPLED, "slots": MEMBERS},
    )
    | some(
        {
            **OUTPUT,
            "kind": st.just("histogram"),
            "scale": st.just("linear"),
            "step": st.integers(1, 2**32),
        },
        SAMPLED,
    )
    | some(
        {
            **OUTPUT,
            "kind": st.just("histogram"),
            "scale": st.just("exponential"),
            "step": st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
        },
        SAMPLED,
    )
    | some({**OUTPUT, "kind": st.just("table")}, {**SAMPLED, "sort": MEMBERS})
    | some(
        {**OUTPUT, "kind": st.just("stacks"), "traces": NAMES, "kernel": MEMBERS},
        {**SAMPLED, "process": MEMBERS},
    )
    | some(
        {
            **OUTPUT,
            "kind": st.just("stacks"),
            "traces": NAMES,
            "user": MEMBERS,
            "process": MEMBERS,
        },
        {**SAMPLED, "kernel": MEMBERS},
    ),
    "name",
    _reads,
)
DISPLAYS: Final = some(
    {},
    {
        "title": TEXT,
        "format": st.sampled_from(FORMATS),
        "hidden": st.just(True),
        "unit": st.sampled_from(TIME_UNITS),
        "clock": st.sampled_from(CLOCKS),
        "order": st.sampled_from(("net", "host")),
        "labels": st.dictionaries(INTEGERS.map(str), TEXT, min_size=1, max_size=3),
    },
)
CONFIGS: Final = some(
    {
        "schemaVersion": st.just(1),
        "name": st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,8}\Z"),
        "requirements": some(
            {"byteOrder": st.sampled_from(("little", "big"))},
            {
                "architectures": st.lists(TEXT, min_size=1, max_size=2),
                "features": st.lists(TEXT, min_size=1, max_size=2),
            },
        ),
    },
    {
        "version": st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z._+-]{0,8}\Z"),
        "description": TEXT,
        "license": TEXT,
        "authors": st.lists(TEXT, min_size=1, max_size=2),
        "homepage": TEXT,
        "source": TEXT,
        "programs": PROGRAMS,
        "maps": MAPS,
        "params": PARAMS,
        "outputs": OUTPUTS,
        "fields": st.dictionaries(
            NAMES.map(str.lower),
            st.dictionaries(MEMBERS, DISPLAYS, max_size=2),
            min_size=1,
            max_size=2,
        ),
    },
)
ODD: Final = st.sampled_from(
    (
        *(None, True, False, 0, 1, -1, 2**64, 0.5),
        *("", "a", "A-b", "-", "0", "x" * 200),
        *([], {}, [1], {"a": 1}),
    )
)


@given(CONFIGS)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_config_survives_the_way_through_bytes(data: dict[str, Any]) -> None:
    found = Config.from_dict(data)
    raw = found.to_bytes()
    again = Config.from_bytes(raw)
    assert (again, again.to_bytes()) == (found, raw)
    assert found.to_dict() == data


@given(CONFIGS)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_schema_accepts_every_config(data: dict[str, Any]) -> None:
    assert schemas.accepts("config", Config.from_dict(data).to_dict())


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place inside a document at which something stands."""
    found: list[tuple[Any, Any]] = []
    entries = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in entries:
        found += [(value, key), *places(inner)]
    return found


def damaged(data: dict[str, Any], draw: st.DataObject) -> dict[str, Any]:
    """The same with one thing changed, taken away or added."""
    changed = deepcopy(data)
    holder, key = draw.draw(st.sampled_from(places(changed)), label="place")
    what = draw.draw(st.sampled_from(("change", "take", "add")), label="what")
    if what == "change":
        holder[key] = draw.draw(ODD, label="value")
    elif what == "take":
        del holder[key]
    elif isinstance(holder, dict):
        holder[draw.draw(st.sampled_from(("extra", "scale", "when", "step", "types")))] = draw.draw(
            ODD
        )
    else:
        holder.append(deepcopy(holder[key]))
    return changed


#: What a schema cannot say: that names are unique, and that a buffer has one reader.
UNIQUE: Final = ("appears twice", "two types for one value", "reads the events of")


@given(CONFIGS, st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_schema_and_model_agree_on_what_is_nearly_a_config(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    changed = damaged(data, draw)
    accepted = schemas.accepts("config", changed)
    try:
        Config.from_dict(changed)
    except SpecError as e:
        assert not accepted or any(words in e.reason for words in UNIQUE), e
    else:
        assert accepted, list(schemas.validator("config").iter_errors(changed))


def descriptors(media_type: str = "application/x") -> st.SearchStrategy[dict[str, Any]]:
    return some(
        {
            "mediaType": st.just(media_type),
            "digest": DIGESTS.map(str),
            "size": st.integers(0, 2**63 - 1),
        },
        {
            "annotations": st.dictionaries(NAMES.map(str.lower), TEXT, max_size=2),
            "artifactType": st.just("application/y"),
            "platform": some({"architecture": TEXT, "os": TEXT}, {"variant": TEXT}),
            "urls": st.lists(TEXT, max_size=1),
        },
    )


MANIFESTS: Final = some(
    {
        "schemaVersion": st.just(2),
        "config": descriptors(),
        "layers": st.lists(descriptors(), max_size=2),
    },
    {
        "mediaType": st.just("application/vnd.oci.image.manifest.v1+json"),
        "subject": descriptors(),
        "annotations": st.dictionaries(NAMES.map(str.lower), TEXT, max_size=2),
        "x-unknown": PLAIN,
    },
)


@given(MANIFESTS, st.integers(0, 3), st.booleans())
def test_a_manifest_keeps_its_bytes(data: dict[str, Any], indent: int, ascii_: bool) -> None:
    raw = json.dumps(data, indent=indent or None, ensure_ascii=ascii_).encode()
    found = parse(raw)
    assert isinstance(found, Manifest)
    assert (found.raw, found.descriptor.digest) == (raw, Digest.sha256(raw))
    built = build_manifest(
        artifact_type=found.artifact_type,
        config=found.config,
        layers=found.layers,
        subject=found.subject,
        annotations=found.annotations,
    )
    assert parse(built.raw) == built
    assert schemas.accepts("manifest", data)


@given(MANIFESTS, st.data())
@settings(max_examples=200)
def test_schema_and_model_agree_on_what_is_nearly_a_manifest(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    changed = damaged(data, draw)
    accepted = schemas.accepts("manifest", changed)
    try:
        found = parse(strictjson.dumps(changed))
    except SpecError:
        assert not accepted
    else:
        assert accepted and isinstance(found, Manifest)


HOSTS: Final = st.from_regex(r"\A[a-zA-Z0-9]{1,5}(\.[a-z0-9]{1,5}){1,2}(:[0-9]{1,5})?\Z")
REPOSITORIES: Final = st.from_regex(r"\A[a-z0-9]{1,5}([._/-][a-z0-9]{1,5}){0,3}\Z")
TAGS: Final = st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,8}\Z")
HARBOURS: Final = HOSTS | st.sampled_from(("docker.io", "index.docker.io", "localhost", "[::1]:5"))


@given(HARBOURS, REPOSITORIES, st.none() | TAGS, st.none() | DIGESTS)
def test_a_reference_has_one_spelling(
    host: str, repository: str, tag: str | None, digest: Digest | None
) -> None:
    typed = f"{host}/{repository}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    found = Reference.parse(typed)
    assert Reference.parse(str(found)) == found
    assert (found.tag, found.digest, found.is_bare) == (tag, digest, False)
    if host != "localhost":
        assert found == Reference.parse(typed.replace(host, host.upper(), 1))
    if "docker.io" not in host and canonical_host(host) == host:
        assert str(found) == typed


@given(st.text(st.sampled_from("ab0A.:/@_-[]\n é"), max_size=20))
def test_whatever_is_typed_has_one_spelling_or_none(text: str) -> None:
    with contextlib.suppress(SpecError):
        found = Reference.parse(text)
        assert Reference.parse(str(found)) == found


def _signed(form: Any) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        signed = signature.pae(data) if form == "bundle" else data
        candidate = Candidate(form=form, signed=signed, signature=b"")
        return signature.claims(candidate, (Digest.sha256(b""),))

    return read


def _text(parser: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parser(data.decode("utf-8", "replace"))


def _package(data: bytes) -> object:
    found = parse(data)
    return PackageLayout.of(found) if isinstance(found, Manifest) else found


def _object(parser: Callable[[Any], object]) -> Callable[[bytes], object]:
    return lambda data: parser(strictjson.loads_object(data, LIMITS.manifest))


PARSERS: Final[dict[str, Callable[[bytes], object]]] = {
    "json": lambda data: strictjson.loads(data, LIMITS.manifest),
    "config": Config.from_bytes,
    "manifest": _package,
    "descriptor": _object(Descriptor.from_dict),
    "policy": _object(Policy.from_dict),
    "legacy": _signed("legacy"),
    "statement": _signed("bundle"),
    "host": _signed("host"),
    "bundle": signature.candidate_from_bundle,
    "reference": _text(Reference.parse),
    "digest": _text(Digest.parse),
    "section": _text(parse_section),
    "scope": _text(canonical_scope),
    "time": _text(signature.parse_time),
    "base64": _text(signature.decode_base64),
}
#: Keys that parsers look for, so that random documents get past the first of them.
KEYS: Final = st.sampled_from(
    (
        *("schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "data"),
        *("name", "requirements", "byteOrder", "outputs", "fields", "params", "programs", "maps"),
        *("version", "scopes", "keys", "critical", "optional", "identity", "image", "type"),
        *("_type", "subject", "predicateType", "predicate", "dsseEnvelope", "signatures", "sig"),
        *("verificationMaterial", "publicKey", "hint", "payload", "payloadType", "annotations"),
    )
)
DOCUMENTS: Final = st.recursive(
    PLAIN | st.none() | st.sampled_from((1, 2, "little", signature.CRITICAL_TYPE)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
BYTES: Final = (
    st.binary(max_size=64)
    | st.text(st.sampled_from('{}[]":,\\u0123d8e-+.n \n'), max_size=40).map(str.encode)
    | DOCUMENTS.map(lambda d: json.dumps(d).encode())
)


@pytest.mark.parametrize("name", PARSERS)
@given(data=BYTES)
def test_a_value_or_spec_error_and_nothing_else(name: str, data: bytes) -> None:
    with contextlib.suppress(SpecError):
        PARSERS[name](data)


@given(DOCUMENTS)
def test_what_is_written_is_read(document: Any) -> None:
    raw = strictjson.dumps(document)
    assert strictjson.dumps(json.loads(raw)) == raw
    with contextlib.suppress(SpecError):
        assert strictjson.loads(raw, LIMITS.manifest) == document

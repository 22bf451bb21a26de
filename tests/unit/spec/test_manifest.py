"""Manifests and indexes: what vectors cannot show."""

import json

import pytest

from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.manifest import Index, Manifest, build_index, build_manifest, parse
from tests.kit.packages import LINUX_AMD64, LINUX_S390X, index_of, package

CONFIG = Descriptor.of(b"{}", mediatypes.EMPTY)
LAYER = Descriptor.of(b"x", "application/x", annotations={"b": "1", "a": "2"})


def test_the_bytes_are_kept_and_named() -> None:
    raw = (
        b' {"schemaVersion":2, "config":%s, "layers":[], "new":1}\n'
        % json.dumps(CONFIG.to_dict()).encode()
    )
    found = parse(raw)
    assert isinstance(found, Manifest)
    assert (found.raw, found.descriptor.size) == (raw, len(raw))
    assert found.descriptor.digest == Digest.sha256(raw)
    assert found.kind == mediatypes.EMPTY


def test_what_is_built_is_what_is_parsed() -> None:
    subject = Descriptor.of(b"y", mediatypes.MANIFEST, annotations={"never": "kept"})
    made = build_manifest(
        artifact_type="application/x",
        config=CONFIG,
        layers=(LAYER,),
        subject=subject,
        annotations={"b": "1", "a": "2"},
    )
    assert parse(made.raw) == made
    assert list(json.loads(made.raw)["annotations"]) == ["a", "b"]
    assert set(json.loads(made.raw)["subject"]) == {"mediaType", "digest", "size"}
    index = build_index((made.descriptor,), artifact_type="application/x", annotations={"a": "b"})
    assert parse(index.raw) == index
    assert index.descriptor.artifact_type == made.descriptor.artifact_type == "application/x"


def test_equal_arguments_give_equal_bytes() -> None:
    both = [
        build_manifest(artifact_type=None, config=CONFIG, layers=(), annotations=notes).raw
        for notes in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    ]
    assert both[0] == both[1]


def test_selection_says_what_there_is() -> None:
    index = index_of({LINUX_AMD64: package().manifest, LINUX_S390X: package("other").manifest})
    assert index.select(LINUX_S390X).digest == package("other").manifest.descriptor.digest
    only = index_of({LINUX_AMD64: package().manifest})
    with pytest.raises(SpecError, match=r"no packages for linux/s390x .*\(linux/amd64\)"):
        only.select(LINUX_S390X)
    assert isinstance(only, Index)

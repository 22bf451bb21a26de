"""One law for parsers: a value or one of our errors.  One for the gate: no byte is free."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.registry.trust import keys, podman, secretbox
from bpfpack.spec import signature, signature_writer
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import BpfpackError, ContentError, SpecError, TrustError
from bpfpack.spec.manifest import Manifest, parse
from bpfpack.spec.origin import Origin
from bpfpack.spec.policy import Policy, canonical_scope, specificity
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import Candidate
from bpfpack.spec.value import replace
from tests.kit.signing import (
    NOW,
    admitted,
    key_of,
    policy_for,
    signed_artifact,
    vector_key,
)

ARTIFACT = signed_artifact()
ALICE = policy_for("ghcr.io/x", "alice")
OWN = (ARTIFACT.manifest.descriptor.digest,)
SIGNED = [c for place in ARTIFACT.places for c in place.candidates]
BUNDLE = signature_writer.bundle(b"{}", b"sig", key_of("alice").hint)
KEY_FILE = keys.lock(vector_key(), b"")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at % len(data)] ^= 1 << bit
    return bytes(changed)


flips = given(at=st.integers(0, 10**6), bit=st.integers(0, 7))


class TestNoByteIsFree:
    def test_untouched_it_is_accepted(self) -> None:
        admitted(ARTIFACT, ALICE)

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    @pytest.mark.parametrize("part", ["signed", "signature"])
    @flips
    def test_payload_and_signature(self, form: str, part: str, at: int, bit: int) -> None:
        good = next(c for c in SIGNED if c.form == form)
        if part == "signed":
            bad = replace(good, signed=flipped(good.signed, at, bit))
        else:
            bad = replace(good, signature=flipped(good.signature, at, bit))
        place = replace(ARTIFACT.places[0], candidates=(bad,))
        with pytest.raises(TrustError):
            admitted(replace(ARTIFACT, places=(place,)), ALICE)

    @flips
    def test_manifest(self, at: int, bit: int) -> None:
        raw = flipped(ARTIFACT.manifest.raw, at, bit)
        try:
            found = parse(raw)
        except SpecError:
            return
        assert isinstance(found, Manifest)
        with pytest.raises(BpfpackError):
            admitted(replace(ARTIFACT, manifest=found), ALICE)
        with pytest.raises(BpfpackError):
            admitted(replace(ARTIFACT, manifest=replace(ARTIFACT.manifest, raw=raw)), ALICE)

    @flips
    def test_config(self, at: int, bit: int) -> None:
        with pytest.raises(ContentError):
            admitted(replace(ARTIFACT, config=flipped(ARTIFACT.config, at, bit)), ALICE)

    @flips
    def test_object(self, at: int, bit: int) -> None:
        with pytest.raises(ContentError):
            admitted(replace(ARTIFACT, object=flipped(ARTIFACT.object, at, bit)), ALICE)


class TestAValueOrOurError:
    @given(data=st.binary(max_size=512) | json_values.map(lambda v: json.dumps(v).encode()))
    def test_readers(self, data: bytes) -> None:
        for form in ("legacy", "bundle", "host"):
            for signed in (data, signature.pae(data)):
                candidate = Candidate(form=form, signed=signed, signature=b"")
                with contextlib.suppress(SpecError):
                    signature.claims(candidate, OWN)
        with contextlib.suppress(SpecError):
            signature.candidate_from_bundle(data)
        with contextlib.suppress(SpecError):
            keys.import_key(data)
        with contextlib.suppress(SpecError):
            podman.import_policy(data, lambda path: path)

    @flips
    def test_a_damaged_bundle(self, at: int, bit: int) -> None:
        with contextlib.suppress(SpecError):
            signature.candidate_from_bundle(flipped(BUNDLE, at, bit))

    @given(at=st.integers(0, 10**6), value=json_values)
    def test_any_member_exchanged(self, at: int, value: Any) -> None:
        """Each place of a good document, replaced by something else, is no crash."""
        for candidate in SIGNED:
            document = candidate.signed[candidate.signed.index(b"{") :]
            data = json.loads(document)
            holder, key = list(_slots(data))[at % len(list(_slots(data)))]
            holder[key] = value
            changed = json.dumps(data).encode()
            signed = changed if candidate.form == "legacy" else signature.pae(changed)
            with contextlib.suppress(SpecError):
                signature.claims(replace(candidate, signed=signed), OWN)

    @given(at=st.integers(0, 10**6), value=json_values | st.datetimes())
    def test_policy(self, at: int, value: Any) -> None:
        key = {"name": "alice", "pem": key_of("alice").public_pem, "not_before": NOW}
        rule = {"keys": [key], "unnamed": True, "level": "warn", "max_age": "90d"}
        data: dict[str, Any] = {"version": 1, "user_rules": True, "scopes": {"ghcr.io/x": rule}}
        holder, name = list(_slots(data))[at % len(list(_slots(data)))]
        holder[name] = value
        with contextlib.suppress(SpecError):
            Policy.from_dict(data)

    @given(text=st.text(max_size=64))
    def test_scopes(self, text: str) -> None:
        with contextlib.suppress(SpecError):
            assert canonical_scope(canonical_scope(text)) == canonical_scope(text)

    @given(text=st.text(max_size=40))
    def test_times_and_base64(self, text: str) -> None:
        for read in (signature.parse_time, signature.decode_base64):
            with contextlib.suppress(SpecError):
                read(text)

    @flips
    def test_a_damaged_key_file(self, at: int, bit: int) -> None:
        """Without paying for scrypt: the armour and the document alone."""
        damaged = flipped(KEY_FILE, at % 60, bit)
        with contextlib.suppress(SpecError):
            keys.is_locked(damaged)


class TestAlgebra:
    @given(plain=st.binary(max_size=300), nonce=st.binary(min_size=24, max_size=24))
    def test_a_box_opens_and_a_damaged_one_does_not(self, plain: bytes, nonce: bytes) -> None:
        key = bytes(range(32))
        box = secretbox.seal(plain, nonce, key)
        assert secretbox.open_box(box, nonce, key) == plain
        with pytest.raises(TrustError):
            secretbox.open_box(flipped(box, len(plain), 0), nonce, key)

    @given(moment=st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)))
    def test_times_survive_to_the_millisecond(self, moment: datetime) -> None:
        exact = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        assert signature.parse_time(signature.format_time(exact)) == exact

    @given(payload=st.binary(max_size=200))
    def test_a_statement_comes_back_out_of_its_encoding(self, payload: bytes) -> None:
        assert signature._payload_of(signature.pae(payload)) == payload

    @given(
        parts=st.lists(st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True), min_size=1, max_size=4),
        cut=st.integers(0, 4),
        suffix=st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True),
    )
    def test_a_scope_covers_whole_components_only(
        self, parts: list[str], cut: int, suffix: str
    ) -> None:
        reference = Reference("ghcr.io", "/".join(parts), "1")
        origin = Origin(kind="registry", reference=reference, location="")
        scope = "/".join(["ghcr.io", *parts[:cut]])
        assert specificity(scope, origin) == (1, 1 + min(cut, len(parts)))
        assert specificity(scope + suffix, origin) is None or (scope + suffix) in str(reference)
        longer = Reference("ghcr.io", "/".join([*parts[:-1], parts[-1] + suffix]), "1")
        named = Origin(kind="registry", reference=longer, location="")
        assert specificity(reference.name, named) is None

    @given(
        name=st.text(max_size=20).filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t))
    )
    def test_what_we_write_means_what_was_given(self, name: str) -> None:
        made = signature_writer.legacy_payload(Digest.sha256(b""), "h.io/a", {"k": name})
        assert json.loads(made)["optional"] == {"k": name}
        assert not set(b"<>&") & set(made)


def _slots(value: Any) -> Any:
    """Every (container, key) of a document."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(items):
        yield value, key
        yield from _slots(inner)

"""Weighs signatures under a policy: for every candidate, from wherever, the same steps.

 1. the policy scope is chosen by what the user typed;
 2. the signature over raw bytes, by a key of that scope; a key in a message never counts;
 3. the key's window, by the clock of this host;
 4. only now the content: strict parsing, which digest, which name, which times;
 5. the newest that this host accepted for the tag; for ``latest`` that nobody typed, also the
    newest of the highest release that it accepted, unless the package is of no lower version;
 6. a release that nobody typed is of no lower version than any that this host accepted.

One good candidate suffices; a bad one never hides a good one, and each keeps its reason.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from bpfpack.spec import mediatypes, signature
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError, TrustError
from bpfpack.spec.judgement import Evidence, Judgement, Mark, Marks, SignatureCheck, Verdict
from bpfpack.spec.origin import Origin
from bpfpack.spec.policy import ONLY_KEY, Invoker, Key, Policy, Scope, fold_host
from bpfpack.spec.signature import Candidate, Claims, PlaceName, SignaturePlace
from bpfpack.spec.value import valuetype
from bpfpack.spec.versions import above, is_release

#: How far a signer's clock may be ahead of ours.
CLOCK_SKEW: Final = timedelta(hours=24)

# Candidates for which keys of other scopes are tried, only to name the signer.
_NAMED: Final = 8

_HOST_KEY_NAME: Final = "this host"
# An archive, a URL or stdin is never "built here", whatever digest it has.
_BUILT_HERE: Final = ("registry", "store", "source")


@valuetype
class OwnKey:
    """The public key of whoever asks, trusted or not; ``location`` is where, as it is typed."""

    location: str
    pem: str


def judge(
    evidence: Evidence,
    policy: Policy,
    check: SignatureCheck,
    *,
    now: datetime,
    marks: Marks,
    allow_downgrade: bool = False,
    host_key: str | None = None,
    invoker: Invoker | None = None,
    own: OwnKey | None = None,
) -> Judgement:
    """Weigh every signature under the policy and explain; raises only for broken evidence.

    ``invoker`` is for whom root runs: what they built counts as built here if the policy says so.
    ``own`` counts for nothing: a refusal says when the signature is by it.
    Raises SpecError when the index does not list the manifest or the reference is by another
    digest, TrustError when the marks cannot be read or a key of the policy cannot be used.
    """
    digests = evidence.digests  # first: no option and no policy waives these
    scope = policy.rule_for(evidence.origin)
    if policy.problem:
        return Judgement(
            origin=evidence.origin,
            scope=None,
            accepted=False,
            reason=f"the policy cannot be used, so everything is refused: {policy.problem}",
            places=evidence.places,
        )
    passed = _passed(evidence.origin, marks) if not allow_downgrade else None
    scale = _Scale(
        origin=evidence.origin,
        digests=digests,
        scope=scope,
        policy=policy,
        check=check,
        now=now,
        newest=_newest(evidence, marks) if not allow_downgrade else None,
        passed=passed,
        host_key=host_key,
        invoker=invoker,
        own=own,
    )
    verdicts = tuple(scale.weigh_all(evidence.places))
    accepted = any(verdict.good for verdict in verdicts)
    reason, hint = ("", None) if accepted else _refusal(evidence, scope, verdicts, passed)
    return Judgement(
        origin=evidence.origin,
        scope=scope,
        accepted=accepted,
        reason=reason,
        hint=hint,
        verdicts=verdicts,
        places=evidence.places,
    )


class _Refused(Exception):
    """Why one candidate does not count; never leaves this module."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


@valuetype
class _Scale:
    """Weighs candidates, all under the same rule, whatever their form."""

    origin: Origin
    digests: tuple[Digest, ...]
    scope: Scope | None
    policy: Policy
    check: SignatureCheck
    now: datetime
    newest: Mark | None
    passed: str | None
    host_key: str | None
    invoker: Invoker | None
    own: OwnKey | None = None

    def weigh_all(self, places: tuple[SignaturePlace, ...]) -> Iterator[Verdict]:
        strangers = 0
        for place in places:
            for candidate in place.candidates:
                key = self._signed_by(place.name, candidate)
                if key is None and strangers < _NAMED:
                    strangers += 1
                    yield self._stranger(place.name, candidate)
                elif key is None:
                    yield _bad(place.name, candidate, "is by no key of the rule")
                else:
                    yield self._weigh(place.name, candidate, key)

    def _weigh(self, place: PlaceName, candidate: Candidate, key: Key) -> Verdict:
        claims: Claims | None = None
        try:
            _check_window(key, self.now)
            claims = _read(candidate, self.digests)
            if candidate.form != "host":
                self._check_name(claims)
                self._check_times(claims)
            self._check_version()
        except _Refused as e:
            return _bad(place, candidate, e.reason, key=key, claims=claims, hint=e.hint)
        return Verdict(
            place=place, candidate=candidate, good=True, reason="good", key=key, claims=claims
        )

    def _signed_by(self, place: PlaceName, candidate: Candidate) -> Key | None:
        """Return the key of the rule that made the signature; keys in messages do not count."""
        keys = self._host_keys(place) if candidate.form == "host" else self._rule_keys()
        return next((key for key in keys if self._verifies(key, candidate)), None)

    def _rule_keys(self) -> tuple[Key, ...]:
        return self.scope.keys if self.scope else ()

    def _host_keys(self, place: PlaceName) -> tuple[Key, ...]:
        """The host key satisfies only what no scope covers, unless the scope lists it.

        The same holds for the key of a user whose builds the policy takes for ours.
        """
        allowed = self.scope is None or self.scope.host
        if not allowed or self.origin.kind not in _BUILT_HERE:
            return ()
        if place == "user":
            builder = self.policy.local_builders.get(self.invoker.uid) if self.invoker else None
            return (Key(name=f"builds of {builder}", pem=builder.pem),) if builder else ()
        return (Key(name=_HOST_KEY_NAME, pem=self.host_key),) if self.host_key else ()

    def _verifies(self, key: Key, candidate: Candidate) -> bool:
        try:
            self.check.verify(key.pem, candidate.signed, candidate.signature)
        except TrustError:
            return False
        except SpecError as e:
            raise TrustError(f"the policy's key {key} cannot be used: {e}") from e
        return True

    def _stranger(self, place: PlaceName, candidate: Candidate) -> Verdict:
        """Say whose signature it is when no key of the rule made it."""
        if candidate.form == "host":
            reason, hint = self._why_not_host(place)
            return _bad(place, candidate, reason, hint=hint)
        for scope in self.policy.scopes.values():
            for key in scope.keys:
                if self._verifies(key, candidate):
                    told = f"is by {key}, which is trusted for {scope.name} and not here"
                    return _bad(place, candidate, told, key=key)
        if self.own and self._verifies(Key(name="your own key", pem=self.own.pem), candidate):
            told = f"is by your own key ({self.own.location}), which no rule trusts here"
            hint = _add(self.origin, self.scope, self.own.location)
            return _bad(place, candidate, told, hint=hint)
        if candidate.hint:
            claimed = f"is by an unknown key; it claims SHA256:{candidate.hint[:64]}"
            return _bad(place, candidate, claimed)
        return _bad(place, candidate, "is by an unknown key, or damaged")

    def _why_not_host(self, place: PlaceName) -> tuple[str, str | None]:
        if self.origin.kind not in _BUILT_HERE:
            return "does not count: an archive, a URL or stdin is never built here", None
        if self.scope and not self.scope.host:
            told = f"is of this host, which the rule {self.scope.name} does not list"
            return told, _signed_or_host(self.origin, self.scope)
        if place != "user" or self.invoker is None:
            return "is not by the key of this host", None
        trust = f"sudo bpfpack trust add --local-builds {self.invoker.name}"
        if (builder := self.policy.local_builders.get(self.invoker.uid)) is None:
            return f"is of {self.invoker.name}, whose builds do not count for root", trust
        again = f"sudo bpfpack trust rm --local-builds {self.invoker.name}\n{trust}"
        return f"is not by the key of {builder} that the policy has", again

    def _check_name(self, claims: Claims) -> None:
        wanted, scope = self.origin.reference, self.scope
        if scope is None:
            raise _Refused("no rule covers it")
        if wanted is None:
            _check_prefix(claims, scope)
            return
        if claims.reference is None:
            if not scope.unnamed:
                raise _Refused("names no reference", _unnamed_hint(scope))
            return
        if fold_host(claims.reference.name) not in scope.expected_names(wanted):
            raise _Refused(
                f"was made for {claims.reference}, not for {wanted}",
                f"when it is a copy you want: bpfpack trust add {_scope_for(self.origin)} "
                f"--key x.pub --signed-as {_parent(claims.reference.name)}",
            )
        # By digest the tag does not matter: no tag was trusted to lead here.
        if wanted.digest is not None or wanted.tag is None:
            return
        if claims.reference.tag is None and not scope.unnamed:
            raise _Refused("names no tag", _unnamed_hint(scope))
        if claims.reference.tag not in (None, wanted.tag):
            raise _Refused(
                f"was made for {claims.reference}, not for the tag {wanted.tag}",
                f"its owner signs it under this tag too: bpfpack sign {wanted}",
            )

    def _check_times(self, claims: Claims) -> None:
        again = f"its owner signs it again: bpfpack sign {self.origin}"
        if claims.expires is not None and self.now >= claims.expires:
            raise _Refused(f"expired on {signature.format_time(claims.expires)}", again)
        created = claims.created
        if created is not None and created - self.now > CLOCK_SKEW:
            raise _Refused(
                f"was made in the future, on {signature.format_time(created)}",
                "set the clock of this host, or of the signer's",
            )
        limit = self.scope.max_age if self.scope else None
        if limit is not None and (created is None or self.now - created > limit):
            told = "is older than max_age allows" if created else "says no time; max_age is set"
            raise _Refused(told, again)
        self._check_rollback(claims)

    def _check_version(self) -> None:
        if self.passed is not None:
            raise _Refused(f"is of a version below {self.passed}, which this host accepted")

    def _check_rollback(self, claims: Claims) -> None:
        if self.newest is None or self.newest.digest in self.digests:
            return
        if claims.created is not None and claims.created >= self.newest.created:
            return
        than = signature.format_time(self.newest.created)
        told = (
            f"of {signature.format_time(claims.created)} is older than the one of {than}"
            if claims.created
            else f"says no time, and there is one of {than}"
        )
        raise _Refused(
            f"{told} accepted before for {self.newest.tag}",
            f"if you mean to go back: bpfpack run --allow-downgrade {self.origin}",
        )


def _bad(
    place: PlaceName,
    candidate: Candidate,
    reason: str,
    *,
    key: Key | None = None,
    claims: Claims | None = None,
    hint: str | None = None,
) -> Verdict:
    return Verdict(
        place=place,
        candidate=candidate,
        good=False,
        reason=reason,
        key=key,
        claims=claims,
        hint=hint,
    )


def _read(candidate: Candidate, digests: tuple[Digest, ...]) -> Claims:
    try:
        return signature.claims(candidate, digests)
    except SpecError as e:
        raise _Refused(f"cannot count: {e}") from e


def _check_window(key: Key, now: datetime) -> None:
    if key.not_before and now < key.not_before:
        begins = signature.format_time(key.not_before)
        raise _Refused(f"is by {key}, which is not valid before {begins}")
    if key.not_after and now >= key.not_after:
        ended = signature.format_time(key.not_after)
        raise _Refused(f"is by {key}, which is not valid since {ended}")


def _check_prefix(claims: Claims, scope: Scope) -> None:
    """Without a reference to check, names inside are for display, unless the rule limits them."""
    if scope.signed_as is None:
        return
    name = fold_host(claims.reference.name) if claims.reference else None
    if name != scope.signed_as and not (name or "").startswith(f"{scope.signed_as}/"):
        raise _Refused(f"was made for {claims.reference or 'no name'}, not for {scope.signed_as}")


def _passed(origin: Origin, marks: Marks) -> str | None:
    """The highest version that this host accepted, when one that nobody typed is below it.

    ``latest`` says no version: the newest signature holds it back.
    """
    reference = origin.reference
    if not origin.implicit or reference is None or reference.is_bare:
        return None
    if reference.tag is None or not is_release(reference.tag):
        return None
    return above(reference.tag, marks.tags(fold_host(reference.name)))


def _newest(evidence: Evidence, marks: Marks) -> Mark | None:
    reference = evidence.origin.reference
    if reference is None or reference.tag is None or reference.digest is not None:
        return None
    name = fold_host(reference.name)
    implicit = evidence.origin.implicit and reference.tag == "latest"
    if implicit and not _is_highest(evidence, marks.tags(name)):
        # Where 2.0 ran, an old `latest` that was once signed is no less of a step back.
        return marks.newest(name)
    return marks.newest(name, reference.tag)


def _is_highest(evidence: Evidence, accepted: tuple[str, ...]) -> bool:
    """Say whether the package is of no lower version than any that this host accepted.

    Then an older branch, whose releases were signed later, holds nothing back.
    """
    version = evidence.manifest.annotations.get(mediatypes.VERSION, "")
    return is_release(version) and above(version, accepted) is None


def _refusal(
    evidence: Evidence, scope: Scope | None, verdicts: tuple[Verdict, ...], passed: str | None
) -> tuple[str, str | None]:
    """Say in one line why nothing sufficed, and what to type next."""
    origin = evidence.origin
    if passed is not None and origin.reference is not None:
        name, tag = origin.reference.name, origin.reference.tag
        return (
            f"{name}: {tag} is the newest to be had, but this host has accepted {passed}",
            f"name a tag, or allow it with --allow-downgrade ({origin.reference})",
        )
    unseen = "; ".join(f"{p.name}: {p.reason}" for p in evidence.places if p.state == "failed")
    told = [v for v in verdicts if v.candidate.form != "host"] or list(verdicts)
    best = max(told, key=_how_close, default=None)
    if best is not None:
        rule = "" if scope else "no rule covers it; "
        text = f"{origin} is refused: {rule}its signature {_by(best)}{best.reason}"
        if unseen:
            text += f"; could not look everywhere ({unseen})"
        return text, best.hint or _what_helps(origin, scope, best)
    if unseen:
        return (
            f"could not look for signatures of {origin}: {unseen}",
            "try again: nobody knows yet whether it is signed",
        )
    faults = [fault for place in evidence.places for fault in place.faults]
    if faults:
        return f"{origin} has no usable signature: {faults[0]}", _owner_signs(origin)
    return _unsigned(origin, scope)


def _what_helps(origin: Origin, scope: Scope | None, best: Verdict) -> str | None:
    if best.claims is not None:
        return None
    # A key that is trusted helps only where a key signed.
    return _unsigned(origin, scope)[1] if best.candidate.form == "host" else _add(origin, scope)


def _unsigned(origin: Origin, scope: Scope | None) -> tuple[str, str | None]:
    if scope is not None:
        return f"{origin} is not signed, and the rule {scope} asks for it", _owner_signs(origin)
    if not _can_be_covered(origin):
        return f"{origin} is not signed, and was not built on this host", _add(origin, scope)
    return (
        f"{origin} is not signed, and no rule covers it",
        f"{_owner_signs(origin)}; then here: {_add(origin, scope)}",
    )


def _owner_signs(origin: Origin) -> str:
    if origin.reference is None:
        return "its owner signs it before saving it"
    return f"its owner signs it: bpfpack sign {origin}"


def _signed_or_host(origin: Origin, scope: Scope) -> str | None:
    """The commands after which what was built here satisfies a rule that does not list it."""
    sign = None if origin.reference is None else f"bpfpack sign {origin}"
    host = None if scope.name == ONLY_KEY else f"bpfpack trust add {scope.name} --host"
    if sign and host:
        return f"{sign}\nor, for all that is built here: {host}"
    return sign or host


def _add(origin: Origin, scope: Scope | None, key: str = "x.pub") -> str | None:
    """The command that would cover it, or why there is none."""
    if scope is None and not _can_be_covered(origin):
        if origin.reference is None:
            return None
        return f"only what was built here runs as {origin}; use the full name, with its registry"
    if scope is not None and scope.name == ONLY_KEY:  # no rule, and nothing to add to
        return None
    return f"bpfpack trust add {scope.name if scope else _scope_for(origin)} --key {key}"


def _by(verdict: Verdict) -> str:
    return f"by {verdict.key} " if verdict.key and verdict.claims else ""


def _how_close(verdict: Verdict) -> int:
    """Order refusals so that the one that is nearest to acceptance is told."""
    named = verdict.key is not None or verdict.hint is not None
    return 2 * (verdict.claims is not None) + named


def _can_be_covered(origin: Origin) -> bool:
    if origin.reference is not None:
        return not origin.reference.is_bare
    return origin.kind != "source"


def _unnamed_hint(scope: Scope) -> str:
    return f"when that is meant: bpfpack trust add {scope.name} --key x.pub --unnamed"


def _scope_for(origin: Origin) -> str:
    """The scope that a user most likely wants to trust a key for."""
    if origin.reference is not None:
        return _parent(origin.reference.name)
    if origin.kind == "https":
        return origin.location.split("?")[0].rpartition("/")[0]
    return "stdin:" if origin.kind == "stdin" else "file:"


def _parent(name: str) -> str:
    parent = name.rpartition("/")[0]
    return parent if "/" in parent else name

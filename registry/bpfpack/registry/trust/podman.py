"""Reads podman's policy.json and turns into rules what means the same here.

Source: containers-policy.json(5).  What has no equal meaning is left out and reported, never
approximated towards more trust.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from bpfpack.registry.trust.policyfile import NewRule
from bpfpack.spec import fields, strictjson
from bpfpack.spec.errors import BpfpackError, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.policy import Key, canonical_scope
from bpfpack.spec.value import valuetype

_KEY_FIELDS: Final = ("keyPath", "keyPaths", "keyData", "keyDatas")
_IDENTITY_FIELDS: Final = ("type", "prefix", "signedPrefix")


@valuetype
class Imported:
    """Rules to add, and the scopes that were left out, each with the reason."""

    rules: tuple[NewRule, ...]
    skipped: tuple[tuple[str, str], ...]


class _Skip(Exception):
    """Why a scope is left out; never leaves this module."""


def import_policy(data: bytes, read: Callable[[str], str]) -> Imported:
    """Read a policy.json; ``read`` returns the PEM at a path.  Raises SpecError.

    Of the ``docker`` transport, every ``sigstoreSigned`` scope with keys is taken.
    """
    document = strictjson.loads_object(data, LIMITS.policy)
    fields.only(document, "default", "transports")
    fields.required(document, "default")
    rules: list[NewRule] = []
    skipped = [("default", "the default here is always to refuse")]
    with fields.inside("transports"):
        transports = fields.mapping(document, "transports")
        skipped += [(name, "not the docker transport") for name in transports if name != "docker"]
        docker = fields.mapping(transports, "docker")
        for scope in docker:
            with fields.inside("docker"):
                requirements = fields.objects(docker, scope, most=64, parse=dict)
            try:
                rules += _rules(scope, requirements, read)
            except (_Skip, BpfpackError) as e:
                skipped.append((scope or "(all of docker)", str(e)))
    return Imported(rules=tuple(rules), skipped=tuple(skipped))


def _rules(
    scope: str, requirements: tuple[dict[str, Any], ...], read: Callable[[str], str]
) -> Iterator[NewRule]:
    if not scope:
        raise _Skip("a rule for every registry has no counterpart")
    if len(requirements) != 1 or requirements[0].get("type") != "sigstoreSigned":
        kinds = ", ".join(str(r.get("type"))[:40] for r in requirements) or "nothing"
        raise _Skip(f"requires {kinds}, not one sigstoreSigned")
    requirement = requirements[0]
    fields.only(requirement, "type", "signedIdentity", *_KEY_FIELDS)
    pems = tuple(_pems(requirement, read))
    identity = _identity(fields.mapping(requirement, "signedIdentity"), scope)
    name = canonical_scope(scope)
    return (
        NewRule(
            scope=name,
            key=Key(name=f"podman-{i + 1}", pem=pem),
            signed_as=identity[0],
            unnamed=identity[1],
        )
        for i, pem in enumerate(pems)
    )


def _pems(requirement: Mapping[str, Any], read: Callable[[str], str]) -> Iterator[str]:
    given = [field for field in _KEY_FIELDS if field in requirement]
    if len(given) != 1:
        raise _Skip("not exactly one kind of key")
    field = given[0]
    if field.endswith("s"):
        values: tuple[str, ...] = fields.strings(requirement, field, most=LIMITS.policy_keys)
    else:
        values = (fields.string(requirement, field),)
    if not values:
        raise _Skip("no keys")
    for value in values:
        yield read(value) if field.startswith("keyPath") else _decoded(value)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, ValueError) as e:
        raise SpecError("not base64 of a PEM key") from e


def _identity(data: Mapping[str, Any], scope: str) -> tuple[str | None, bool | None]:
    """Return ``signed_as`` and ``unnamed`` for a signedIdentity."""
    kind = data.get("type", "matchRepoDigestOrExact")
    if kind == "matchRepoDigestOrExact" or kind == "matchExact":
        return None, None
    if kind == "matchRepository":
        return None, True
    if kind == "remapIdentity" and data.get("prefix") == scope:
        fields.only(data, *_IDENTITY_FIELDS)
        return fields.string(data, "signedPrefix"), None
    raise _Skip(f"signedIdentity {str(kind)[:40]} has no counterpart")

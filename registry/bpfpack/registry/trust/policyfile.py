"""policy.toml on the disk: read strictly, written so that comments survive.

The user's file and the system's are read together: the system's may forbid user rules, or
add to them, and wins where both have a rule for one scope.  A file that is there and cannot be
used denies everything, with the reason; it is never taken for a missing one.
"""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from bpfpack.registry.owned import OwnedDir
from bpfpack.spec.errors import NotFound, SpecError, StoreError, TrustError, UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.policy import (
    LOCAL_BUILDS,
    VERSION,
    Key,
    LocalBuilder,
    Policy,
    Scope,
    canonical_scope,
)
from bpfpack.spec.value import replace, valuetype

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import AoT, String, Table

NAME: Final = "policy.toml"
#: The system's directory, also for users that have their own rules.
SYSTEM: Final = Path("/etc/bpfpack")

_HEADER: Final = (
    "Which keys may sign for which references; `bpfpack trust` writes here too.\n"
    "Nothing that no rule covers may run, except what was built on this host."
)


@valuetype
class NewRule:
    """What `trust add` was told about a scope; None leaves what is there."""

    scope: str
    key: Key | None = None
    host: bool = False
    signed_as: str | None = None
    unnamed: bool | None = None
    level: str | None = None
    max_age: str | None = None


def load(config: Path, system: Path = SYSTEM) -> Policy:
    """Return the policy in force for who has ``config`` as configuration directory.

    Never raises for what is on the disk: a policy that cannot be read denies everything.
    """
    ours = _load_one(config)
    return ours if config == system else ours.below(_load_one(system))


def read(config: Path) -> Policy:
    """Return the one policy of a directory, empty when missing.

    Raises TrustError when it cannot be used.
    """
    policy = _load_one(config)
    if policy.problem:
        raise TrustError(policy.problem)
    return policy


def add(config: Path, rule: NewRule) -> Scope:
    """Add to the rule of a scope, or make one; return the rule as it is now.

    A key that is there already stays as it is, and what else is told changes the rule.
    Raises SpecError for a bad scope or key, UsageError for a new rule without a key and for
    another key of the same name, TrustError when the file cannot be used, StoreError when it
    cannot be written.
    """
    name = canonical_scope(rule.scope)
    with _edit(config) as document:
        held = read(config).scopes.get(name)
        if held is None and rule.key is None and not rule.host:
            raise UsageError("a new rule needs a key, or the key of this host").with_hint(
                f"bpfpack trust add {name} --key x.pub"
            )
        _apply(_table(document, name), _without_known(rule, held) if held else rule)
    return read(config).scopes[name]


def remove(config: Path, scope: str, key: str | None = None) -> None:
    """Remove a rule, or one key of it by name or fingerprint.

    The last key takes the rule with it.  Raises NotFound, and as `add` does.
    """
    name = canonical_scope(scope)
    held = read(config).scopes.get(name)
    if held is None:
        raise NotFound(f"no rule for {name}").with_hint("bpfpack trust ls shows the rules")
    with _edit(config) as document:
        spelled, table = _spelled(document, name)
        if key is not None:
            _drop_key(table, held, key)
        if key is None or not table["keys"]:
            del cast("Table", document["scopes"])[spelled]


def add_builder(config: Path, builder: LocalBuilder) -> None:
    """Let the builds of a user count as built here; raises as `add` does."""
    import tomlkit

    if builder.uid in read(config).local_builders:
        raise UsageError(f"the builds of {builder} count already").with_hint(
            f"bpfpack trust rm --local-builds {builder.name} forgets their key"
        )
    entry = tomlkit.table()
    entry.add("uid", builder.uid)
    entry.add("user", builder.name)
    entry.add("pem", _multiline(builder.pem))
    with _edit(config) as document:
        builders = cast("AoT", document.pop(LOCAL_BUILDS, tomlkit.aot()))
        builders.append(entry)
        document[LOCAL_BUILDS] = builders


def remove_builder(config: Path, wanted: str) -> LocalBuilder:
    """Remove a user by name or number and return what was there; raises as `remove` does."""
    held = read(config).local_builders.values()
    found = next((b for b in held if wanted in (b.name, str(b.uid))), None)
    if found is None:
        raise NotFound(f"the builds of {wanted[:80]!r} do not count").with_hint(
            "bpfpack trust ls shows whose do"
        )
    with _edit(config) as document:
        entries = cast("AoT", document[LOCAL_BUILDS])
        del entries[[int(entry["uid"]) for entry in entries].index(found.uid)]
        if not entries:
            del document[LOCAL_BUILDS]
    return found


def _load_one(config: Path) -> Policy:
    path = config / NAME
    try:
        data = _bytes(config)
        return Policy() if data is None else Policy.from_dict(_parse(data), source=str(path))
    except StoreError as e:
        return Policy.deny_all(f"{e}" + (f" ({e.hint})" if e.hint else ""))
    except SpecError as e:
        return Policy.deny_all(f"{path}: {e}")


def _bytes(config: Path) -> bytes | None:
    directory = OwnedDir.find(config)
    if directory is None:
        return None
    with directory:
        return directory.read(NAME, LIMITS.policy)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as e:
        raise SpecError(f"not UTF-8 at byte {e.start}") from e
    except ValueError as e:  # TOMLDecodeError, and an integer of too many digits
        raise SpecError(f"not TOML: {e}") from e
    except RecursionError as e:
        raise SpecError("not TOML: nested too deeply") from e


@contextmanager
def _edit(config: Path) -> Iterator["TOMLDocument"]:
    """Give the document to change; written whole, when the result is a policy, or not at all."""
    import tomlkit

    with (
        OwnedDir.open(config, create=True) as directory,
        directory.locked("policy.lock", exclusive=True),
    ):
        read(config)
        data = directory.read(NAME, LIMITS.policy)
        document = tomlkit.parse(data.decode()) if data is not None else _fresh()
        yield document
        text = tomlkit.dumps(document).encode()
        Policy.from_dict(_parse(text), source=str(config / NAME))
        directory.write(NAME, text)


def _fresh() -> "TOMLDocument":
    import tomlkit

    document = tomlkit.document()
    for line in _HEADER.splitlines():
        document.add(tomlkit.comment(line))
    document.add("version", tomlkit.item(VERSION))
    document.add("scopes", tomlkit.table(is_super_table=True))
    return document


def _spelled(document: "TOMLDocument", name: str) -> tuple[str, "Table"]:
    """Return the table of a scope however the user spelled it."""
    scopes = cast("Table", document.get("scopes", {}))
    for spelled in scopes:
        if canonical_scope(str(spelled)) == name:
            return str(spelled), cast("Table", scopes[spelled])
    raise NotFound(f"no rule for {name}")


def _table(document: "TOMLDocument", name: str) -> "Table":
    import tomlkit

    try:
        return _spelled(document, name)[1]
    except NotFound:
        if "scopes" not in document:
            document.add("scopes", tomlkit.table(is_super_table=True))
        table = tomlkit.table()
        cast("Table", document["scopes"]).add(name, table)
        return table


def _without_known(rule: NewRule, held: Scope) -> NewRule:
    """Leave out of a rule what the held one lists, whatever it is called there."""
    key = rule.key
    if key is not None:
        same = next((k for k in held.keys if k.fingerprint == key.fingerprint), None)
        if same is None and any(k.name == key.name for k in held.keys):
            raise UsageError(f"another key of {held.name} is called {key.name!r}").with_hint(
                "--name calls this one something else"
            )
        if same is not None and (key.not_before, key.not_after) in (
            (None, None),
            (same.not_before, same.not_after),
        ):
            key = None
    return replace(rule, key=key, host=rule.host and not held.host)


def _apply(table: "Table", rule: NewRule) -> None:
    import tomlkit

    plain = {
        "signed_as": rule.signed_as,
        "unnamed": rule.unnamed,
        "level": rule.level,
        "max_age": rule.max_age,
    }
    keys = cast("AoT", table.get("keys", tomlkit.aot()))
    for entry in _entries(rule):
        keys.append(entry)
    if "keys" in table:
        del table["keys"]
    for name, value in plain.items():
        if value is not None:
            table[name] = value
    table["keys"] = keys


def _entries(rule: NewRule) -> Iterator["Table"]:
    import tomlkit

    if rule.key is not None:
        entry = tomlkit.table()
        entry.add("name", rule.key.name)
        for field, moment in (
            ("not_before", rule.key.not_before),
            ("not_after", rule.key.not_after),
        ):
            if isinstance(moment, datetime):
                entry.add(field, tomlkit.item(moment))
        entry.add("pem", _multiline(rule.key.pem))
        yield entry
    if rule.host:
        entry = tomlkit.table()
        entry.add("host", tomlkit.item(True))
        yield entry


def _multiline(pem: str) -> "String":
    import tomlkit

    # TOML drops a newline right after the quotes.
    return tomlkit.string(f"\n{pem.strip()}\n", multiline=True)


def _drop_key(table: "Table", held: Scope, wanted: str) -> None:
    keys = cast("AoT", table["keys"])
    for i, entry in enumerate(keys):
        if wanted == "host" and "host" in entry:
            del keys[i]
            return
        if "pem" in entry and _is_key(entry, wanted):
            del keys[i]
            return
    raise NotFound(f"no key {wanted[:80]!r} in the rule for {held.name}")


def _is_key(entry: Any, wanted: str) -> bool:
    fingerprint = wanted.removeprefix("SHA256:").lower()
    key = Key(name=str(entry["name"]), pem=str(entry["pem"]))
    return key.name == wanted or (len(fingerprint) >= 8 and key.fingerprint.startswith(fingerprint))

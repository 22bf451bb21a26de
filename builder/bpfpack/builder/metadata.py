"""The config of a package, made of what the object is and what its author says."""

from collections.abc import Mapping

from bpfpack.builder.diagnosis import Diagnosis
from bpfpack.builder.displays import Displays
from bpfpack.builder.outputs import make_outputs, shown_types, silent_buffers
from bpfpack.builder.params import make_params
from bpfpack.builder.tags import TagError, output_tags, read_tags
from bpfpack.builder.toolchain import architecture
from bpfpack.builder.words import Said, Words, over
from bpfpack.spec.agreement import check_config
from bpfpack.spec.btf import Struct
from bpfpack.spec.config import Config, Map, Output, Program, Requirements
from bpfpack.spec.displays import FieldDisplay
from bpfpack.spec.errors import BuildError, SpecError, UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.value import valuetype

# Registers of a function probe lie elsewhere on each architecture.
_REGISTERS = ("pt_regs", "user_pt_regs")


@valuetype
class Metadata:
    """A config and what is doubtful about it."""

    config: Config
    warnings: tuple[str, ...] = ()


def make_metadata(
    spec: ObjectSpec, diagnosis: Diagnosis, *, name: str, architecture_: str | None = None
) -> Metadata:
    """Return the config of an object; raises BuildError.

    ``name`` is for a package that does not say its own; ``architecture_`` what the object
    was compiled for, which is kept only where the object depends on it.
    """
    if spec.license is None:
        raise BuildError(
            f"{diagnosis.subject} has no licence, without which no kernel loads it"
        ).with_hint('add to the source: char LICENSE[] SEC("license") = "GPL";')
    if not spec.programs:
        raise BuildError(f"{diagnosis.subject} has no program, so nothing can be loaded").with_hint(
            'add one to the source: SEC("raw_tp/sys_enter") int on_call(void *ctx) { return 0; }'
        )
    try:
        tags = read_tags(spec)
    except TagError as e:
        raise diagnosis.error(e) from e
    said = _merged(tags, diagnosis.release.said)
    outputs = make_outputs(spec, said.outputs, diagnosis)
    config = _config(
        said.package,
        diagnosis,
        name=name,
        programs=_programs(spec, said.programs, diagnosis),
        maps=_maps(spec),
        params=make_params(spec, said.params, diagnosis),
        outputs=outputs,
        fields=_fields(spec, outputs, said, diagnosis),
        requirements=_requirements(spec, diagnosis, architecture_),
    )
    try:
        check_config(spec, config)
    except SpecError as e:
        raise _disagreement(e, config, diagnosis) from e
    return Metadata(config=config, warnings=_warnings(spec, said, diagnosis))


def _merged(tags: Said, toml: Said) -> Said:
    return Said(
        package={**tags.package, **toml.package},
        params=over(tags.params, toml.params),
        programs=over(tags.programs, toml.programs),
        outputs={
            name: _one_kind(tags.outputs.get(name, {}), toml.outputs.get(name, {}))
            for name in [*tags.outputs, *(n for n in toml.outputs if n not in tags.outputs)]
        },
        fields=toml.fields,
    )


def _one_kind(tags: Words, toml: Words) -> Words:
    """Merge an output; what TOML says of its kind takes the place of all that tags say."""
    kinds = {"type", "types", "by", "histogram", "step", "table", "stacks"}
    if kinds & set(toml):
        tags = {k: v for k, v in tags.items() if k not in kinds}
    return {**tags, **toml}


def _config(package: Words, diagnosis: Diagnosis, *, name: str, **parts: object) -> Config:
    """Return the config, the words on the package read as the config's own."""
    try:
        told = Config.from_dict(
            {
                "schemaVersion": 1,
                "name": name,
                **package,
                "requirements": {"byteOrder": "little"},
            }
        )
    except SpecError as e:
        raise diagnosis.error(SpecError(e.reason), told=e.path) from e
    found: dict[str, object] = {
        key: getattr(told, key)
        for key in ("name", "version", "description", "license", "authors", "homepage", "source")
    }
    return Config(**found, **parts)  # type: ignore[arg-type]  # each as Config declares it


def _programs(
    spec: ObjectSpec, said: Mapping[str, Words], diagnosis: Diagnosis
) -> tuple[Program, ...]:
    known = {p.name for p in spec.programs}
    for name in said:
        if name not in known:
            raise diagnosis.error(
                SpecError(f"no program {name!r} in the object"), told=("programs", name)
            )
    found = []
    for program in spec.programs:
        words = {"name": program.name, "section": program.section, **said.get(program.name, {})}
        if isinstance(words.get("attach"), str):
            words["attach"] = [words["attach"]]
        try:
            found.append(Program.from_dict(words))
        except SpecError as e:
            raise diagnosis.error(e, told=("programs", program.name), name=program.name) from e
    return tuple(found)


def _maps(spec: ObjectSpec) -> tuple[Map, ...]:
    return tuple(
        Map(
            name=m.name,
            type=m.type_name,
            key_size=m.key_size,
            value_size=m.value_size,
            max_entries=m.max_entries,
        )
        for m in spec.maps
    )


def _fields(
    spec: ObjectSpec, outputs: tuple[Output, ...], said: Said, diagnosis: Diagnosis
) -> dict[str, dict[str, FieldDisplay]]:
    if spec.btf is None:
        return {}
    displays = Displays(spec.btf, said.fields)
    try:
        for type_id in shown_types(spec, outputs):
            displays.add(type_id)
    except SpecError as e:
        raise diagnosis.error(e) from e
    if unused := sorted(displays.unused()):
        cause = SpecError(f"no output shows a type {unused[0]!r}")
        raise diagnosis.error(cause, told=("fields", unused[0]))
    return {
        name: {
            path: _display(words, diagnosis, ("fields", name, path))
            for path, words in members.items()
        }
        for name, members in displays.found.items()
    }


def _display(words: Words, diagnosis: Diagnosis, told: tuple[str, ...]) -> FieldDisplay:
    try:
        return FieldDisplay.from_dict(words)
    except SpecError as e:
        raise diagnosis.error(e, told=told, name=told[-1].rpartition(".")[2]) from e


def _requirements(
    spec: ObjectSpec, diagnosis: Diagnosis, architecture_: str | None
) -> Requirements:
    platforms = diagnosis.release.platforms
    try:
        named = tuple(dict.fromkeys(architecture(p).name for p in platforms))
    except UsageError as e:
        raise diagnosis.error(SpecError(str(e)), told=("build", "platforms")) from e
    uses_registers = spec.btf is not None and any(
        spec.btf.find(Struct, name) is not None for name in _REGISTERS
    )
    if not named and architecture_ is not None and uses_registers:
        named = (architecture_,)
    return Requirements(byte_order=spec.byte_order, architectures=named)


def _disagreement(cause: SpecError, config: Config, diagnosis: Diagnosis) -> BuildError:
    """Say where a program's target, or an output that cannot be shown, was described."""
    for i, program in enumerate(config.programs):
        if cause.path[:1] == (f"programs[{i}]",):
            seen = SpecError(cause.reason, path=cause.path[1:])
            return diagnosis.error(seen, told=("programs", program.name), name=program.name)
    for i, output in enumerate(config.outputs):
        if cause.path[:1] == (f"outputs[{i}]",):
            seen = SpecError(cause.reason, path=cause.path[1:])
            tags = output_tags(output.map)
            return diagnosis.error(seen, told=("outputs", output.name), tags=tags)
    return diagnosis.error(cause)


def _warnings(spec: ObjectSpec, said: Said, diagnosis: Diagnosis) -> tuple[str, ...]:
    return tuple(
        f"map {name!r} shows nothing: say what it carries with "
        f"BPFPACK_OUTPUT({name}, struct ...), or [outputs.{name}] in bpfpack.toml"
        for name in silent_buffers(spec, said.outputs)
    )

"""Every bound on input from outside, in one place, each with its source."""

from typing import Final

from bpfpack.spec.value import valuetype

KIB: Final = 1024
MIB: Final = 1024 * KIB


@valuetype
class Limits:
    """Bounds in bytes unless the name says otherwise."""

    # Distribution spec 1.1, "Pushing Manifests": registries SHOULD accept 4 MiB.
    manifest: int = 4 * MIB
    config: int = 1 * MIB
    object: int = 64 * MIB
    layer: int = 256 * MIB
    readme: int = 1 * MIB
    # All layers of a package together.
    package: int = 512 * MIB
    archive: int = 1024 * MIB
    archive_members: int = 4096
    archive_header: int = 64 * KIB
    # Times; objects and text stay below 20, deflate can reach 1032.
    archive_ratio: int = 200
    layers: int = 64
    annotations: int = 1024
    annotation_value: int = 64 * KIB
    index_children: int = 1000
    index_depth: int = 3

    json_depth: int = 64
    json_integer_digits: int = 20

    # Referrers of a signature's type, and layers of a `.sig` manifest, that are looked at in one
    # place; bytes of all of them together.  More than an attacker's 64 before the good one, each
    # as large as one may be.
    signature_candidates: int = 256
    signature_bytes: int = 16 * MIB
    signature_payload: int = 64 * KIB
    # The manifest of one bundle, of about 1 KiB, and that of a `.sig` tag, which lists them all.
    signature_referrer: int = 64 * KIB
    signature_manifest: int = 1 * MIB

    # A registry's error body is input too.
    error_body: int = 64 * KIB
    token_body: int = 256 * KIB
    listing_body: int = 4 * MIB
    # All pages of a listing together; 100,000 tags of the longest kind are 13 MiB.
    listing_pages: int = 1000
    listing_tags: int = 100_000
    listing_bytes: int = 32 * MIB
    listing_seconds: int = 300

    # Beginnings of downloads that broke off: the smallest blob worth it, and all together.
    partial_least: int = 1 * MIB
    partials: int = 512 * MIB

    policy: int = 1 * MIB
    policy_keys: int = 64
    key_file: int = 64 * KIB

    # The largest vmlinux .BTF seen is 7 MiB with 130 k types.
    btf: int = 64 * MIB
    btf_types: int = 1_000_000
    btf_members: int = 65535
    # libbpf, MAX_RESOLVE_DEPTH in btf.c.
    btf_resolve_depth: int = 32
    # The kernel, KSYM_NAME_LEN, doubled; help texts in tags are longer.
    elf_name: int = 1 * KIB
    btf_name: int = 4 * KIB
    # All names of one object together: overlapping ones can stand for any amount.
    btf_names: int = 64 * MIB
    btf_spelling: int = 256
    elf_sections: int = 65535
    elf_symbols: int = 100_000
    elf_relocations: int = 1_000_000
    # The kernel, include/linux/bpf.h and BPF_COMPLEXITY_LIMIT_INSNS.
    program_instructions: int = 1_000_000
    programs: int = 1024
    # Of one program.
    targets: int = 64
    functions: int = 4096
    # In the code of an object, and steps to follow those of all its programs.
    calls: int = 1_000_000
    maps: int = 1024
    variables: int = 16384
    params: int = 1024
    fields: int = 4096

    # An expression of --filter: characters, parentheses and nots inside each other, and values
    # that are compared with.  Keys that --unique remembers.
    filter_text: int = 4 * KIB
    filter_depth: int = 32
    filter_tests: int = 512
    unique_keys: int = 100_000
    # Windows: keys of one, others go into `_other`; names of --by and values of --show; bytes of a
    # key, of one text in it, and, on average, of what is kept for the quantiles of a field.
    window_keys: int = 10_000
    window_keys_named: int = 31
    window_shown: int = 64
    window_key: int = 1 * KIB
    window_text: int = 256
    window_sketch: int = 2 * KIB

    # A build: what a compiler may take and say, and what it is given.
    tool_seconds: int = 60
    tool_messages: int = 1 * MIB
    source: int = 64 * MIB
    source_files: int = 4096
    vmlinux_header: int = 32 * MIB
    # What a build in a container may take as a whole.
    container_seconds: int = 600
    container_memory: int = 2048 * MIB
    container_scratch: int = 512 * MIB
    container_processes: int = 256

    # Symbols or their names in a program that is probed: 200 MiB in an unstripped browser.
    # Names that are compared with one that is missing.
    symbol_table: int = 512 * MIB
    near_names: int = 256 * KIB
    # Stacks.  Kernels with debugging say 15 MiB; libLLVM has 90,000 functions, a browser with
    # its symbols 700,000: 20 bytes and a name for each, of all files together.
    kallsyms: int = 64 * MIB
    stack_symbols: int = 4_000_000
    stack_tables: int = 256 * MIB
    # Of one file, symbols or names; and of a run, for reading them all.
    stack_table: int = 128 * MIB
    stack_seconds: int = 60
    elf_section_names: int = 1 * MIB
    # The symbols that distributions leave in a program, packed and unpacked (.gnu_debugdata).
    debug_data: int = 16 * MIB
    debug_data_unpacked: int = 32 * MIB
    # A name of C++ or Rust as it is written, in characters; templates make 2,000 of them.
    demangled: int = 4096
    # Processes whose mappings are remembered, for how many programs that one of them ran, and
    # mappings: of one program as many as the kernel allows it (vm.max_map_count), and of all.
    stack_processes: int = 10_000
    stack_programs: int = 4
    process_mappings: int = 65_530
    stack_mappings: int = 100_000
    # Notes of one section, and a build ID of them: the kernel's BUILD_ID_SIZE_MAX.
    elf_notes: int = 64 * KIB
    build_id: int = 20
    # Names of code that a process made as it runs: those of a large Java program are 10 MiB.
    jit_map: int = 32 * MIB
    jit_functions: int = 500_000
    # What an iterator prints in one walk: a million open files, a line for each.
    iterator_text: int = 64 * MIB
    # ld.so.cache, 100 KiB on a large desktop; /proc/PID/maps of a process with 65530 mappings.
    library_cache: int = 16 * MIB
    process_maps: int = 16 * MIB
    # What outlives its descriptor: 300 bytes for each attachment; files in one directory.
    journal: int = 1 * MIB
    journal_entries: int = 2048
    journals: int = 4096
    # To one question, such as which filters an interface has.
    netlink_messages: int = 65536


LIMITS: Final = Limits()

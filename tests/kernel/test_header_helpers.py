"""The helpers of bpfpack.h in the kernel: exact losses and the right slots."""

import os
import struct
from pathlib import Path

import pytest

from bpfpack.runner.losses import LossCounter
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.exampleruns import attached, events, set_global
from tests.kit.objects import CLANGS, tool
from tests.kit.sources import built, object_of

pytestmark = pytest.mark.kernel

LOSING = """
struct event { __u64 sequence; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
BPFPACK_OUTPUT(events, struct event);
const volatile int me = 0;
const volatile bool whole = false;
static __u64 sequence;

SEC("tp_btf/sys_enter") int probe(void *ctx)
{
	struct event event = {.sequence = sequence}, *e;

	if (bpf_get_current_pid_tgid() >> 32 != me)
		return 0;
	for (int i = 0; i < 1000; i++) {
		event.sequence = sequence++;
		if (whole) {
			bpfpack_output(ctx, events, &event, sizeof(event));
			continue;
		}
		e = bpfpack_reserve(events, sizeof(*e));
		if (!e)
			continue;
		*e = event;
		bpfpack_submit(e);
	}
	return 0;
}
"""

COUNTING = """
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct bpfpack_slots);
} powers SEC(".maps");
BPFPACK_HISTOGRAM(powers);
struct few { __u32 slots[5]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct few);
} steps SEC(".maps");
BPFPACK_HISTOGRAM(steps, linear(10));
struct fine { __u32 slots[256]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fine);
} quarters SEC(".maps");
BPFPACK_HISTOGRAM(quarters, exponential(4));
const volatile int me = 0;
static bool done;

SEC("tp_btf/sys_enter") int probe(void *ctx)
{
	__u32 zero = 0;

	if (bpf_get_current_pid_tgid() >> 32 != me || done)
		return 0;
	done = true;
	bpfpack_count_log2(powers, &zero, 0);
	for (__u32 i = 0; i < 64; i++) {
		__u32 key = i;

		bpfpack_count_log2(powers, &zero, 1ULL << i);
		bpfpack_count_log2(powers, &zero, (1ULL << i) + ((1ULL << i) - 1));
		bpfpack_count_linear(steps, &zero, i, 10);
		bpfpack_count_exponential(quarters, &zero, i, 4);
		bpfpack_count_exponential(quarters, &zero, 7ULL << 61 >> (63 - i), 4);
		bpfpack_lookup_or_init(powers, &key, &__bpfpack_zero_powers);
	}
	return 0;
}
"""


@pytest.mark.parametrize("clang", CLANGS)
@pytest.mark.parametrize("whole", [0, 1])
def test_what_is_lost_is_counted(clang: str, whole: int, tmp_path: Path) -> None:
    tool(clang)
    result = built(tmp_path, LOSING, clang=clang)
    spec = ObjectSpec.from_bytes(object_of(result))
    values = {**set_global(result, "me", os.getpid()), **set_global(result, "whole", whole)}
    with attached(result, **values) as session:
        os.getpgid(0)
        session.detach()
        # .bss holds the program's own count of tries, first or second of two.
        (tries,) = [v for v in spec.variables if v.name == "sequence"]
        bss = session.map(".bss").lookup(bytes(4))
        assert bss is not None
        tried = int.from_bytes(bss[tries.offset : tries.offset + 8], spec.byte_order)
        counter = LossCounter.of(spec, "events", session.map)
        assert counter is not None
        lost, seen = counter.read(), len(events(session, result))
    assert seen and lost and tried
    assert seen + lost == tried


@pytest.mark.parametrize("clang", CLANGS)
def test_every_value_finds_its_slot(clang: str, tmp_path: Path) -> None:
    tool(clang)
    result = built(tmp_path, COUNTING, clang=clang)
    spec = ObjectSpec.from_bytes(object_of(result))
    scales = {o.name: (o.scale, o.step) for o in result.config.outputs}
    assert scales == {
        "powers": ("log2", None),
        "steps": ("linear", 10),
        "quarters": ("exponential", 4),
    }
    with attached(result, **set_global(result, "me", os.getpid())) as session:
        os.getpgid(0)
        powers = session.map("powers").lookup(bytes(4))
        steps = session.map("steps").lookup(bytes(4))
        quarters = session.map("quarters").lookup(bytes(4))
        counter = LossCounter.of(spec, "powers", session.map)
        assert quarters is not None
        assert powers is not None and steps is not None and counter is not None
        # Two keys fit; the other 62 were refused, one by one.
        assert counter.read() == 62
    # 2^i and 2^(i+1)-1 share slot i; 0 and 1 are both in the first.
    assert struct.unpack("=64Q", powers) == (3, *[2] * 63)
    expected = [0] * 256
    for value in (*range(64), *(7 << 61 >> (63 - i) & 2**64 - 1 for i in range(64))):
        (slot,) = (i for i in range(252) if _quarter(i)[0] <= value <= _quarter(i)[1])
        expected[slot] += 1
    assert list(struct.unpack("=256I", quarters)) == expected
    # 0 to 63 in tens, all from 40 on in the last.
    assert struct.unpack("=5I", steps) == (10, 10, 10, 10, 24)


def _quarter(slot: int) -> tuple[int, int]:
    """The values of an exponential slot, four of which a power of two has."""
    n = max(0, slot // 4 - 1)
    return (slot - n * 4) << n, ((slot - n * 4 + 1) << n) - 1

"""XDP on an interface of a network namespace of our own, counting real frames."""

from collections.abc import Iterator

import pytest

from bpfpack.spec.config import Program
from bpfpack.spec.errors import Unsupported, UsageError
from tests.kit.kernelobjects import count, descriptors, eventually, in_kernel, opened, prepared
from tests.kit.network import network, send
from tests.kit.objects import run, tool

pytestmark = pytest.mark.kernel

FRAMES = """
u64 count;
SEC("xdp") int frames(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 14 <= end && data[12] == 0x88 && data[13] == 0xb5)
        __sync_fetch_and_add(&count, 1);
    return XDP_PASS;
}
"""


@pytest.fixture(autouse=True)
def cable() -> Iterator[None]:
    with network():
        yield


def _mode(interface: str) -> str:
    return run(tool("ip"), "-d", "link", "show", "dev", interface)


@pytest.mark.parametrize(
    ("target", "mode"),
    [("end0", " xdp "), ("end0:native", " xdp "), ("end0:generic", " xdpgeneric ")],
)
def test_frames_are_counted_in_every_mode(target: str, mode: str) -> None:
    with opened(FRAMES, attach=(target,)) as session:
        session.attach()
        assert mode in _mode("end0")
        send("end1", 5)
        assert eventually(lambda: count(session) == 5)
        session.detach()
        assert eventually(lambda: "xdp" not in _mode("end0"))
        send("end1", 5)
        assert count(session) == 5


@pytest.mark.parametrize("section", ["xdp.frags", "xdp/label"])
def test_other_spellings_of_the_section(section: str) -> None:
    with opened(FRAMES.replace('"xdp"', f'"{section}"'), attach=("end0",)) as session:
        session.attach()
        send("end1", 2)
        assert eventually(lambda: count(session) == 2)


def test_two_interfaces_for_one_program() -> None:
    with opened(FRAMES, attach=("frames=end0", "frames=end1:generic")) as session:
        session.attach()
        send("end1", 2)
        send("end0", 3)
        assert eventually(lambda: count(session) == 5)


def test_loopback_without_a_driver_s_mode() -> None:
    with opened(FRAMES, attach=("lo",)) as session:
        session.attach()
        assert "xdpgeneric" in _mode("lo")
        send("lo", 3)
        assert eventually(lambda: count(session) == 3)


def test_what_another_has_there_stays() -> None:
    with opened(FRAMES, attach=("end0",)) as first:
        first.attach()
        with opened(FRAMES, attach=("end0",)) as second:
            with pytest.raises(Unsupported, match="another XDP program") as caught:
                second.attach()
            assert "ip link show" in (caught.value.hint or "")
        send("end1", 1)
        assert eventually(lambda: count(first) == 1)


def test_a_driver_without_a_native_mode_is_told_apart() -> None:
    with opened(FRAMES, attach=("lo:native",)) as session:
        with pytest.raises(Unsupported, match="driver takes no XDP program") as caught:
            session.attach()
        assert "lo:generic" in (caught.value.hint or "")


def test_without_a_target_the_option_is_named() -> None:
    with pytest.raises(UsageError, match="no target") as caught:
        prepared(FRAMES)
    assert "--attach frames=INTERFACE[:native|:generic]" in (caught.value.hint or "")


def test_an_optional_program_without_a_target_is_left_out() -> None:
    source = FRAMES + 'SEC("raw_tp/sys_enter") int always(void *ctx) { return 0; }'
    programs = (Program(name="frames", section="xdp", optional=True),)
    _, made = prepared(source, programs=programs)
    assert [p.name for p in made.loaded] == ["always"]


@pytest.mark.parametrize(
    ("target", "told", "cure"),
    [
        ("end9", "there is no interface 'end9'", "end0"),
        ("end0:fast", "not of the form", "INTERFACE"),
        ("", "not a line", "INTERFACE"),
        ("end0 ", "not of the form", "INTERFACE"),
    ],
)
def test_a_wrong_target_is_told_before_anything_is_loaded(
    target: str, told: str, cure: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        prepared(FRAMES, attach=(target,))
    assert cure in (caught.value.hint or "")


def test_nothing_is_left_behind() -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(FRAMES, attach=("end0", "end1")) as session:
        session.attach()
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)

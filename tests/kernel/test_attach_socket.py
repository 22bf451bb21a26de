"""Socket filters on a packet socket of the session's own."""

from collections.abc import Iterator

import pytest

from bpfpack.spec.errors import UsageError
from tests.kit.kernelobjects import count, descriptors, eventually, in_kernel, opened, prepared
from tests.kit.network import network, send

pytestmark = pytest.mark.kernel

FRAMES = """
u64 count;
SEC("socket") int frames(struct __sk_buff *skb)
{
    if (skb->protocol == __builtin_bswap16(0x88b5)) __sync_fetch_and_add(&count, 1);
    return KEPT;
}
"""


@pytest.fixture(autouse=True)
def cable() -> Iterator[None]:
    with network():
        yield


@pytest.mark.parametrize("kept", ["0", "-1"], ids=["dropped", "kept"])
def test_frames_are_counted_whether_they_are_kept_or_not(kept: str) -> None:
    with opened(FRAMES.replace("KEPT", kept), attach=("end0",)) as session:
        session.attach()
        send("end1", 500)
        assert eventually(lambda: count(session) == 500)
        session.detach()
        send("end1", 5)
        assert count(session) == 500


def test_loopback_shows_each_frame_twice() -> None:
    with opened(FRAMES.replace("KEPT", "0"), attach=("lo",)) as session:
        session.attach()
        send("lo", 4)
        assert eventually(lambda: count(session) == 8)


def test_a_wrong_interface_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="no interface 'end9'"):
        prepared(FRAMES.replace("KEPT", "0"), attach=("end9",))


def test_nothing_is_left_behind() -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(FRAMES.replace("KEPT", "0"), attach=("end0", "end1")) as session:
        session.attach()
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)

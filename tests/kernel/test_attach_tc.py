"""tc by tcx links, in both directions, counting real frames."""

from collections.abc import Iterator

import pytest

from bpfpack.spec.errors import UsageError
from tests.kit.kernelobjects import count, descriptors, eventually, in_kernel, opened, prepared
from tests.kit.network import network, send
from tests.kit.objects import run, tool

pytestmark = pytest.mark.kernel

FRAMES = """
u64 count;
static int one(struct __sk_buff *skb)
{
    if (skb->protocol == __builtin_bswap16(0x88b5)) __sync_fetch_and_add(&count, 1);
    return -1; /* TCX_NEXT, TC_ACT_UNSPEC */
}
"""


def _source(*sections: str) -> str:
    programs = (
        f'SEC("{section}") int p{i}(struct __sk_buff *skb) {{ return one(skb); }}'
        for i, section in enumerate(sections)
    )
    return FRAMES + "\n".join(programs)


@pytest.fixture(autouse=True)
def cable() -> Iterator[None]:
    with network():
        yield


@pytest.mark.parametrize(
    ("section", "target", "sender"),
    [
        ("tcx/ingress", "end0", "end1"),
        ("tc/ingress", "end0:ingress", "end1"),
        ("tcx/egress", "end0", "end0"),
        ("tc", "end0:ingress", "end1"),
        ("tc", "end0:egress", "end0"),
        ("classifier", "end0:egress", "end0"),
    ],
)
def test_frames_are_counted_in_their_direction(section: str, target: str, sender: str) -> None:
    other = {"end0": "end1", "end1": "end0"}[sender]
    with opened(_source(section), attach=(target,)) as session:
        session.attach()
        send(sender, 5)
        assert eventually(lambda: count(session) == 5)
        send(other, 7)
        assert count(session) == 5
        session.detach()
        send(sender, 5)
        assert count(session) == 5


def test_one_interface_for_both_directions() -> None:
    with opened(_source("tcx/ingress", "tcx/egress"), attach=("end0",)) as session:
        session.attach()
        send("end0", 2)
        send("end1", 3)
        assert eventually(lambda: count(session) == 5)


def test_several_share_a_hook_and_no_qdisc_is_made() -> None:
    with opened(_source("tcx/ingress"), attach=("end0",)) as first:
        first.attach()
        with opened(_source("tcx/ingress"), attach=("end0",)) as second:
            second.attach()
            assert "clsact" not in run(tool("tc"), "qdisc", "show", "dev", "end0")
            send("end1", 2)
            assert eventually(lambda: count(first) == count(second) == 2)
        send("end1", 1)
        assert eventually(lambda: count(first) == 3)


@pytest.mark.parametrize(
    ("section", "target", "told", "cure"),
    [
        ("tcx/ingress", "end9", "there is no interface 'end9'", "end0"),
        ("tcx/ingress", "end0:egress", "its section says ingress", "INTERFACE"),
        ("tc", "end0", "not of the form", "INTERFACE:ingress"),
    ],
)
def test_a_wrong_target_is_told_before_anything_is_loaded(
    section: str, target: str, told: str, cure: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        prepared(_source(section), attach=(target,))
    assert cure in (caught.value.hint or "")


def test_without_a_target_the_option_is_named() -> None:
    with pytest.raises(UsageError, match="no target") as caught:
        prepared(_source("tc"))
    assert "--attach p0=INTERFACE:ingress|INTERFACE:egress" in (caught.value.hint or "")


def test_nothing_is_left_behind() -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(_source("tcx/ingress", "tcx/egress"), attach=("end0",)) as session:
        session.attach()
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)

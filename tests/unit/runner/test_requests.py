"""Which program gets which targets; what is on the host is answered from a record."""

import pytest

from bpfpack.runner.attach.requests import hand_out
from bpfpack.runner.plan import plan
from bpfpack.spec.config import Program
from bpfpack.spec.errors import Unsupported, UsageError
from tests.unit.runner.test_plan import OPENAT, RecordedKernel, _config, _fates, _spec


def test_a_target_alone_is_for_all_that_need_one_of_its_kind() -> None:
    spec = _spec("tcx/ingress", OPENAT, "tcx/egress")
    assert hand_out(spec, _config(), ["eth0"]) == {"p0": ["eth0"], "p2": ["eth0"]}
    assert hand_out(spec, _config(), ["p0=lo", "eth0", "eth1"]) == {
        "p0": ["lo"],
        "p2": ["eth0", "eth1"],
    }


def test_those_with_a_target_of_their_own_are_left_alone() -> None:
    spec = _spec("uprobe//bin/bash:readline", "uprobe", "perf_event")
    config = _config(Program(name="p2", section="perf_event", attach=("cpu-clock",)))
    assert hand_out(spec, config, ["/bin/x:f"]) == {"p1": ["/bin/x:f"]}


def test_without_any_that_needs_one_it_is_for_those_that_take_one() -> None:
    spec = _spec("uprobe//bin/bash:readline", OPENAT)
    assert hand_out(spec, _config(), ["/opt/bash"]) == {"p0": ["/opt/bash"]}


@pytest.mark.parametrize(
    ("sections", "text", "told", "cure"),
    [
        (("xdp", "sockops"), "eth0", "which program is meant: p0 (xdp), p1 (sockops)?", "p0=INT"),
        (("xdp",), "p7=eth0", "no program is called 'p7'", "the programs are p0"),
        ((OPENAT,), "eth0", "no program of tool takes a target", ""),
        ((OPENAT, "xdp"), "p0=eth0", "take no target", ""),
    ],
)
def test_what_is_meant_by_nobody_is_refused(
    sections: tuple[str, ...], text: str, told: str, cure: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(_spec(*sections), _config(), RecordedKernel(), attach=(text,))
    assert told in str(caught.value)
    assert cure in (caught.value.hint or "")


def test_a_path_with_an_equals_sign_names_no_program() -> None:
    path = "/sys/fs/cgroup/a=b"
    assert hand_out(_spec("sockops"), _config(), [path]) == {"p0": [path]}


def test_the_user_s_word_counts_more_than_the_package_s_option() -> None:
    config = _config(Program(name="p0", section="xdp", option="iface"))
    made = plan(
        _spec("xdp"), config, RecordedKernel(), attach=("lo",), targets={"iface": ("eth0",)}
    )
    assert [str(a) for a in made.programs[0].attachments] == ["lo (index 1)"]
    with pytest.raises(UsageError, match="no target") as caught:
        plan(_spec("xdp"), config, RecordedKernel())
    assert caught.value.hint == "give it one: --iface INTERFACE[:native|:generic]"


def test_several_targets_of_one_program_are_all_attached_to() -> None:
    made = plan(_spec("xdp"), _config(), RecordedKernel(), attach=("lo", "eth0:native"))
    assert made.programs[0].fate == (
        "load; attach to lo (index 1); attach to eth0 (index 2), native mode"
    )


@pytest.mark.parametrize("again", ["lo", "lo:generic"])
def test_the_same_target_twice_is_refused(again: str) -> None:
    told = f"--attach '{again}': p0 is already attached to lo (index 1)"
    with pytest.raises(UsageError) as caught:
        plan(_spec("xdp"), _config(), RecordedKernel(), attach=("lo", "eth0", again))
    assert str(caught.value) == told


def test_a_package_that_names_a_target_twice_has_it_once() -> None:
    config = _config(Program(name="p0", section="xdp", attach=("lo", "eth0", "lo")))
    made = plan(_spec("xdp"), config, RecordedKernel())
    assert [str(a) for a in made.programs[0].attachments] == ["lo (index 1)", "eth0 (index 2)"]


def test_what_the_user_names_wrongly_is_an_error_even_where_it_is_optional() -> None:
    config = _config(Program(name="p1", section="xdp", optional=True))
    spec = _spec(OPENAT, "xdp")
    with pytest.raises(UsageError, match="there is no interface 'eth7'"):
        plan(spec, config, RecordedKernel(), attach=("eth7",))
    assert _fates(plan(spec, config, RecordedKernel()))["p1"] is not None


def test_an_alternative_that_has_a_target_goes_before_one_that_has_none() -> None:
    config = _config(
        Program(name="p0", section="xdp", alternative="way"),
        Program(name="p1", section="raw_tp/sys_enter", alternative="way"),
    )
    spec = _spec("xdp", "raw_tp/sys_enter")
    made = plan(spec, config, RecordedKernel())
    assert [p.name for p in made.loaded] == ["p1"]
    made = plan(spec, config, RecordedKernel(), attach=("lo",))
    assert [p.name for p in made.loaded] == ["p0"]


def test_a_kernel_without_what_a_kind_needs_is_told_first() -> None:
    for section, option in (("uprobe", "CONFIG_UPROBE_EVENTS"), ("sockops", "CONFIG_CGROUP_BPF")):
        options = {"CONFIG_BPF_EVENTS": "y", option: "n"}
        with pytest.raises(Unsupported, match=f"{option} is not set"):
            plan(_spec(section), _config(), RecordedKernel(options=options))

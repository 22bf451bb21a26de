"""Stacks: maps whose keys name stacks, and whose values say how often each was seen.

*table*: the time, and for each key its members, its count and share, and below them the
functions, the innermost first: those of the kernel, then those of the process.  *folded*: a
line for each, the members, then the functions from the outermost, with ";" between, a space
and the count; what is the same is added up.  The kernel's functions end in ``_[k]``.  Flame
graphs are made of such lines.  *flamegraph.svg*: one picture of everything, made at the end.
*csv*: the members, the count and the folded functions.
*json*: one line for each sample, ``{"time":..,"stacks":[{"key":{..},"count":..,"kernel":[..],
"user":[..]}]}``, the innermost function first, each ``{"address":"0x..","function":..,
"offset":..,"file":..}`` without what is not known; a stack that the kernel had no room for is
null, and ``[missed]`` elsewhere; ``"incomplete":true`` where stacks may be missing, and
``"mappings_lost":N`` where names may be.

With an interval a sample shows what was added since the one before.

The functions of a process are looked up as soon as a stack of it is seen (`Watch`), and what
it has mapped is remembered: when it is shown the process may have ended.
"""

import errno
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.entries import Elements, Entries, Entry, Snapshot
from bpfpack.runner.events.formatter import OutputFormat, cells, csv_cell, csv_quoted
from bpfpack.runner.events.jsonlines import JsonRow
from bpfpack.runner.events.tables import MapOutput
from bpfpack.runner.events.terminal import Screen
from bpfpack.runner.events.values import BYTE_ORDERS, local, utc
from bpfpack.runner.symbols.frame import Frame
from bpfpack.spec.config import Output
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.safetext import fit, json_string, printable

if TYPE_CHECKING:
    from bpfpack.runner.events.flamegraph import Kind, Step

#: Stacks that a terminal shows; the rest is counted.
_STACKS: Final = 16
#: How often a process is asked again what it has mapped, in seconds.
_AGAIN: Final = 1.0
_MISSED: Final = "[missed]"
_ADDRESS: Final = 8

#: The functions of a stack, the innermost first; None where the kernel had no room for it.
_Frames: TypeAlias = "tuple[Frame, ...] | None"


class Traces(Protocol):
    """A map of stacks by their numbers; `bpfpack.runner.maps.Map` is one."""

    def lookup(self, key: bytes) -> bytes | None:
        """The addresses of a stack, with zeros behind them."""
        ...


class KernelNames(Protocol):
    """`bpfpack.runner.symbols.kernel.KernelSymbols` is one."""

    def frame(self, address: int, *, called: bool = False) -> Frame:
        """What is at an address."""
        ...


class UserNames(Protocol):
    """`bpfpack.runner.symbols.user.UserSymbols` is one."""

    @property
    def lost(self) -> int:
        """Changes of what processes have mapped that nobody knows of."""
        ...

    def catch_up(self) -> None:
        """Learn of what has happened until now."""
        ...

    def look(self, pid: int) -> None:
        """Remember what a process has mapped."""
        ...

    def frames(self, pid: int, addresses: Sequence[int]) -> tuple[Frame, ...]:
        """What is at the addresses of a stack."""
        ...


class _Stack(NamedTuple):
    labels: list[object]
    times: int
    kernel: _Frames
    user: _Frames


class StackSampler:
    """Reads a map of counted stacks; raises UsageError for raw output, SpecError.

    Without ``users`` addresses of processes have no names.
    """

    def __init__(
        self,
        shape: OutputFormat,
        said: Output,
        output: MapOutput,
        elements: Elements,
        traces: Traces,
        *,
        kernel: KernelNames,
        users: UserNames | None,
        terminal: Screen | None = None,
        clock: WallClock | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        if shape == "raw":
            raise UsageError(f"{output.name} shows stacks, which have no raw form")
        self._shape, self._said, self._output = shape, said, output
        self._elements, self._kernel, self._users = elements, kernel, users
        self._entries = Entries(output.key, output.value, elements, clock or SystemClock())
        self._stacks = _Stacks(traces, BYTE_ORDERS[output.key.byte_order])
        numbers = (said.kernel, said.user)
        self._kernel_of, self._user_of = (_number(output, name) for name in numbers)
        self._process_of = _number(output, said.process)
        self._labels = [
            (i, c) for i, c in enumerate(self._entries.key.columns) if c.field.name not in numbers
        ]
        self._key = JsonRow([column for _, column in self._labels])
        self._count = _count_of(self._entries)
        self._before: Snapshot | None = None
        self._named: dict[tuple[int, int], tuple[Frame, ...]] = {}
        self._looked: dict[int, float] = {}
        self._seen: set[bytes] = set()
        self._terminal, self._now = terminal, now
        self._samples = 0

    def watch(self) -> None:
        """Look up the functions of processes whose stacks are new, while they are there."""
        self._name(self._entries.keys())

    def sample(self) -> bytes:
        """Read the map and return it as text; empty as long as nothing was counted."""
        snapshot = self._entries.read()
        self._name(snapshot.ids)
        found = sorted(self._read(snapshot), key=lambda one: -one.times)
        if not found and self._shape != "flamegraph.svg":
            return b""
        self._samples += 1
        match self._shape:
            case "json":
                lines = [self._json(found, len(snapshot))]
            case "csv":
                lines = list(self._csv(found))
                self._output.tell_notes(self._notes(len(snapshot)))
            case "folded":
                lines = self._folded(found)
                self._output.tell_notes(self._notes(len(snapshot)))
            case "flamegraph.svg":
                lines = [self._picture(found, len(snapshot))]
            case _:
                lines = self._table(found, len(snapshot))
        return "".join(f"{line}\n" for line in lines).encode()

    def _name(self, keys: Iterable[bytes]) -> None:
        if self._users is None or self._user_of is None or self._process_of is None:
            return
        if len(self._seen) > 4 * self._elements.max_entries:
            # A map that evicts keys has new ones for ever.
            self._seen.clear()
            self._named.clear()
            self._looked.clear()
        new = [key for key in keys if key not in self._seen]
        if new:
            self._users.catch_up()
        for key in new:
            self._seen.add(key)
            stack, pid = self._user_of(key), self._process_of(key)
            if stack < 0 or (pid, stack) in self._named:
                continue
            addresses = self._stacks.addresses(stack)
            if addresses is not None:
                self._look(self._users, pid)
                self._named[pid, stack] = self._users.frames(pid, addresses)

    def _look(self, users: UserNames, pid: int) -> None:
        """Ask what a process has mapped: it may have started a program or loaded a library."""
        now = time.monotonic()
        if now - self._looked.get(pid, float("-inf")) >= _AGAIN:
            self._looked[pid] = now
            users.look(pid)

    def _read(self, snapshot: Snapshot) -> Iterator[_Stack]:
        (counts,) = snapshot.since(self._before, self._count).columns
        if self._said.interval_ms is not None and self._shape != "flamegraph.svg":
            self._before = snapshot
        for i, count in enumerate(counts):
            if count:
                entry = snapshot.entry(i)
                labels = [entry.key[place] for place, _ in self._labels]
                yield _Stack(labels, count, self._of_kernel(entry), self._of_user(entry))

    def _of_kernel(self, entry: Entry) -> _Frames:
        if self._kernel_of is None:
            return ()
        addresses = self._stacks.addresses(self._kernel_of(entry.id))
        if addresses is None:
            return None
        return tuple(self._kernel.frame(a, called=i > 0) for i, a in enumerate(addresses))

    def _of_user(self, entry: Entry) -> _Frames:
        if self._user_of is None:
            return ()
        stack = self._user_of(entry.id)
        pid = self._process_of(entry.id) if self._process_of else 0
        named = self._named.get((pid, stack))
        if named is not None:
            return named
        addresses = self._stacks.addresses(stack)
        return None if addresses is None else tuple(map(Frame, addresses))

    def _json(self, found: Sequence[_Stack], keys: int) -> str:
        stacks = ",".join(map(self._json_one, found))
        more = self._output.lack(self._elements, keys).json()
        more += f',"mappings_lost":{self._lost}' if self._lost else ""
        return f'{{{self._output.tag()}"time":"{utc(self._now())}","stacks":[{stacks}]{more}}}'

    def _json_one(self, one: _Stack) -> str:
        kernel = f',"kernel":{_json_frames(one.kernel)}' if self._kernel_of else ""
        user = f',"user":{_json_frames(one.user)}' if self._user_of else ""
        return f'{{"key":{self._key(one.labels)},"count":{one.times}{kernel}{user}}}'

    def _csv(self, found: Sequence[_Stack]) -> Iterator[str]:
        now = utc(self._now()) or ""
        if self._samples == 1:
            names = ["time", *(c.field.name for _, c in self._labels), "count", "stack"]
            yield ",".join(csv_quoted(printable(name)) for name in names)
        for one in found:
            row = [
                csv_cell(column, raw)
                for (_, column), raw in zip(self._labels, one.labels, strict=True)
            ]
            yield ",".join([now, *row, str(one.times), csv_quoted(";".join(_fold(one)))])

    def _folded(self, found: Sequence[_Stack]) -> list[str]:
        totals: Counter[str] = Counter()
        for one in found:
            totals[";".join([*map(_step, self._ends(one)), *_fold(one)])] += one.times
        return [f"{stack} {count}" for stack, count in totals.most_common()]

    def _ends(self, one: _Stack) -> list[str]:
        """The members of the key that stand below the functions: all but the process."""
        process = self._said.process
        shown = [(i, c) for i, (_, c) in enumerate(self._labels) if c.field.name != process]
        return cells([c for _, c in shown], [one.labels[i] for i, _ in shown])

    def _picture(self, found: Sequence[_Stack], keys: int) -> str:
        from bpfpack.runner.events.flamegraph import flamegraph

        notes = self._notes(keys)
        stacks = (([*_labelled(self._ends(one)), *_steps(one)], one.times) for one in found)
        return flamegraph(stacks, title=self._output.name, notes=notes)

    def _notes(self, keys: int) -> list[str]:
        """What is wrong with a sample."""
        notes = self._output.lack(self._elements, keys).notes()
        if self._lost:
            notes.append(f"{self._lost} changes of what processes map were lost: names may be too")
        return notes

    @property
    def _lost(self) -> int:
        return 0 if self._users is None else self._users.lost

    def _table(self, found: Sequence[_Stack], keys: int) -> list[str]:
        name = "" if self._output.alone else f" {printable(self._output.name)}"
        total = sum(one.times for one in found)
        most = _STACKS if self._terminal else len(found)
        lines = [f"{local(self._now())}{name}"]
        shown = self._blocks(found)
        for block, times in shown[:most]:
            lines += ["", f"{block[0]}count={times} ({times / total:.1%})", *block[1:]]
        if len(shown) > most:
            lines += ["", f"({len(shown) - most} more stacks)"]
        if self._user_of and self._users is None:
            lines += ["", "(in a PID namespace of its own, bpfpack cannot name what others run)"]
        lines += [line for note in self._notes(keys) for line in ("", f"({note})")]
        if self._terminal:
            lines = [fit(line, self._terminal.columns) for line in lines]
        return lines if self._samples == 1 else ["", *lines]

    def _blocks(self, found: Sequence[_Stack]) -> list[tuple[tuple[str, ...], int]]:
        """The lines of each stack but its count; what reads the same is added up."""
        titles = [printable(c.field.title) for _, c in self._labels]
        totals: Counter[tuple[str, ...]] = Counter()
        for one in found:
            texts = cells([c for _, c in self._labels], one.labels)
            said = "".join(f"{t}={text} " for t, text in zip(titles, texts, strict=True) if text)
            totals[said, *(f"    {line}" for line in _below(one))] += one.times
        return totals.most_common()


class Watch:
    """A sampler that shows nothing: it looks at new stacks before their processes end."""

    def __init__(self, stacks: StackSampler) -> None:
        self._stacks = stacks

    def sample(self) -> bytes:
        """Nothing."""
        self._stacks.watch()
        return b""


class _Stacks:
    """The addresses of stacks, by their numbers; each is read once."""

    def __init__(self, traces: Traces, order: str) -> None:
        self._traces, self._order = traces, order
        self._read: dict[int, tuple[int, ...]] = {}

    def addresses(self, number: int) -> tuple[int, ...] | None:
        """The addresses, the innermost first; None for a stack that there was no room for.

        A number below 0 is the error of bpf_get_stackid: EFAULT where there was no stack.
        """
        if number < 0:
            return () if number == -errno.EFAULT else None
        if number not in self._read:
            data = self._traces.lookup(struct.pack(f"{self._order}I", number))
            if data is None:
                return None
            count = len(data) // _ADDRESS
            found = struct.unpack_from(f"{self._order}{count}Q", data)
            self._read[number] = found[: found.index(0)] if 0 in found else found
        return self._read[number]


def _number(output: MapOutput, name: str | None) -> Callable[[bytes], int] | None:
    """What reads a member of 4 bytes from a key, as a signed number."""
    if name is None:
        return None
    field = output.key.field(name)
    if field is None or field.size != 4 or field.dimensions or field.bits:
        raise SpecError("no integer of 4 bytes in the key", path=(name,))
    member = struct.Struct(f"{BYTE_ORDERS[output.key.byte_order]}i")
    offset = field.offset
    return lambda key: int(member.unpack_from(key, offset)[0])


def _count_of(entries: Entries) -> range:
    """The first count of the value, among all its numbers."""
    for i, column in enumerate(entries.value.columns):
        numbers = entries.counted(i)
        if numbers and not column.field.dimensions:
            return numbers
    raise SpecError("the value holds no count", path=("map",))


def _fold(one: _Stack) -> Iterator[str]:
    for frames, mark in ((one.user, ""), (one.kernel, "_[k]")):
        if frames is None:
            yield _MISSED
        else:
            yield from (f"{_step(printable(f.text()))}{mark}" for f in reversed(frames))


def _labelled(texts: Iterable[str]) -> "Iterator[Step]":
    from bpfpack.runner.events.flamegraph import Step

    return (Step(text, "label") for text in texts)


def _steps(one: _Stack) -> "Iterator[Step]":
    """The functions of a stack, the outermost first."""
    from bpfpack.runner.events.flamegraph import Step

    kinds: tuple[tuple[_Frames, Kind], ...] = ((one.user, "user"), (one.kernel, "kernel"))
    for frames, kind in kinds:
        if frames is None:
            yield Step(_MISSED, "missed")
        else:
            yield from (Step(frame.text(), kind) for frame in reversed(frames))


def _step(text: str) -> str:
    """What stands between two semicolons."""
    return text.replace(";", ":")


def _below(one: _Stack) -> Iterator[str]:
    for frames in (one.kernel, one.user):
        if frames is None:
            yield _MISSED
            continue
        for frame in frames:
            file = (frame.file or "").rpartition("/")[2].strip("[]")
            more = f" ({file})" if frame.function is not None and file else ""
            yield printable(f"{frame.text()}{more}")


def _json_frames(frames: _Frames) -> str:
    return "null" if frames is None else f"[{','.join(map(_json_frame, frames))}]"


def _json_frame(frame: Frame) -> str:
    members = [f'"address":"{frame.address:#x}"']
    if frame.function is not None:
        members.append(f'"function":{json_string(frame.function)},"offset":{frame.offset}')
    if frame.file is not None:
        members.append(f'"file":{json_string(frame.file)}')
    return "{" + ",".join(members) + "}"

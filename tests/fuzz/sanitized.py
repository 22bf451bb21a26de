"""The engine's C under AddressSanitizer, UndefinedBehaviorSanitizer and libFuzzer."""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bpfpack.runner.engine.program import assemble
from bpfpack.spec.errors import SpecError
from tests.fuzz.differential import CLOCK
from tests.kit.enginecases import SHAPES, Dice, make_case
from tests.kit.enginehost import SOURCES, WARNINGS, sources

#: The address that ``engine.c`` beside this gives to an image, and how many it has at most.
IMAGE: Final = 4096
_IMAGES: Final = 2000
_CASES: Final = 250


def fuzz(
    directory: Path,
    *,
    seconds: int,
    seed: str,
    runs: int = -1,
    change: Callable[[bytes], bytes] = bytes,
) -> int:
    """Fuzz for so long, or so many inputs; return how the fuzzer ended.

    ``change`` is what a test does to the images.
    """
    corpus = directory / "corpus"
    corpus.mkdir()
    _write(directory / "images", corpus, seed, change)
    options = [
        *(f"-max_total_time={seconds}", f"-runs={runs}", "-max_len=4096", "-timeout=10"),
        *("-print_final_stats=1", f"-artifact_prefix={directory}/", f"-seed={_number(seed)}"),
    ]
    command = [_compiled(directory), *options, str(corpus)]
    environment = {**os.environ, "ENGINE_IMAGES": str(directory / "images")}
    return subprocess.run(command, check=False, env=environment).returncode


def _number(seed: str) -> int:
    return sum(seed.encode()) or 1


def _compiled(directory: Path) -> str:
    program = str(directory / "engine")
    own = str(Path(__file__).with_name("engine.c"))
    subprocess.run(
        [
            *("clang", "-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", *WARNINGS),
            *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"),
            *("-Wno-unused-parameter", f"-I{SOURCES}", "-o", program, own, *sources()),
        ],
        check=True,
    )
    return program


def _write(images: Path, corpus: Path, seed: str, change: Callable[[bytes], bytes]) -> None:
    """Write images of random types in all forms, and records of these to begin with."""
    count = 0
    with images.open("wb") as file:
        for number in range(_CASES):
            case = make_case(Dice(f"{seed}:{number}"))
            for shape in SHAPES:
                try:
                    image = assemble(shape, case.output, IMAGE, clock=CLOCK, columns=case.columns)
                except SpecError:
                    continue
                file.write(struct.pack("<I", len(image)) + change(image))
                for i, record in enumerate(case.records):
                    (corpus / f"{count}-{i}").write_bytes(struct.pack("<H", count) + record)
                count += 1
                if count == _IMAGES:
                    return

"""Text from outside that would obey a terminal: it is shown, on one line, and does nothing.

Each goes to a real terminal, from wherever it can come (SPEC 2; `docs/attacks.md`).
"""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bpfpack.registry.store.disk import DiskStore
from bpfpack.spec import mediatypes
from bpfpack.spec.config import Config, Param
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.manifest import build_manifest
from bpfpack.spec.package import Package, build_package
from tests.kit import bell
from tests.kit.cli import REPO, Host
from tests.kit.hostile import Listener, Reply, json_reply, listener, serve
from tests.kit.packages import TINY_ELF, fill
from tests.kit.packages import package as tiny

#: Writes the clipboard, clears the screen, recolours by a C1 control, turns text around,
#: hides a character, and markup of rich.
EVIL: Final = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202eab\u200b[bold]c[/bold]"
SHOWN: Final = "\\x1b]52;c;ZXZpbA==\\x07\\x1b[2J\\x9b31m\\u202eab\\u200b[bold]c[/bold]"
#: What fits where 15 bytes do (`comm` of a process), and how it is shown.
SHORT: Final = b"\x1b[2J\x9b\xe2\x80\xae\xe2\x80\x8b[b]"
SHORT_SHOWN: Final = "\\x1b[2J\\x9b\\u202e\\u200b[b]"

#: What may reach a terminal: the printer's styles, and what rich draws bars with.
_OURS: Final = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\r")
_OBEYED: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def safe(screen: str) -> str:
    """Hold that nothing on a screen is obeyed; returns its text."""
    text = _OURS.sub("", screen)
    obeyed = _OBEYED.findall(text)
    assert not obeyed, f"{obeyed} reached the terminal in {text!r}"
    return text


def shown(host: Host, *argv: str | Path, expected: str = SHOWN, code: int | None = None) -> str:
    """Run a command on a terminal, which must show ``expected`` and obey nothing."""
    with host.terminal(*argv) as screen:
        got = screen.end()
        text = safe(screen.shown)
        assert code in (None, got), text
        assert expected in text.replace("\n", ""), text
    return text


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "host").mkdir()
    return Host(root=tmp_path / "host")


def keep(host: Host, content: Package, tag: str = "1") -> None:
    fill(DiskStore(host.root / "data" / "store").repository("evil"), content, tag)


def evil_package(**members: object) -> Package:
    config = Config(name="evil", version="1.0", **members)  # type: ignore[arg-type]
    return build_package(config, TINY_ELF, file_name="evil.bpf.o", readme=f"# {EVIL}\n".encode())


def with_config(text: str) -> Package:
    """A package whose config is any text."""
    made = evil_package()
    config = Descriptor.of(text.encode(), mediatypes.CONFIG)
    layers = made.manifest.layers
    manifest = build_manifest(artifact_type=mediatypes.ARTIFACT, config=config, layers=layers)
    kept = {digest: data for digest, data in made.blobs.items()}
    return Package(manifest=manifest, blobs=kept | {config.digest: text.encode()})


class TestPackages:
    @pytest.mark.parametrize("member", ["description", "license", "homepage", "source"])
    def test_what_it_says_of_itself(self, host: Host, member: str) -> None:
        keep(host, evil_package(**{member: EVIL}))
        with host.terminal("inspect", "evil:1") as screen:
            screen.end()
            text = safe(screen.shown)
        assert "\\x1b" in text

    def test_annotations_in_listings(self, host: Host) -> None:
        made = evil_package()
        notes = {mediatypes.CREATED: EVIL, mediatypes.VERSION: EVIL, "note": EVIL}
        manifest = build_manifest(
            artifact_type=mediatypes.ARTIFACT,
            config=made.manifest.config,
            layers=made.manifest.layers,
            annotations=notes,
        )
        keep(host, Package(manifest=manifest, blobs=made.blobs))
        for argv in (
            ("list",),
            ("list", "-o", "wide"),
            ("list", "-o", "json"),
            ("list", "-o", "yaml"),
            ("inspect", "evil:1"),
            ("inspect", "-o", "json", "evil:1"),
            ("inspect", "-o", "yaml", "evil:1"),
            ("trust", "test", "evil:1"),
            ("verify", "evil:1"),
            ("run", "evil:1"),
        ):
            with host.terminal(*argv) as screen:
                screen.end()
                assert "evil" in safe(screen.shown) or argv[0] == "verify"

    def test_its_readme(self, host: Host) -> None:
        keep(host, evil_package())
        shown(host, "inspect", "--readme", "evil:1", code=0)

    def test_its_help(self, host: Host) -> None:
        param = Param(variable="x", option="x", type="u32", help=EVIL)
        keep(host, evil_package(description=EVIL, params=(param,)))
        with host.terminal("run", "evil:1", "--help") as screen:
            screen.end()
            safe(screen.shown)

    @pytest.mark.parametrize("command", ["inspect", "run"])
    @pytest.mark.parametrize("member", ["name", "version", EVIL])
    def test_a_config_that_is_refused(self, host: Host, member: str, command: str) -> None:
        config = json.loads(evil_package().blobs[evil_package().manifest.config.digest])
        keep(host, with_config(json.dumps(config | {member: EVIL})))
        with host.terminal(command, "evil:1") as screen:
            assert screen.end() != 0
            assert f"in '{member}'" in safe(screen.shown) or SHOWN in screen.shown

    def test_its_file_names_while_it_moves(self, host: Host, tmp_path: Path) -> None:
        content = evil_package()
        first, *rest = content.manifest.layers
        layer = Descriptor(
            media_type=first.media_type,
            digest=first.digest,
            size=first.size,
            annotations={mediatypes.TITLE: EVIL},
        )
        manifest = build_manifest(
            artifact_type=mediatypes.ARTIFACT,
            config=content.manifest.config,
            layers=(layer, *rest),
        )
        keep(host, Package(manifest=manifest, blobs=content.blobs))
        with host.terminal("save", "-f", tmp_path / "x.tar", "evil:1") as screen:
            assert screen.end() == 0
            safe(screen.shown)

    def test_members_of_an_archive(self, host: Host) -> None:
        with tarfile.open(host.root / "evil.tar", "w") as archive:
            entry = tarfile.TarInfo(EVIL)
            entry.type, entry.linkname = tarfile.SYMTYPE, EVIL
            archive.addfile(entry, io.BytesIO())
        for command in (("load", "-f"), ("run",), ("inspect",)):
            with host.terminal(*command, "./evil.tar") as screen:
                assert screen.end() != 0
                safe(screen.shown)


@pytest.fixture
def registry() -> Iterator[Listener]:
    """A registry that has one package and says what it likes."""
    with listener() as made:
        serve(made, tiny(), "1")
        yield made


class TestRegistries:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
    @pytest.mark.parametrize("member", ["code", "message", "detail"])
    def test_an_error(self, host: Host, registry: Listener, status: int, member: str) -> None:
        error = {"code": "DENIED", "message": "no"} | {member: EVIL}
        registry.on("GET", "/v2/x/manifests/1", json_reply({"errors": [error]}, status))
        registry.on("HEAD", "/v2/x/manifests/1", Reply(status=status))
        with host.terminal("pull", f"{registry.host}/x:1") as screen:
            assert screen.end() != 0
            safe(screen.shown)

    def test_the_words_of_an_error_are_told(self, host: Host, registry: Listener) -> None:
        error = {"code": "DENIED", "message": EVIL}
        registry.on("GET", "/v2/x/manifests/1", json_reply({"errors": [error]}, 403))
        shown(host, "pull", f"{registry.host}/x:1")

    def test_an_error_that_is_a_page(self, host: Host, registry: Listener) -> None:
        page = Reply(status=500, headers={"Content-Type": "text/html"}, body=EVIL.encode())
        registry.on("GET", "/v2/x/manifests/1", page)
        with host.terminal("pull", f"{registry.host}/x:1") as screen:
            assert screen.end() != 0
            safe(screen.shown)

    def test_a_warning(self, host: Host, registry: Listener) -> None:
        before = registry.answer_of("GET", "/v2/x/manifests/1")
        latin = EVIL.encode("utf-8").decode("latin-1").replace("\x07", "")

        def warned(seen: object) -> Reply:
            found = before(seen)  # type: ignore[arg-type]
            headers = {**found.headers, "Warning": f'299 - "{latin}"'}
            return Reply(status=found.status, headers=headers, body=found.body)

        registry.on("GET", "/v2/x/manifests/1", warned)
        with host.terminal("pull", f"{registry.host}/x:1") as screen:
            screen.end()
            assert "52;c;" in safe(screen.shown)

    def test_tags(self, host: Host, registry: Listener) -> None:
        tags = json_reply({"name": EVIL, "tags": [EVIL, "1\x1b[2J", "2.0"]})
        registry.on("GET", "/v2/x/tags/list", tags)
        for command in ("pull", "run"):
            with host.terminal(command, f"{registry.host}/x") as screen:
                assert screen.end() != 0
                safe(screen.shown)

    def test_a_challenge(self, host: Host, registry: Listener) -> None:
        evil = EVIL.encode().decode("latin-1").replace("\x07", "")
        for header in (f'Bearer realm="{evil}"', f'{evil} realm="x"', f'Basic realm="{evil}"'):
            denied = Reply(status=401, headers={"WWW-Authenticate": header})
            registry.on("GET", "/v2/x/manifests/1", denied)
            with host.terminal("pull", f"{registry.host}/x:1") as screen:
                assert screen.end() != 0
                safe(screen.shown)

    def test_a_redirect(self, host: Host, registry: Listener) -> None:
        place = "http://127.0.0.1:1/" + EVIL.encode().decode("latin-1").replace("\x07", "")
        registry.on("GET", "/v2/x/manifests/1", Reply(status=307, headers={"Location": place}))
        with host.terminal("pull", f"{registry.host}/x:1") as screen:
            assert screen.end() != 0
            safe(screen.shown)

    @pytest.mark.parametrize(
        "text",
        [
            '{"credsStore": "EVIL"}',
            '{"credHelpers": {"HOST": "EVIL"}}',
            '{"EVIL": }',
            '{"auths": {"https://HOST/EVIL": {"auth": "EVIL"}}}',
            '{"auths": {"HOST": {"auth": 1, "EVIL": 2}}}',
        ],
    )
    def test_what_a_docker_config_says(self, host: Host, registry: Listener, text: str) -> None:
        docker = host.root / "docker"
        docker.mkdir()
        evil = json.dumps(EVIL)[1:-1]
        (docker / "config.json").write_text(
            text.replace("HOST", registry.host).replace("EVIL", evil)
        )
        denied = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        registry.on("GET", "/v2/x/manifests/1", denied)
        with host.terminal("pull", f"{registry.host}/x:1") as screen:
            assert screen.end() != 0
            safe(screen.shown)

    def test_bars_of_what_is_pulled(self, host: Host) -> None:
        content = evil_package()
        first, *rest = content.manifest.layers
        layer = Descriptor(
            media_type=first.media_type,
            digest=first.digest,
            size=first.size,
            annotations={mediatypes.TITLE: "\x1b]0;x\x07[bold]"},
        )
        manifest = build_manifest(
            artifact_type=mediatypes.ARTIFACT,
            config=content.manifest.config,
            layers=(layer, *rest),
        )
        with listener() as made:
            serve(made, Package(manifest=manifest, blobs=content.blobs), "1")
            shown(host, "pull", f"{made.host}/x:1", expected="\\x1b]0;x\\x07[bold]")


class TestTrust:
    def key(self, host: Host) -> Path:
        return host.keygen()

    @pytest.mark.parametrize("name", [EVIL, "a\u202eb\u200b[bold]x"])
    def test_the_name_of_a_key(self, host: Host, name: str) -> None:
        key = self.key(host)
        for argv in (("trust", "add", "ghcr.io/x", "--key", str(key), "--name", name),):
            with host.terminal(*argv) as screen:
                screen.end()
                safe(screen.shown)
        with host.terminal("trust", "ls") as screen:
            screen.end()
            safe(screen.shown)
        if name != EVIL:
            assert "a\\u202eb\\u200b[bold]x" in screen.shown

    @pytest.mark.parametrize(
        "text",
        [
            f'version = 1\n"{EVIL}" = 1\n',
            f'version = 1\n[scopes."{EVIL}"]\n',
            f'version = "{EVIL}"\n',
            f"version = 1\n[scopes.{EVIL}]\n",
            f'version = 1\n[scopes."ghcr.io"]\nlevel = "{EVIL}"\nkeys = []\n',
        ],
        ids=["member", "scope", "value", "syntax", "level"],
    )
    @pytest.mark.parametrize("escaped", [True, False])
    def test_a_policy(self, host: Host, text: str, escaped: bool) -> None:
        config = host.root / "config"
        config.mkdir(mode=0o700)
        if escaped:  # as TOML can spell controls
            text = re.sub("[^\n -~]", lambda m: f"\\u{ord(m[0]):04x}", text)
        (config / "policy.toml").write_text(text)
        for argv in (("trust", "ls"), ("run", "ghcr.io/x"), ("doctor",)):
            with host.terminal(*argv) as screen:
                screen.end()
                safe(screen.shown)


class TestBuilds:
    @pytest.mark.parametrize("line", [f"#error {EVIL}", f'int x = "{EVIL}";', f'#include "{EVIL}"'])
    def test_a_diagnostic_of_the_compiler(self, host: Host, line: str) -> None:
        directory = bell.write(host.root / "bell")
        source = directory / "bell.bpf.c"
        source.write_text(f"{line}\n{source.read_text()}")
        with host.terminal("build", directory) as screen:
            assert screen.end() != 0
            assert "[bold]c[/bold]" in safe(screen.shown)

    def test_a_project_s_file_and_its_directory(self, host: Host) -> None:
        directory = bell.write(host.root / "a\x1b[2J\u202eb")
        (directory / "bpfpack.toml").write_text('description = "\\u001b[2J"\nname = "\\u001b"\n')
        with host.terminal("build", directory) as screen:
            assert screen.end() != 0
            assert "\\x1b" in safe(screen.shown)


class TestWhatIsTyped:
    """A line that was pasted, or made by a script."""

    @pytest.mark.parametrize(
        "argv",
        [
            (EVIL,),
            ("list", EVIL),
            ("list", f"--{EVIL}"),
            ("list", "-o", EVIL),
            ("pull", EVIL),
            ("run", EVIL),
            ("run", f"./{EVIL}"),
            ("run", f"--{EVIL}", "x"),
            ("run", "-o", EVIL, "evil:1"),
            ("inspect", EVIL),
            ("load", "-f", EVIL),
            ("trust", "add", EVIL, "--key", EVIL),
            ("trust", "test", EVIL),
            ("trust", EVIL),
            ("login", EVIL),
            ("tag", EVIL, EVIL),
            ("prune", EVIL),
        ],
        ids=lambda argv: " ".join(argv).replace(EVIL, "EVIL"),
    )
    def test_it_is_said_back(self, host: Host, argv: tuple[str, ...]) -> None:
        keep(host, evil_package())
        with host.terminal(*argv) as screen:
            assert screen.end() != 0
            safe(screen.shown)

    def test_doctor_tells_of_places(self, host: Host) -> None:
        place = {"BPFPACK_DATA_DIR": f"/tmp/{EVIL}", "BPFPACK_LIBBPF": f"/{EVIL}"}
        with host.terminal("doctor", env=place) as screen:
            screen.end()
            assert "\\x1b" in safe(screen.shown)

    def test_what_is_very_long_is_capped(self, host: Host) -> None:
        keep(host, evil_package())
        with host.terminal("run", "./" + "x" * 20000) as screen:
            screen.end()
            assert max(map(len, safe(screen.shown).splitlines())) < 5000


VICTIM: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0)
print(flush=True)
for line in sys.stdin:
    os.getpgid(0)
    try:
        os.open(bytes.fromhex(sys.argv[2]), os.O_RDONLY)
    except OSError:
        pass
"""

TALLY: Final = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct who { char comm[16]; };
struct calls { __u64 calls; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct who);
	__type(value, struct calls);
} counts SEC(".maps");
BPFPACK_TABLE(counts, interval(50));
BPFPACK_PACKAGE(license("GPL-2.0"));
const volatile int target_pid BPFPACK_PARAM(short(p), help("whose calls"));

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	struct calls none = {}, *found;
	struct who who = {};

	if (bpf_get_current_pid_tgid() >> 32 != target_pid)
		return 0;
	bpf_get_current_comm(who.comm, sizeof(who.comm));
	found = bpfpack_lookup_or_init(counts, &who, &none);
	if (found)
		found->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""

REJECTED: Final = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"
struct event { __u64 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(license("GPL-2.0"));
SEC("raw_tp/sys_enter")
int bad(__u64 *ctx) { return *(int *)ctx[0]; /* @ */ }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with an evil name; each line makes it open an evil path."""
    path = os.fsencode(tmp_path) + b"/" + EVIL.encode()
    argv = [sys.executable, "-c", VICTIM, SHORT.hex(), path.hex()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Host:
    made = Host(root=tmp_path_factory.mktemp("tools"))
    made.run("build", "-q", "-t", "opensnoop:1", REPO / "examples" / "opensnoop")
    for name, source in (("tally", TALLY), ("rejected", REJECTED.replace("@", EVIL))):
        (made.root / f"{name}.bpf.c").write_text(source)
        made.run("build", "-q", "-t", f"{name}:1", made.root / f"{name}.bpf.c")
    return made


@pytest.mark.kernel
class TestEvents:
    @pytest.mark.parametrize("format_", ["table", "csv", "json"])
    def test_the_name_of_a_process_and_a_path(
        self, tools: Host, victim: subprocess.Popen[bytes], format_: str
    ) -> None:
        argv = ("run", "-o", format_, "--max-events", "1", "opensnoop:1")
        with tools.terminal(*argv, f"--pid={victim.pid}", "--failed") as screen:
            screen.until("attached")
            self.ring(victim)
            assert screen.end() == 0
            text = safe(screen.shown)
        if format_ == "json":
            assert "\\u001b[2J" in text and "\\u202e" in text
        else:
            assert SHORT_SHOWN.replace("\\x9b", "") in text.replace("\\x9b", "").replace(
                "\ufffd", ""
            )
            assert format_ == "table" or SHOWN in text

    @pytest.mark.parametrize("format_", ["table", "csv", "json"])
    def test_the_key_of_a_map(
        self, tools: Host, victim: subprocess.Popen[bytes], format_: str
    ) -> None:
        argv = ("run", "-o", format_, "tally:1", f"--pid={victim.pid}")
        with tools.terminal(*argv) as screen:
            screen.until("attached")
            self.ring(victim)
            screen.until(re.escape("[2J"))
            screen.type("\x03")
            assert screen.end() == 130
            safe(screen.shown.replace("\x1b[H", "").replace("^C", ""))

    def test_a_log_of_the_verifier(self, tools: Host) -> None:
        """It quotes the lines of the source."""
        with tools.terminal("--verbose", "run", "rejected:1") as screen:
            screen.end()
            safe(screen.shown)
        with tools.terminal("run", "--verbose", "rejected:1") as screen:
            assert screen.end() == 126
            assert "[bold]c[/bold]" in safe(screen.shown)

    def test_raw_bytes_only_by_force(self, tools: Host) -> None:
        argv = ("run", "-o", "raw", "--max-events", "1", "--timeout", "5s")
        with tools.terminal(*argv, "opensnoop:1") as screen:
            assert screen.end() == 125
            assert "--force" in safe(screen.shown)

    def ring(self, victim: subprocess.Popen[bytes]) -> None:
        assert victim.stdin is not None
        victim.stdin.write(b"\n")
        victim.stdin.flush()

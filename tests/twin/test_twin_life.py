"""The twin leaves nothing behind after any end; two twins at once do not meet; missing tools are reported by name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emu.twin import judge, main, space
from emu.twin.space import TwinError
from twins import needs_twin, scenario

PROGRAM = "import sys; from emu.twin import main; sys.exit(main(sys.argv[1], 'json'))"
LONG = scenario(
    '- ping: {from: default/client, to: default/web}\n- wait: 60s\n- ping: {from: default/client, to: "10.96.0.10"}'
)
SHORT = scenario(
    "- ping: {from: default/client, to: default/web}\n"
    '- tcp: {from: default/client, to: "svc/web:80", send: "GET / HTTP/1.0\\r\\n\\r\\n"}\n'
    '- udp: {from: default/client, to: "svc/web:53", send: hello}'
)


def start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def namespaces_of(pid: int) -> set[str]:
    """The network namespaces that a process is in or holds open, as `net:[number]`."""
    found = set()
    for link in [Path(f"/proc/{pid}/ns/net"), *Path(f"/proc/{pid}/fd").glob("*")]:
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("net:["):
            found.add(target)
    return found


def held() -> set[str]:
    """The namespaces that any process of this machine is in or holds, or that have a name."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                found |= namespaces_of(int(process.name))
            except OSError:
                continue
    named = Path("/run/netns")
    return found | ({f"net:[{each.stat().st_ino}]" for each in named.iterdir()} if named.is_dir() else set())


def host() -> str:
    """What of the host's own network a careless twin would change."""
    commands = (["ip", "-br", "link"], ["ip", "-br", "addr"], ["ip", "route"], ["iptables-save"])
    texts = [subprocess.run(each, capture_output=True, text=True, check=False).stdout for each in commands]
    return "".join(line for text in texts for line in text.splitlines(keepends=True) if not line.startswith("#"))


@pytest.mark.twin
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
class TestKilled:
    pytestmark = needs_twin

    def test_no_namespace_is_left(self, number: signal.Signals, tmp_path: Path) -> None:
        path = tmp_path / "long.yaml"
        path.write_text(LONG)
        before = host()
        process = start(path)
        try:
            made: set[str] = set()
            deadline = time.monotonic() + 120  # on a busy machine, too
            while len(made) < 7 and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.05)
                made = namespaces_of(process.pid)
            assert len(made) == 7, process.communicate()  # its own, 2 nodes, 2 pods, underlay, external
            time.sleep(1)  # in the middle of the wait
        finally:
            process.send_signal(number)
            process.communicate(timeout=120)
        assert process.returncode != 0
        ours = {str(Path("/proc/self/ns/net").readlink())}
        # numbers of namespaces that are gone are given out again: what another program holds by chance, it lets go
        deadline = time.monotonic() + 60
        while (made - ours) & held() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not (made - ours) & held()
        assert host() == before


class TestSideBySide:
    pytestmark = needs_twin

    def test_two_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "short.yaml"
        path.write_text(SHORT)
        before = host()
        twins = [start(path), start(path)]
        for twin in twins:
            printed, complaint = twin.communicate(timeout=180)
            assert twin.returncode == 0, printed + complaint
            assert json.loads(printed)["result"] == "equal"
        assert host() == before

    def test_after_an_error_the_host_is_as_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "short.yaml"
        path.write_text(SHORT)
        before, here = host(), str(Path("/proc/thread-self/ns/net").readlink())
        cpus, open_files = os.sched_getaffinity(0), len(list(Path("/proc/self/fd").iterdir()))

        def broken(*arguments: object) -> None:
            raise RuntimeError("in the middle")

        monkeypatch.setattr("emu.twin.compare.frames", broken)
        with pytest.raises(RuntimeError, match="in the middle"):
            judge(path)
        assert host() == before
        assert str(Path("/proc/thread-self/ns/net").readlink()) == here
        assert os.sched_getaffinity(0) == cpus
        assert len(list(Path("/proc/self/fd").iterdir())) == open_files


class TestMissing:
    def test_not_root(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert main("whatever.yaml") == 3
        assert "needs root" in capsys.readouterr().err

    def test_a_tool(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr("emu.twin.space.shutil.which", lambda tool: None if tool == "conntrack" else tool)
        with pytest.raises(TwinError, match="no conntrack here") as caught:
            judge("whatever.yaml")
        assert caught.value.exit_status == 3

    def test_another_system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert "needs Linux" in space.missing()

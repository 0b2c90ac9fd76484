"""Names out of files stay names in the twin: they reach no command line, no path and no other namespace."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.scenario.script import load
from emu.testing.strategies import examples
from emu.twin import judge
from emu.twin.space import Space, check_name
from emu.twin.sysctls import sysctl_path
from twins import needs_twin, scenario

T = TypeVar("T", bound=Callable[..., None])


def twin(test: T) -> T:
    for mark in needs_twin:
        test = mark(test)
    return test


def namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


@pytest.fixture
def elsewhere() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a network namespace that has nothing to do with emu."""
    with subprocess.Popen(["unshare", "-n", "sleep", "infinity"]) as process:
        try:
            while namespace(process.pid) == namespace(os.getpid()):
                time.sleep(0.01)  # the process is there before its namespace is
            yield process
        finally:
            process.kill()


def links(pid: int) -> list[str]:
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-j", "link"], capture_output=True, check=True)
    return [each["ifname"] for each in json.loads(done.stdout)]


def bridge(name: str, folder: Path) -> Path:
    plugin = {
        "type": "bridge", "bridge": name, "isGateway": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }  # fmt: skip
    text = json.dumps({"cniVersion": "1.0.0", "name": "n", "plugins": [plugin]})
    (folder / "own.conflist").write_text(text, encoding="utf-8")
    path = folder / "story.yaml"
    steps = "- ping: {from: default/client, to: default/web}"
    path.write_text(scenario(steps, cluster="{nodes: 1, network: own.conflist}", node="node-1"), encoding="utf-8")
    return path


@twin
def test_a_bridge_is_made_in_no_other_namespace(elsewhere: subprocess.Popen[bytes], tmp_path: Path) -> None:
    for name in (
        f"evil0 netns {elsewhere.pid}",
        f"evil0\nlink add evil1 netns {elsewhere.pid} type dummy",
        "..",
        "a/b",
    ):
        path = bridge(name, tmp_path)
        with pytest.raises(InputError):
            judge(load(path))
    assert links(elsewhere.pid) == ["lo"]


@twin
def test_a_name_that_linux_takes_is_one_word(tmp_path: Path) -> None:
    report = judge(load(bridge("br'0#x\\", tmp_path)))
    assert report.exit_status == 0, report.text()


@twin
def test_words_of_a_command_are_never_cut() -> None:
    space = Space("words")
    try:
        for name in ('a"b', "a'b", "a#b", "a\\", "a;b", "$(id)", "-batch", "netns", "é"):
            space.ip([["link", "add", "name", name, "type", "bridge"], ["link", "set", "dev", name, "up"]])
            found = json.loads(space.run("ip", "-j", "link", "show", "dev", name))
            assert [each["ifname"] for each in found] == [name]
    finally:
        space.close()


@twin
def test_linux_and_the_check_agree_on_names() -> None:
    space = Space("names")

    @given(
        st.text(st.characters(blacklist_categories=["Cs"]) | st.sampled_from("/.:- \t\n\v0a%"), min_size=1, max_size=17)
    )
    @examples(100)
    def agree(name: str) -> None:
        if "%" in name or "\0" in name:
            return  # a % asks the kernel for a number, a zero byte cannot be in a command
        try:
            check_name(name)
        except InputError:
            with pytest.raises(Exception, match="names: ip"):
                space.ip([["link", "add", "name", name, "type", "bridge"]])
            return
        if name == "lo":
            return
        space.ip([["link", "add", "name", name, "type", "bridge"], ["link", "del", "dev", name]])

    try:
        agree()
    finally:
        space.close()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a\tb", "a\nb", "a/b", "a:b", "a" * 16, "é" * 8, "a\0b", "\u00e0"]
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a device's name"):
        check_name(name)


@pytest.mark.parametrize("name", ["eth0", "a" * 15, "é" * 7, "a.b", "...", "-", "a'b#c\\", "default", "all"])
def test_names_that_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["net.ipv4.conf....rp_filter", "net.ipv4.conf.a/../../x.rp_filter", "net..x", "a\0b"])
def test_sysctls_stay_below_their_folder(name: str) -> None:
    with pytest.raises(InputError, match="is not a sysctl"):
        sysctl_path(name)


def test_a_sysctl_of_a_device_with_dots() -> None:
    assert sysctl_path("net.ipv4.conf.eth0.100.rp_filter") == "net/ipv4/conf/eth0.100/rp_filter"

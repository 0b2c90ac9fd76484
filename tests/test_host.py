"""The host is never touched: the gallery, the README and drawn `send` expressions run with its network forbidden.

No socket can be made, no name resolved, no route looked up, and nothing sent by Scapy (`tests/support/host.py`).
"""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import emu
from emu import craft
from emu.cli import main
from emu.errors import InputError
from emu.kube.api.loader import load_text
from emu.scenario.gallery import stories, story
from emu.scenario.run import run
from emu.testing.strategies import examples
from host import HostAskedError, forbid
from pages import CONSOLE, PLAIN, PYTHON, commands, reader_folder


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch)


def test_the_ban_holds(forbidden: None) -> None:
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether

    for ask in (
        lambda: socket.getaddrinfo("localhost", 1),
        lambda: bytes(IP()),
        lambda: IP(dst="localhost"),
        lambda: bytes(Ether() / IP(dst="9.9.9.9")),
    ):
        with pytest.raises(HostAskedError):
            ask()


@pytest.mark.parametrize("name", sorted(stories()))
def test_the_gallery(name: str, tmp_path: Path, forbidden: None) -> None:
    assert run(story(name), tmp_path).exit_status == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return reader_folder(tmp_path)


@pytest.mark.parametrize("text", PYTHON)
def test_the_python_of_the_readme(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, forbidden: None) -> None:
    monkeypatch.chdir(folder)
    exec(compile(text, "<README>", "exec"), {"__name__": "readme"})


@pytest.mark.slow
@pytest.mark.parametrize("text", CONSOLE)
def test_the_consoles_of_the_readme(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, forbidden: None) -> None:
    """Commands that no shell has a part in: `test_readme.py` runs the others with the host forbidden."""
    monkeypatch.chdir(folder)
    for command, _ in commands(text):
        if PLAIN.fullmatch(command):
            assert main(shlex.split(command)[1:]) in (0, 1, 2, 3)


PODS = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: shell}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: web, ports: [{containerPort: 80}]}]}
"""
NAMES = ("localhost", "example.com", "a.b", "router", "10.0.0", "10.0.0.0/8", "::1", "fe80::1%eth0", "ff:ff", "*")
ADDRESSES = ("10.244.1.2", "10.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "8.8.8.8")
VALUES = st.one_of(
    st.sampled_from([repr(each) for each in (*NAMES, *ADDRESSES, "02:00:00:00:00:01", "S", "A", "who-has", b"\0\1")]),
    st.integers(0, 70000).map(str),
    st.sampled_from(
        ["None", "(1, 3)", "['localhost', 1]", "[('router', 'localhost')]", "IP()", "IPerror()/UDP()", "{}"]
    ),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(ADDRESSES)).map(repr),
)
COMMON = (
    "Ether", "Dot3", "LLC", "SNAP", "Dot1Q", "ARP", "IP", "IPerror", "IPv6", "ICMP", "UDP", "TCP", "DNS", "DNSQR", "DNSRR",
    "BOOTP", "DHCP", "Raw", "GRE", "VXLAN", "NTP", "SCTP", "STP",
)  # fmt: skip


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """`IP(dst='..')/UDP(dport=..)/...`: known layers in any order, any of their fields, values that fit and that do not."""
    layers = craft._layers()
    texts = []
    for name in draw(st.lists(st.sampled_from(COMMON) | st.sampled_from(sorted(layers)), min_size=1, max_size=4)):
        fields = sorted({field.name for field in layers[name].fields_desc})
        chosen = draw(st.lists(st.sampled_from(fields), max_size=3, unique=True)) if fields else []
        values = [f"{field}={draw(VALUES)}" for field in chosen if field.isidentifier() and field != "from"]
        texts.append(f"{name}({', '.join(values)})")
    return "/".join(texts)


@pytest.fixture(scope="module")
def cluster() -> emu.Cluster:
    return emu.Cluster(1, load_text(PODS).objects, capture=False)


def test_drawn_sends(cluster: emu.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch)
    met = {"sent": 0, "refused": 0}

    @given(expressions())
    @examples(500)
    def send(text: str) -> None:
        try:
            craft.expression(text)
        except InputError:
            met["refused"] += 1
            return
        cluster.send("default/client", text, timeout_s=0.1)  # what validates can be sent
        met["sent"] += 1

    send()
    assert min(met.values()) * 10 > sum(met.values()), met

"""The Wireshark profile in captures/: it loads without a word, every setting is one Wireshark knows, and it does its work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from emu.capture import pcapng
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET
from tshark import CHECKSUMS, Tshark

PROFILE = Path(__file__).parents[2] / "captures" / "wireshark-profile"
SEGMENT = bytes.fromhex(
    "0a580af40101 0a580af40102 0800 4500002c00014000400621df 0af40102 0af40203"
    "1388 0050 00000064 000000c8 50180200 bb11 0000 61626364"
)


@pytest.fixture
def profiled(tshark: Tshark, tmp_path: Path) -> Tshark:
    """Wireshark's programs with the profile in the folder that its README names."""
    shutil.copytree(PROFILE, tmp_path / ".config" / "wireshark" / "profiles" / "emu")
    return Tshark(tmp_path)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "two.pcapng"
    with pcapng.create(path) as writer:
        client, drop = writer.interface("default/client/eth0"), writer.interface("node-1/drop")
        writer.names({(AF_INET, ip4("10.244.1.2")): ["client.default.pod"]})
        writer.packet(client, 0, SEGMENT, pcapng.OUTBOUND, "the client speaks\nsecond line")
        writer.packet(drop, 1_000, SEGMENT, 0, "dropped")
    return path


def settings() -> dict[str, str]:
    lines = (PROFILE / "preferences").read_text().splitlines()
    pairs = [line.split(":", 1) for line in lines if line and line[0] not in "#\t"]
    return {key: value.strip() for key, value in pairs}


def test_wireshark_knows_every_setting(profiled: Tshark) -> None:
    # -G takes no profile: make it the default one.
    shutil.copy(PROFILE / "preferences", profiled.home / ".config" / "wireshark" / "preferences")
    current = dict(
        line.lstrip("#").split(":", 1)
        for line in profiled.run("tshark", "-G", "currentprefs").splitlines()
        if ":" in line and not line.startswith(("# ", "\t"))
    )
    wanted = settings()
    wanted.pop("gui.column.format")  # its lines are seen at work below
    assert len(wanted) > 5
    assert {key: current.get(key, "unknown").strip() for key in wanted} == wanted


def test_the_columns_show_where_and_why(profiled: Tshark, capture: Path) -> None:
    first, *_, last = profiled.run("tshark", "-C", "emu", "-r", capture).splitlines()
    for words in ("default/client/eth0", "Outbound", "client.default.pod", "the client speaks"):
        assert words in first
    assert "node-1/drop" in last
    assert last.endswith("dropped")


def test_a_segment_on_two_interfaces_is_no_retransmission(profiled: Tshark, tshark: Tshark, capture: Path) -> None:
    where = ("-Y", "tcp.analysis.retransmission", "-T", "fields", "-e", "frame.number")
    assert profiled.run("tshark", "-C", "emu", "-r", capture, *where) == ""
    assert tshark.run("tshark", "-r", capture, *where) == "2\n"


def test_vxlan_is_opened_at_the_kernels_port(profiled: Tshark, tmp_path: Path) -> None:
    path = tmp_path / "overlay.pcapng"
    header = Ether() / IP(src="192.168.50.11", dst="192.168.50.12") / UDP(sport=50000, dport=8472) / VXLAN(vni=1)
    with pcapng.create(path) as writer:
        writer.packet(writer.interface("node-1/eth0"), 0, bytes(header / SEGMENT), pcapng.OUTBOUND, "in a tunnel")
    fields = ("-T", "fields", "-e", "vxlan.vni", "-e", "tcp.dstport")
    assert profiled.run("tshark", "-C", "emu", "-r", path, *fields) == "1\t80\n"


def test_checksums_are_verified(profiled: Tshark, capture: Path) -> None:
    fields = ("-T", "fields", "-e", "ip.checksum.status", "-e", "tcp.checksum.status")
    assert profiled.run("tshark", "-C", "emu", "-r", capture, *fields) == "1\t1\n" * 2
    assert {pref.replace(":TRUE", "") for pref in CHECKSUMS} <= settings().keys()


def test_each_colour_is_a_filter_that_wireshark_takes(profiled: Tshark, capture: Path) -> None:
    lines = [line for line in (PROFILE / "colorfilters").read_text().splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        _, name, condition, colours = line.split("@")
        assert name
        assert colours.count("[") == 2
        profiled.run("tshark", "-r", capture, "-Y", condition)
    colour = ("-T", "fields", "-e", "frame.coloring_rule.name", "--color")
    assert "Dropped" in profiled.run("tshark", "-C", "emu", "-r", capture, *colour)

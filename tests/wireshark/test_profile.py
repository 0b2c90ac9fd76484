"""The Wireshark profile: it loads without a word, every setting is one Wireshark knows, and it does its work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from emu.capture import pcapng
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET
from profiled import places, profiled
from tshark import CHECKSUMS, Tshark

PROFILE = Path(__file__).parents[2] / "emu" / "wireshark" / "profile"
SEGMENT = bytes.fromhex(
    "0a580af40101 0a580af40102 0800 4500002c00014000400621df 0af40102 0af40203"
    "1388 0050 00000064 000000c8 50180200 bb11 0000 61626364"
)


@pytest.fixture(name="profiled")
def _profiled(tshark: Tshark, tmp_path: Path) -> Tshark:
    return profiled(tmp_path)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "two.pcapng"
    with pcapng.create(path) as writer:
        client, drop = writer.interface("default/client/eth0"), writer.interface("node-1/drop")
        writer.names({(AF_INET, ip4("10.244.1.2")): ["client.default.pod"]})
        writer.packet(
            client,
            0,
            SEGMENT,
            pcapng.OUTBOUND,
            "(4) the client speaks\nnat: DNAT dst 10.0.0.1:80 -> 10.0.0.2:80, ct node-1#1\nflow/hop 1/1",
        )
        writer.packet(drop, 1_000, SEGMENT, 0, "node-1 drops it\ndropped NETFILTER_DROP at node-1/eth0\nflow/hop 1/2")
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
    for words in (" 4 ", "default/client/eth0", " out ", "client.default.pod", "DNAT", "(4) the client speaks"):
        assert words in first
    assert "node-1/drop" in last and " drop " in last and " dropped " in last
    assert last.endswith("flow/hop 1/2")


def test_without_the_script_its_columns_are_empty_and_nothing_complains(profiled: Tshark, capture: Path) -> None:
    (places(profiled.home).plugins / "emu.lua").unlink()
    first = profiled.run("tshark", "-C", "emu", "-r", capture).splitlines()[0]
    assert "default/client/eth0" in first and "(4) the client speaks" in first and " out " not in first


def test_every_column_has_a_width_and_the_interface_is_readable() -> None:
    titled = re.findall(r'^\t"([^"]+)", "%(.*?)(?::0:R)?",?$', (PROFILE / "preferences").read_text(), re.M)
    wide = re.findall(r'^ "?%(.*?)"?, (\d+)', (PROFILE / "recent").read_text(), re.M)
    assert [column for _, column in titled] == [column for column, _ in wide]
    widths = {title: int(width) for (title, _), (_, width) in zip(titled, wide, strict=True)}
    # a letter of the list takes 8 to 9 pixels
    assert widths["Interface"] >= 9 * len("node-1/veth7e7187e7") and widths["Step"] >= 9 * len("back 2")
    before_comment = sum(width for title, width in widths.items() if title != "Comment")
    assert before_comment < 1300


def test_two_copies_of_the_script_are_one(profiled: Tshark, capture: Path) -> None:
    script = places(profiled.home).plugins / "emu.lua"
    shutil.copy(script, script.with_name("again.lua"))
    assert profiled.run("tshark", "-C", "emu", "-r", capture, "-T", "fields", "-e", "emu.flow") == "1\n1\n"


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
    shown = profiled.run("tshark", "-C", "emu", "-r", capture, *colour)
    assert "Dropped" in shown and "NAT rewrote it" in shown

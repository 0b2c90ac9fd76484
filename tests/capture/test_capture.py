"""Captures: what taps keep, how frames are numbered and chosen, and files that tshark reads back as they were written."""

from __future__ import annotations

import gc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import rdpcap

from emu.capture import pcapng
from emu.capture.capture import Capture, Captured
from emu.capture.tap import IN, OUT, Log
from emu.clock import SECOND, Clock
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.trail import Born, Bridged
from emu.wire.addr import BROADCAST_MAC, ZERO_MAC, ip4, mac
from emu.wire.frame import AF_INET, BROADCAST, HOST, MULTICAST, OTHERHOST, Frame
from ladder_emu import EmuWorld
from ladder_setup import Setup

if TYPE_CHECKING:
    from tshark import Tshark

MAC_A, MAC_B, MAC_C = (mac(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))
BORN, FLOODED, FORWARDED = Born("a test sends a frame"), Bridged("br0", flooded=2), Bridged("br0", port="p2")
NAMES = {
    "10.96.0.10": "svc/web.default",
    "10.244.1.11": "default/client",
    "10.244.2.13": "default/web-0",
    "10.244.1.1": "n1/cbr0",
}


def datagram(dmac: bytes = MAC_B, src: str = "10.0.0.1", dst: str = "10.0.0.2", data: bytes = b"x") -> bytes:
    return bytes(Ether(dst=dmac, src=MAC_A) / IP(src=src, dst=dst) / UDP(sport=5, dport=53) / Raw(data))


def frame(data: bytes, flow: int = 1, pkt_type: int = HOST, trail: list[object] | None = None) -> Frame:
    made = Frame.parse(data, flow, trail)
    made.pkt_type = pkt_type
    return made


@pytest.fixture
def two() -> tuple[Capture, Device, Device]:
    """A capture of two lone devices."""
    clock = Clock()
    capture = Capture(clock)
    devices = Device(clock, "eth0", MAC_A), Device(clock, "eth0", MAC_B)
    for device, name in zip(devices, ("a", "b"), strict=True):
        capture.attach(device, name)
    return capture, *devices


def see(device: Device, what: Frame, direction: int = IN) -> None:
    """Show a frame to a device's tap; a microsecond goes by."""
    assert device.tap is not None
    device.clock.now += 1000
    device.tap(what, direction)


def world(name: str = "s03_clusterip_remote") -> tuple[EmuWorld, Capture]:
    """A ladder's topology, captured."""
    made = EmuWorld(Setup(name))
    capture = Capture(made.clock)
    for owner, net in made.nets.items():
        capture.attach_namespace(net, owner)
    capture.names = {(AF_INET, ip4(addr)): [text] for addr, text in NAMES.items()}
    return made, capture


def talk(made: EmuWorld, target: str = "10.96.0.10", port: int = 80, flow: int = 1) -> None:
    """p1 opens a TCP connection, p3 listens on 8080 and closes."""
    listener = made.nets["p3"].sockets.tcp()
    listener.bind(("0.0.0.0", 8080))
    listener.listen()
    client = made.nets["p1"].sockets.tcp(flow)
    client.connect((target, port))
    made.wait(SECOND)
    client.send(b"hello")
    server = listener.accept()
    made.wait(SECOND)
    assert server.recv() == b"hello"
    client.close()
    server.close()
    listener.close()
    made.wait(SECOND)


@pytest.fixture(scope="module")
def service() -> Capture:
    """One connection to a Service in flow 1, one UDP datagram to an absent host in flow 2, a ping in no flow."""
    made, capture = world()
    talk(made)
    stray = made.nets["p1"].sockets.udp(2)
    stray.sendto(b"question", ("10.244.2.13", 9))
    made.wait(SECOND)
    made.nets["p1"].sockets.ping().send("10.244.2.13", 1)
    made.wait(30 * SECOND)
    return capture


# -- taps ----------------------------------------------------------------------------------------


def test_a_tap_copies_the_bytes_and_drains_the_trail(two: tuple[Capture, Device, Device]) -> None:
    capture, a, b = two
    live = frame(datagram(), trail=[BORN])
    see(a, live, OUT)
    assert live.trail == []
    live.trail += [FLOODED, FORWARDED]
    live.buf[22] = 7  # a hop rewrites the frame in place
    see(b, live)
    first, second = capture.frames()
    assert (first.data, first.trail, first.interface, first.direction) == (datagram(), (BORN,), "a/eth0", "out")
    assert (second.data[22], second.trail, second.interface, second.direction) == (
        7,
        (FLOODED, FORWARDED),
        "b/eth0",
        "in",
    )
    assert [each.time_ns for each in (first, second)] == [1000, 2000]


def test_a_frame_without_a_trail_is_captured_too(two: tuple[Capture, Device, Device]) -> None:
    capture, a, _ = two
    see(a, frame(datagram(), trail=None))
    see(a, frame(datagram(), trail=[]))
    assert [each.trail for each in capture.frames()] == [(), ()]


@pytest.mark.parametrize(
    ("pkt_type", "direction", "way", "flags"),
    [
        (HOST, IN, "in", 0b00101),
        (BROADCAST, IN, "in", 0b01101),
        (MULTICAST, IN, "in", 0b01001),
        (OTHERHOST, IN, "in-other", 0b10001),
        (HOST, OUT, "out", 0b10),
        (OTHERHOST, OUT, "out", 0b10),
    ],
)
def test_directions(two: tuple[Capture, Device, Device], pkt_type: int, direction: int, way: str, flags: int) -> None:
    capture, a, _ = two
    see(a, frame(datagram(), pkt_type=pkt_type), direction)
    (seen,) = capture.frames()
    assert (seen.way, seen.flags) == (way, flags)
    assert seen.direction == way.partition("-")[0]


def reception(dmac: bytes, own_mac: bytes) -> int:
    """The reception type of pcapng's epb_flags (section 4.3.1); promiscuous is a unicast frame for another address."""
    if dmac == own_mac:
        return pcapng.UNICAST
    if dmac == BROADCAST_MAC:
        return pcapng.BROADCAST
    return pcapng.MULTICAST if dmac[0] & 1 else pcapng.PROMISCUOUS


def test_reception_follows_the_interface_s_own_mac(service: Capture) -> None:
    """A tap takes the kernel's pkt_type; here it is judged by the bytes and the interface's address."""
    for each in service.frames():
        if each.direction == "in":
            assert each.flags == pcapng.INBOUND | reception(each.data[:6], each.place.mac or ZERO_MAC), each


def test_hops_count_within_a_flow_and_stay(two: tuple[Capture, Device, Device]) -> None:
    capture, a, b = two
    for flow in (1, 2, 1, 0, 2, 0, 1):
        see(a if flow else b, frame(datagram(), flow))
    assert [(each.flow, each.hop) for each in capture.frames()] == [
        (1, 1), (2, 1), (1, 2), (0, 1), (2, 2), (0, 2), (1, 3),
    ]  # fmt: skip
    assert [(each.flow, each.hop) for each in capture.frames(flow=2)] == [(2, 1), (2, 2)]
    assert [each.hop for each in capture.frames(flow=1, since=2)] == [2, 3]
    assert [each.comment().splitlines()[-1] for each in capture.frames(since=4)] == [
        "flow/hop 2/2", "flow/hop 0/2 (background)", "flow/hop 1/3",
    ]  # fmt: skip


def test_marks_cut_a_capture_in_steps(two: tuple[Capture, Device, Device]) -> None:
    capture, a, _ = two
    marks = []
    for flow in (1, 2, 3):
        marks.append(capture.mark())
        see(a, frame(datagram(), flow))
        see(a, frame(datagram(), flow))
    marks.append(capture.mark())
    assert marks == [0, 2, 4, 6]
    for flow, (since, until) in enumerate(pairwise(marks), 1):
        assert [each.flow for each in capture.frames(since=since, until=until)] == [flow, flow]


def test_the_log_holds_little_that_the_garbage_collector_follows() -> None:
    log = Log(Clock())
    tap = log.tap(70000)
    for number in range(100):
        tap(frame(datagram(), flow=number << 20, trail=[BORN]), IN)
    assert log.index() == 100
    assert [gc.is_tracked(each) for each in log.entries[1:7]] == [False] * 6
    assert {id(each) for each in log.entries[::7]} == {id(BORN)}
    assert [log.open.codes[number] >> 28 for number in (0, 1, 99)] == [0, 1 << 20, 99 << 20]


def test_a_device_that_comes_back_is_another_interface() -> None:
    capture, clock = Capture(Clock()), Clock()
    first, second = (Device(clock, "eth0", MAC_A) for _ in range(2))
    names = [capture.attach(device, "default/web-0").name for device in (first, second)]
    assert names == ["default/web-0/eth0", "default/web-0/eth0#2"]
    see(second, frame(datagram()))
    assert [each.interface for each in capture.frames()] == ["default/web-0/eth0#2"]


def test_a_namespace_is_captured_with_what_joins_it_later() -> None:
    made, capture = world()
    names = [each.name for each in capture.interfaces]
    for owner, net in made.nets.items():
        mine = [name for name in names if name.startswith(f"{owner}/")]
        assert mine == [*(f"{owner}/{device}" for device in net.devices), f"{owner}/drop"]
    made.nets["n1"].attach(Device(made.clock, "dummy0", MAC_C))
    assert capture.interfaces[-1].name == "n1/dummy0"
    assert all(net.tracing for net in made.nets.values())


# -- selection -----------------------------------------------------------------------------------


def test_selection_by_flow_interface_and_background(service: Capture) -> None:
    everything = service.frames()
    assert {each.flow for each in everything} == {0, 1, 2}
    assert [each.number for each in everything] == list(range(len(everything)))
    assert all(one.time_ns <= other.time_ns for one, other in pairwise(everything))
    for flow in (1, 2):
        assert [each.number for each in service.frames(flow=flow)] == [e.number for e in everything if e.flow == flow]
    both = service.frames(flows=[2, 1])
    assert [each.number for each in both] == [each.number for each in everything if each.flow]
    assert [each.number for each in service.frames(background=False)] == [each.number for each in both]
    with_background = service.frames(flow=2, background=True)
    assert {each.flow for each in with_background} == {0, 2}
    own = service.frames(flow=1, interface="p1/eth0")
    assert own
    assert {each.interface for each in own} == {"p1/eth0"}
    assert {each.interface for each in service.frames(interfaces=["n?/cbr0"])} == {"n1/cbr0", "n2/cbr0"}


def test_an_unknown_interface_is_an_error_with_the_nearest_name(service: Capture, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    for call in (service.frames, lambda **chosen: service.write(path, **chosen)):
        with pytest.raises(InputError, match="no interface is called 'n1/cbr1'") as caught:
            call(interface="n1/cbr1")
        assert "'n1/cbr0'" in str(caught.value)
    assert not path.exists()


# -- frames for people ---------------------------------------------------------------------------


def test_a_frame_gives_its_scapy_packet(service: Capture) -> None:
    asked = service.frames(flow=1)[0]
    assert asked.packet()[ARP].pdst == "10.244.1.1"
    assert bytes(asked.packet()) == asked.data


def test_lines_show_roles_and_relative_numbers(service: Capture) -> None:
    lines = [each.line() for each in service.frames(flow=1, interface="p1/eth0")]
    assert lines[:3] == [
        "p1:eth0 out [p1>bcast] ARP who-has 10.244.1.1 tell 10.244.1.11 (p1)",
        "p1:eth0 in [n1.cbr0>p1] ARP 10.244.1.1 is-at n1.cbr0 -> 10.244.1.11",
        lines[2],
    ]
    port = service.frames(flow=1, interface="p1/eth0")[2].packet().sport
    assert lines[2].startswith(f"p1:eth0 out [p1>n1.cbr0] 10.244.1.11>10.96.0.10 ttl64 DF TCP {port}>80 [S] seq=0 win=")
    assert lines[3].startswith(
        f"p1:eth0 in [n1.cbr0>p1] 10.96.0.10>10.244.1.11 ttl62 DF TCP 80>{port} [SA] seq=0 ack=1"
    )
    assert any(f"TCP {port}>80 [PA] seq=1 ack=1 win=" in text and text.endswith("len=5") for text in lines)
    # the same numbers where NAT changed the addresses
    assert any(
        "TCP 8080>" in each.line() and "[SA] seq=0 ack=1" in each.line() for each in service.frames(interface="p3/eth0")
    )


def test_a_dropped_frame_lies_on_the_pseudo_interface(service: Capture) -> None:
    (lost,) = service.frames(flow=2, interface="p3/drop")
    assert (lost.direction, lost.way, lost.flags) == ("drop", "drop", 0)
    assert lost.comment().splitlines()[:2] == [
        "p3/eth0 drops a datagram of 8 bytes from default/client to default/web-0:9: no socket is open for it",
        "dropped NO_SOCKET at p3/eth0",
    ]


def test_stories_speak_of_their_flow_only(service: Capture) -> None:
    def story(captured: Captured) -> str | None:
        return "step (1): the packet leaves by eth0" if captured.interface == "p1/eth0" else None

    service.stories[1] = story
    assert service.story(1) is story
    try:
        rows = [each.comment().splitlines() for each in service.frames()]
    finally:
        del service.stories[1]
    with_step = [lines[-2:] for lines in rows if "step (1): the packet leaves by eth0" in lines]
    assert len(with_step) == len(service.frames(flow=1, interface="p1/eth0"))
    assert with_step[0] == ["step (1): the packet leaves by eth0", "flow/hop 1/1"]


def test_names_may_change_between_files(service: Capture, tmp_path: Path, tshark: Tshark) -> None:
    first = service.frames(flow=1)[0]
    assert first.comment().startswith("p1 asks who has n1/cbr0, the next hop of a packet to svc/web.default")
    before = service.names[AF_INET, ip4("10.244.1.1")]
    service.names[AF_INET, ip4("10.244.1.1")] = ["gateway"]
    try:
        service.mark()
        assert first.comment().startswith("p1 asks who has gateway, the next hop of")
    finally:
        service.names[AF_INET, ip4("10.244.1.1")] = before
        service.mark()


# -- files ---------------------------------------------------------------------------------------


def test_the_whole_capture_has_every_interface_and_every_frame(
    service: Capture, tmp_path: Path, tshark: Tshark
) -> None:
    path = tmp_path / "all.pcapng"
    assert service.write(path) == len(service.frames())
    assert tshark.problems(path) == []
    info = tshark.run("capinfos", path)
    assert f"Number of interfaces in file: {len(service.interfaces)}" in info
    assert "Strict time order:   True" in info
    for interface in service.interfaces:
        assert f"Name = {interface.name}" in info
    rows = tshark.read(path, "frame.interface_name", "frame.comment", "frame.packet_flags_direction")
    directions = {"in": "0x00000001", "out": "0x00000002"}
    assert [(each["frame.interface_name"], each["frame.comment"]) for each in rows] == [
        ([each.interface], [each.comment()]) for each in service.frames()
    ]
    assert [each["frame.packet_flags_direction"] for each in rows] == [
        [directions[each.direction]] if each.direction in directions else [] for each in service.frames()
    ]


def test_a_flows_file_has_what_it_caused(service: Capture, tmp_path: Path, tshark: Tshark) -> None:
    path, own = tmp_path / "flow.pcapng", tmp_path / "flow.client.pcapng"
    frames = service.frames(flow=2)
    assert service.write(path, flow=2) == len(frames)
    assert tshark.problems(path) == []
    info = tshark.run("capinfos", path)
    assert f"Number of interfaces in file: {len({each.interface for each in frames})}" in info
    names = tshark.run("tshark", "-r", path, "-N", "dn", "-Y", "udp && !icmp", "-T", "fields", "-e", "ip.src_host")
    assert set(names.split()) == {"default/client"}
    assert service.write(own, flow=2, interface="p1/eth0") == len(service.frames(flow=2, interface="p1/eth0"))
    assert {each["frame.interface_name"][0] for each in tshark.read(own, "frame.interface_name")} == {"p1/eth0"}


def test_names_of_a_flows_file_are_those_it_needs(service: Capture, tmp_path: Path) -> None:
    path = tmp_path / "flow.pcapng"
    service.write(path, flow=2)
    data = path.read_bytes()
    assert b"default/web-0" in data
    assert ip4("10.96.0.10").to_bytes(4, "big") + b"svc/web.default\0" not in data
    service.write(path, flow=1)
    assert ip4("10.96.0.10").to_bytes(4, "big") + b"svc/web.default\0" in path.read_bytes()


def test_per_interface_no_tcp_analysis_flag(service: Capture, tmp_path: Path, tshark: Tshark) -> None:
    path = tmp_path / "flow.pcapng"
    service.write(path, flow=1)
    assert tshark.analysis(path) == {}


def test_the_same_run_gives_the_same_bytes(service: Capture, tmp_path: Path) -> None:
    files = []
    for number in range(2):
        made, capture = world()
        talk(made)
        path = tmp_path / f"{number}.pcapng"
        capture.write(path)
        files.append(path.read_bytes())
    assert files[0] == files[1]
    assert len(files[0]) > 10_000


def test_an_empty_selection_is_a_file_all_the_same(service: Capture, tmp_path: Path, tshark: Tshark) -> None:
    path = tmp_path / "none.pcapng"
    assert service.write(path, flow=77, interface="p1/eth0") == 0
    assert tshark.run("tshark", "-r", path) == ""
    assert "Name = p1/eth0" in tshark.run("capinfos", path)


def test_split_gives_classic_files(service: Capture, tmp_path: Path) -> None:
    paths = service.write_split(tmp_path / "split", flow=1)
    frames = service.frames(flow=1)
    assert [path.name for path in paths] == [
        f"{each.name.replace('/', '.')}.pcap"
        for each in service.interfaces
        if each.name in {seen.interface for seen in frames}
    ]
    for path in paths:
        assert [bytes(packet) for packet in rdpcap(str(path))] == [
            each.data for each in frames if each.interface.replace("/", ".") == path.stem
        ]

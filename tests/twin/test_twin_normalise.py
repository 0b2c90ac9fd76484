"""Numbers that a kernel draws become words; a wrong one must not become the right word."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, IPOption_RR, fragment
from scapy.layers.l2 import Dot1Q, Ether

from emu.twin.normalise import Normaliser


def syn(seq: int) -> IP:
    return IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=4000, dport=80, flags="S", seq=seq)


def lines(*packets: IP) -> list[str]:
    normaliser = Normaliser({})
    frames = [bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet) for packet in packets]
    return [normaliser.render(frame, length=len(frame), loopback=False) for frame in frames]


def rejected(seq: int) -> IP:
    return IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=3, code=3) / syn(seq)


def test_a_quoted_syn_counts_from_its_own_beginning() -> None:
    assert "[S] seq=0 " in lines(syn(5000), rejected(5000))[1]


def test_a_quote_with_a_wrong_number_is_not_taken_for_the_right_one() -> None:
    right, wrong = lines(syn(5000), rejected(5000))[1], lines(syn(5000), rejected(5001))[1]
    assert right != wrong


def test_a_syn_that_only_a_quote_shows_has_no_relative_number() -> None:
    """Near another connection's beginning or far from it, the words are the same."""
    near, far = lines(syn(5000), rejected(6000))[1], lines(syn(5000), rejected(5000 + (1 << 30)))[1]
    assert near == far
    assert "[S] seq=seq1 " in near


def udp(**fields: object) -> IP:
    return IP(src="10.0.0.1", dst="10.0.0.2", id=7) / UDP(sport=4000, dport=53, **fields) / b"payload"


def quote(packet: IP, **changes: object) -> IP:
    """An error that quotes a packet whose header has other fields."""
    quoted = IP(bytes(packet))
    for name, value in changes.items():
        setattr(quoted, name, value)
    return IP(src="10.0.0.2", dst="10.0.0.1", id=9) / ICMP(type=3, code=3) / quoted


def test_a_udp_checksum_of_zero_is_no_right_one() -> None:
    right, none, wrong = (line.partition(" id=")[2] for line in lines(udp(), udp(chksum=0), udp(chksum=5)))
    assert none == f"{right} no-checksum"
    assert wrong == f"{right} bad-checksum"


def test_a_quote_is_read_to_its_end() -> None:
    other = IP(src="10.0.0.1", dst="10.0.0.2", id=7) / UDP(sport=4000, dport=53) / b"pa?load"
    assert lines(quote(udp()))[0] != lines(quote(other))[0]


def test_a_quoted_checksum_is_verified() -> None:
    assert "bad-checksum" in lines(quote(udp(chksum=5)))[0]
    assert "bad-checksum" not in lines(quote(udp()))[0]
    quoted = IP(src="1.0.0.1", dst="1.0.0.2") / ICMP(type=8, id=3, chksum=5) / b"x"
    assert "bad-checksum" in lines(IP(src="1.0.0.2", dst="1.0.0.1") / ICMP(type=3, code=1) / quoted)[0]


def test_a_quoted_identification_is_of_a_packet_that_was_seen() -> None:
    _, same, other, none = lines(udp(), quote(udp()), quote(udp(), id=8), quote(udp(), id=0))
    assert "{10.0.0.1>10.0.0.2 ttl64 id=seen " in same
    assert "{10.0.0.1>10.0.0.2 ttl64 id=x " in other
    assert "{10.0.0.1>10.0.0.2 ttl64 id=0 " in none


def test_fragments_show_tos_ports_and_checksum() -> None:
    def piece(sport: int = 5, tos: int = 0) -> str:
        whole = IP(src="10.0.0.1", dst="10.0.0.2", id=7, tos=tos) / UDP(sport=sport, dport=53) / bytes(3000)
        return lines(fragment(whole, 1480)[0])[0]

    assert "UDP 5>53 udp-length=3008 checksum=0x" in piece()
    assert " tos=0x08 fragment offset=0+" in piece(tos=8)
    assert piece() != piece(sport=6)


def test_the_first_fragment_of_tcp_counts_its_numbers() -> None:
    segment = syn(5000) / bytes(3000)
    assert lines(fragment(segment, 1480)[0]) == lines(fragment(syn(9000) / bytes(3000), 1480)[0])


def test_options_are_read_by_content() -> None:
    def options(*each: IPOption) -> str:
        return lines(IP(src="10.0.0.1", dst="10.0.0.2", options=list(each)) / UDP())[0]

    empty, filled = IPOption_RR(pointer=4, routers=["0.0.0.0"]), IPOption_RR(pointer=8, routers=["10.0.0.9"])
    assert "options=[7=0400000000 eol]" in options(empty)
    assert "options=[7=080a000009 eol]" in options(filled)
    assert options(IPOption(b"\x44\x0c\x05\x00" + bytes(8))).endswith("options=[68=pointer 5 flags 0x00 empty/empty]")
    late, early = (options(IPOption(b"\x44\x08\x09\x00" + time)) for time in (b"\0\1\2\3", b"\3\2\1\0"))
    assert late == early
    assert Normaliser({})._ip_options(b"\x07\x20\x04\x00") == " options=[broken 07200400]"


def test_a_counter_that_wraps_is_no_constant() -> None:
    def numbered(ip_id: int, flags: str, seq: int) -> IP:
        return IP(src="10.0.0.1", dst="10.0.0.2", id=ip_id) / TCP(sport=4000, dport=80, flags=flags, seq=seq)

    begin, wrapped, after = lines(numbered(0xFFFF, "S", 99_999), numbered(0, "A", 100_000), numbered(1, "A", 100_000))
    assert [line.split()[3] for line in (begin, wrapped, after)] == ["id=r+0", "id=r+1", "id=r+2"]
    _, constant = lines(numbered(9, "S", 99), numbered(0, "A", 100))
    assert constant.split()[3] == "id=0"


def test_a_tag_is_shown() -> None:
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / Dot1Q(vlan=7, prio=2) / udp())
    assert "] VLAN 7 priority 0x4 10.0.0.1>10.0.0.2" in Normaliser({}).render(frame)


def test_a_number_that_was_written_by_hand_counts_from_no_connection() -> None:
    def by_hand(seq: int) -> str:
        return lines(
            syn(isn), IP(src="10.0.0.1", dst="10.0.0.2", id=9) / TCP(sport=4000, dport=80, flags="A", seq=seq, ack=9)
        )[1]

    isn = 0xFFFF0000
    assert "id=x" in by_hand(7) and "seq=seq1 ack=seq2" in by_hand(7)
    assert "id=r+" in by_hand(isn + 200) and "seq=200 ack=seq1" in by_hand(isn + 200)


def test_the_first_fragment_of_a_tunnel_is_read_as_the_packet_in_it() -> None:
    """Its identification is drawn; its payload and its addresses are not."""

    def first(ident: int, data: bytes = b"y") -> str:
        inner = Ether() / IP(src="10.0.1.1", dst="10.0.2.2", id=ident) / UDP(sport=5, dport=53) / (data * 1400)
        outer = IP(src="10.0.0.1", dst="10.0.0.2", id=7) / UDP(sport=4000, dport=8472)
        return lines(fragment(outer / (b"\x08\0\0\0\0\0\1\0" + bytes(inner)), 1376)[0])[0]

    assert first(1) == first(2) != first(1, b"z")
    assert "VXLAN 00000100 {[" in first(1) and "10.0.1.1>10.0.2.2" in first(1)

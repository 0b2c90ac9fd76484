"""A packet through a real node's rules: every outcome with its probability, the rule and line that decided, the answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from emu.cli import main
from emu.errors import InputError
from emu.kernel.netfilter.save import parse_restore, save
from emu.report.node import read_node
from emu.report.outcomes import DROPPED, LEAVES, UNDECIDED, Probe, outcomes
from emu.report.packet import complete, trace
from emu.wire.addr import ip4
from emu.wire.frame import TCP
from node_dumps import DATA, NAMES, read

CLIENT, SERVICE = ip4("10.244.1.2"), ip4("10.96.20.20")
PROBE = Probe(TCP, CLIENT, SERVICE, 40000, 80, "veth0a2b4c6d")
UNKNOWN = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:mine - [0:0]
-A FORWARD -s 10.0.0.9/32 -m bpf --bytecode "1,6 0 0 0" -m comment --comment "-j X" -j DROP
-A FORWARD -d 10.2.0.0/16 -p udp -m udp --dport 53 -j mine
-A FORWARD -d 10.4.0.1/32 -m set --match-set gone dst -j DROP
-A FORWARD -d 10.5.0.1/32 -p tcp -m connlabel --label web -m tcp --dport 80 -j DROP
-A mine -j TPROXY --on-port 15001 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff
COMMIT
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_packet_of_a_dump_has_outcomes_that_sum_to_one(name: str) -> None:
    dump = read(name)
    node = dump.node()
    assert not node.unknown
    for probe in dump.probes:
        found = list(outcomes(node, complete(node, probe)))
        assert sum(outcome.probability for outcome in found) == pytest.approx(1.0)
        assert all(outcome.there.word != UNDECIDED for outcome in found)


@pytest.mark.parametrize("name", NAMES)
def test_a_dump_comes_back_as_it_was(name: str) -> None:
    text = read(name).rules
    rules = [line for line in text.splitlines() if line.startswith("-A")]
    # one text was edited by hand: REJECT without the option that iptables-save always writes
    rules = [re.sub("-j REJECT$", "-j REJECT --reject-with icmp-port-unreachable", line) for line in rules]
    assert sorted(line for line in save(parse_restore(text)).splitlines() if line.startswith("-A")) == sorted(rules)


def test_all_endpoints_are_followed_with_their_probability() -> None:
    node = read("kind").node()
    traced = trace(node, PROBE)
    found = [(each["probability"], each["summary"]) for each in traced.report.data["outcomes"]]
    assert [round(p, 4) for p, _text in found] == [0.3333] * 3
    # the hairpin is masqueraded with the address that its own interface shows
    assert found[0][1].startswith("leaves to 10.244.1.2:8080 from 10.244.1.1:")
    assert found[1][1] == "leaves to 10.244.1.3:8080 out of veth1e3f5a7b"
    assert found[2][1] == "leaves to 10.244.0.9:8080 out of eth0 to the next hop 172.18.0.3"
    third = traced.report.data["outcomes"][2]
    assert third["back"]["outInterface"] == "veth0a2b4c6d" and third["back"]["source"] == "10.96.20.20:80"
    rules = [each for each in third["there"]["decisions"] if "rule" in each]
    lines = read("kind").rules.splitlines()
    assert rules and all(lines[each["line"] - 1] == each["rule"] for each in rules)
    assert "nat KUBE-SVC-QKX4QX54UKWK6JIY rule 4" in traced.report.text


def test_details_differ_in_what_they_print() -> None:
    dump = read("kind")
    texts = {detail: trace(dump.node(), PROBE, detail).report.text for detail in ("minimal", "summary", "detailed")}
    assert texts["minimal"].count("\n") < 8
    assert "conntrack NEW" in texts["detailed"] and "conntrack NEW" not in texts["summary"]
    assert "DNAT 10.96.20.20:80 -> 10.244.1.3:8080" in texts["summary"]


def test_a_later_packet_of_a_connection_walks_no_nat_rules() -> None:
    node = read("kind").node()
    found = list(
        outcomes(node, complete(node, Probe(TCP, CLIENT, SERVICE, 40000, 80, "veth0a2b4c6d", state="established")))
    )
    assert len(found) == 3 and all(outcome.there.word == LEAVES for outcome in found)
    assert not [entry for entry in found[0].there.trail if getattr(entry, "table", "") == "nat"]


@pytest.mark.parametrize(
    ("source", "target", "line", "why"),
    [
        ("10.0.0.9", "10.9.9.9:80/tcp", 6, "-m bpf"),
        ("10.0.0.1", "10.2.0.1:53/udp", 10, "-j TPROXY"),
        ("10.0.0.1", "10.4.0.1:80/tcp", 8, "no set 'gone'"),
        ("10.0.0.1", "10.5.0.1:80/tcp", 9, "-m connlabel"),
    ],
)
def test_what_is_not_modelled_is_undecided_with_its_line(
    source: str, target: str, line: int, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "iptables-save.txt"
    rules.write_text(UNKNOWN)
    words = ["trace", "--rules", str(rules), "--from", source, "--in-iface", "cbr0", "--to", target]
    assert main([*words, "-o", "json"]) == 3
    shown = capsys.readouterr()
    (outcome,) = json.loads(shown.out)["outcomes"]
    assert outcome["there"]["outcome"] == "undecided" and outcome["there"]["line"] == line
    assert why in outcome["summary"]
    assert f"{rules}:6: -m bpf: BPF programs are not run;" in shown.err and "assumed: " in shown.err
    assert main(words) == 3
    assert f"line {line}" in capsys.readouterr().out


def test_a_packet_that_passes_such_a_rule_is_decided(tmp_path: Path) -> None:
    rules = tmp_path / "iptables-save.txt"
    rules.write_text(UNKNOWN)
    assert (
        main(["trace", "--rules", str(rules), "--from", "10.0.0.1", "--to", "10.5.0.1:81/tcp", "--in-iface", "a"]) == 0
    )
    with pytest.raises(InputError):
        parse_restore(UNKNOWN)  # a user's own rules are read strictly


def test_a_source_that_is_not_behind_its_interface_dies_by_rpfilter() -> None:
    dump = read("calico")
    node = dump.node()
    probe = next(each for each in dump.probes if each.src == ip4("10.42.1.7"))
    (outcome,) = outcomes(node, complete(node, probe))
    assert outcome.there.word == DROPPED and "rpfilter" in str(outcome.there.by) and outcome.back is None


@pytest.mark.parametrize(
    ("given", "error_text"),
    [
        ({"routes": "{"}, "not JSON"),
        ({"routes": '{"dst": "default"}'}, "a list of objects"),
        ({"ipset": "create a hash:nothing"}, "hash:nothing"),
        ({"ipset": "add a 10.0.0.1"}, "no set 'a'"),
        ({"policy": '[{"table": "mine"}]'}, "unknown routing table 'mine'"),
    ],
)
def test_bad_texts_have_one_message(given: dict[str, str], error_text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_node("*filter\nCOMMIT\n", **given)  # type: ignore[arg-type]  # every value is a text
    assert error_text in str(caught.value)


def test_the_command_reads_the_files_of_a_dump(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--rules",
        f"{DATA}/calico.rules",
        "--ipset",
        f"{DATA}/calico.ipset",
        "--routes",
        f"{DATA}/calico.routes.json",
    ]
    probe = [
        "--from-ip",
        "10.42.5.9",
        "--in-iface",
        "vxlan.calico",
        "--to",
        "10.42.1.5:8085/tcp",
        "--detail",
        "minimal",
    ]
    assert main(["trace", *words, *probe]) == 0
    assert "dropped (NETFILTER_DROP) by filter cali-tw-cali0a1b2c3d4e5 rule 8, line 111" in capsys.readouterr().out


def test_validate_names_what_is_not_modelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "node.rules"
    rules.write_text(UNKNOWN)
    assert main(["validate", str(rules)]) == 0
    assert f"{rules}:10: -j TPROXY TPROXY cannot be used in table filter" in capsys.readouterr().err

"""Ladders: as golden text at several widths, the same from a run and from its file, as Mermaid and as DOT."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emu.cli import main
from emu.report.ladders.dot import dot, quoted
from emu.report.ladders.journeys import Ladder, ladders
from emu.report.ladders.mermaid import escaped, mermaid
from emu.report.ladders.sight import Sight, of_captured, of_file
from emu.report.ladders.text import letters, shortened, text
from emu.scenario.gallery import story
from emu.scenario.run import run
from emu.scenario.script import load

# NAT and back; a hairpin; a tunnel; a flood; a drop by a policy; ICMP whose id NAT changes; a loss
STORIES = (
    "pod-to-service",
    "hairpin-on",
    "flannel-vxlan",
    "pod-to-pod-same-node",
    "only-nodes-reach-pods",
    "pod-to-internet",
    "lossy-link",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Sight], Path]]:
    """The sights of each story's run, and the folder that it wrote."""
    folder = tmp_path_factory.mktemp("ladders")
    found = {}
    for name in STORIES:
        capture = run(load(story(name)), folder).cluster.capture
        assert capture is not None
        found[name] = list(of_captured(capture.frames())), folder / name
    return found


Made = dict[str, tuple[list[Sight], Path]]


def of_flow(made: Made, name: str, flow: int = 1) -> Ladder:
    return next(each for each in ladders(made[name][0]) if each.flow == flow)


PACKETS = """\
  a  default/client/eth0   e  underlay/port1        i  node-2/veth531d0e95
  b  node-1/veth7e7187e7   f  underlay/port2        j  default/web/eth0
  c  node-1/cbr0           g  node-2/eth0
  d  node-1/eth0           h  node-2/cbr0
  a       b       c       d       e       f       g       h       i       j
...  ARP: 6 frames, ARP who-has 10.244.1.1 tell 10.244.1.2 (client)
  │       │       │       │       │       │       │       │       │       │
3  0.002 ms  (1, 2, 4, 3) 10.244.1.2>10.96.0.10 ttl64 DF TCP 53662>80 [S] seq=0…
   N at c: DNAT 10.96.0.10:80 -> 10.244.2.2:8080
  o──────>o──────>N══════>o══════>o══════>o══════>o══════>o══════>o══════>o
...  ARP: 14 frames, ARP who-has 192.168.51.1 tell 192.168.51.11 (node-1); ARP …
  │       │       │       │       │       │       │       │       │       │
10  0.012 ms  (back 1, back 2, back 3, back 4) 10.244.2.2>10.244.1.2 ttl64 DF T…
   N at c: un-DNAT 10.244.2.2:8080 -> 10.96.0.10:80
  o<══════o<══════N<──────o<──────o<──────o<──────o<──────o<──────o<──────o"""

HAIRPIN = """\
  a  default/web/eth0      c  node-1/cbr0
  b  node-1/veth7e7187e7
  a       b       c
  o──────>o──────>N  3  0.003 ms  (1, 2, 4) 10.244.1.2>10.96.0.…
  │       │       │     N at c: DNAT 10.96.0.10:80 -> 10.244.1.…
  │       │       │     N at b: SNAT 10.244.1.2:47128 -> 10.244…
  o<══════N<══════o"""

FLOOD = """\
  a       b       c       d       e
  o──────>o───────o───────o──────>o  1  0.000 ms  (3) ARP who-has 10.244.1.3 te…
  o<──────o<──────o<──────────────o  2  0.002 ms  (3) ARP 10.244.1.3 is-at web …
  o──────>o──────>o──────────────>o  3  0.004 ms  (1, 2, 3, 4) 10.244.1.2>10.24…"""

DROPS = """\
  o──────────>o──────────────────────>X           │  3  0.003 ms  10.244.1.2>10.244.2.2 ttl64 DF TCP 53662>8080 [S] seq…
  │           │           │           │           │     X at d: NETFILTER_DROP at node-1/cbr0 by the policy DROP of fil…"""

EVERY_HOP = """\
  o           │           │           │           │  #7  0.000 ms  (3) default/client asks who has defau…
  o──────────>o           │           │           │  #8  0.001 ms  cbr0's port veth7e7187e7 receives the…
  │           o──────────>o           │           │  #9  0.001 ms  (3) cbr0 floods the ARP request who h…
  │           o──────────────────────>o           │  #10  0.001 ms  cbr0 passes the ARP request who has …
  │           │           o──────────────────────>o  #11  0.002 ms  default/web receives the ARP request…"""


def test_a_row_a_packet_in_eighty_letters(made: Made) -> None:
    shown = text(of_flow(made, "pod-to-service"), 80, fold_arp=True)
    assert shown.startswith(PACKETS)


def test_a_hairpin_turns_round_in_a_line_of_its_own(made: Made) -> None:
    shown = text(of_flow(made, "hairpin-on"), 64)
    assert "\n".join([*shown.splitlines()[:3], *shown.splitlines()[6:10]]) == HAIRPIN


def test_a_flood_goes_to_every_port(made: Made) -> None:
    assert FLOOD in text(of_flow(made, "pod-to-pod-same-node"), 80)


def test_a_drop_stands_where_it_happened_with_its_cause(made: Made) -> None:
    assert DROPS in text(of_flow(made, "only-nodes-reach-pods", 2), 120)


def test_a_policy_that_forbids_it_is_named_beside_the_drop() -> None:
    comment = "node-1/cbr0 drops it\ndropped NETFILTER_DROP at node-1/cbr0\npolicy ingress of default/web: isolated by default/closed, no rule allows\nflow/hop 1/2"
    place = ("node-1/veth1", "veth", "in", 1, 1, 0, bytes(60), "[a>b] 10.0.0.1>10.0.0.2 ttl64")
    came, died = (
        Sight(1, 0, *place, "in\nflow/hop 1/1"),
        Sight(2, 0, "node-1/drop", "frames", "drop", 1, 2, 0, bytes(60), place[-1], comment),
    )
    (ladder,) = ladders([came, died])
    shown = text(ladder, 120)
    assert "X at a: NETFILTER_DROP at node-1/cbr0" in shown
    assert "X at a: ingress of default/web: isolated by default/closed, no rule allows" in shown


def test_a_row_a_frame(made: Made) -> None:
    ladder = of_flow(made, "pod-to-pod-same-node")
    shown = text(ladder, 105, every_hop=True)
    assert EVERY_HOP in shown
    numbers = [int(number) for number in re.findall(r"  #(\d+)  ", shown)]
    assert numbers == [hop.sight.number for journey in ladder.journeys for hop in journey.hops]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", STORIES)
def test_no_line_is_longer_than_the_terminal(name: str, width: int, made: Made) -> None:
    for ladder in ladders(made[name][0]):
        for every_hop in (False, True):
            lines = text(ladder, width, every_hop=every_hop).splitlines()
            assert max(map(len, lines)) <= width
            assert len(lines) > len(ladder.journeys)


@pytest.mark.parametrize("name", STORIES)
def test_a_file_gives_the_ladder_of_its_run(name: str, made: Made) -> None:
    sights, folder = made[name]
    from_file = ladders(of_file(folder / "all.pcapng"))

    def drawn(found: list[Ladder]) -> list[str]:
        return [line for each in found for line in text(each, 50).splitlines() if not re.search(r"[0-9]", line)]

    assert [each.columns for each in from_file] == [each.columns for each in ladders(sights)]
    assert drawn(from_file) == drawn(ladders(sights))


@pytest.mark.parametrize("name", STORIES)
def test_every_frame_is_in_one_packet_and_comes_from_one_that_was_before(name: str, made: Made) -> None:
    for ladder in ladders(made[name][0]):
        hops = [hop for journey in ladder.journeys for hop in journey.hops]
        assert sorted(hop.sight.number for hop in hops) == [
            each.number for each in made[name][0] if each.flow == ladder.flow
        ]
        for journey in ladder.journeys:
            seen = {id(hop.sight) for hop in journey.hops}
            assert all(hop.before is None or id(hop.before) in seen for hop in journey.hops)
            assert all(hop.before.time_ns <= hop.sight.time_ns for hop in journey.hops if hop.before is not None)
            # one place where it begins; a drop may be one, too, as it happens where it was sent
            assert [hop.before is None for hop in journey.hops].index(True) == 0


def test_letters_and_what_is_cut() -> None:
    assert letters(28)[-3:] == ["z", "aa", "ab"]
    assert shortened("abcdef", 4) == "abc…" and shortened("abcd", 4) == "abcd"


@pytest.mark.parametrize("name", STORIES)
def test_mermaid_has_a_participant_an_interface_and_arrows_between_them(name: str, made: Made) -> None:
    found = [each for each in ladders(made[name][0]) if each.flow]
    first, *lines = mermaid(found).splitlines()
    assert first == "sequenceDiagram"
    participants = dict(re.findall(r"^ +participant (c\d+) as (.*)$", "\n".join(lines), re.M))
    assert list(participants.values()) == list(dict.fromkeys(column for each in found for column in each.columns))
    assert sum(line.startswith("    box ") for line in lines) == lines.count("    end")
    arrows = [
        one for line in lines if (one := re.fullmatch(r"    (c\d+)(->>|-x)(c\d+): [^;<>]+(?:#\w+;[^<>]*)*", line))
    ]
    notes = [line for line in lines if line.startswith("    Note over ")]
    assert len(arrows) + len(notes) == len([line for line in lines if line.startswith(("    c", "    Note"))])
    assert {end for arrow in arrows for end in (arrow[1], arrow[3])} <= participants.keys()
    assert len(notes) == sum(len(each.nats) for each in made[name][0] if each.flow)
    drops = [each for each in made[name][0] if each.flow and each.way == "drop"]
    assert len([arrow for arrow in arrows if arrow[2] == "-x"]) == len(drops)


def test_what_mermaid_would_read_as_syntax() -> None:
    assert escaped('a; b #1 <mss=1460> "x" & y') == "a#59; b #35;1 #lt;mss=1460#gt; #quot;x#quot; #amp; y"


@pytest.mark.parametrize("name", STORIES)
def test_dot_has_a_node_an_interface_and_edges_between_them(name: str, made: Made) -> None:
    found = [each for each in ladders(made[name][0]) if each.flow]
    shown = dot(found)
    nodes = re.findall(r'^        "([^"]+)" \[label=', shown, re.M)
    edges = re.findall(r'^    "([^"]+)" -- "([^"]+)" \[label="(\d+)"(, style=dashed)?\];$', shown, re.M)
    assert set(nodes) >= {column for each in found for column in each.columns}
    assert {end for one, other, *_ in edges for end in (one, other)} <= set(nodes)
    assert all((one.rpartition("/")[0] == other.rpartition("/")[0]) is bool(dashed) for one, other, _, dashed in edges)
    assert shown.count("{") == shown.count("}") and shown.count("subgraph") == len(
        {name.rpartition("/")[0] for name in nodes}
    )
    program = shutil.which("dot")
    if program is not None:
        subprocess.run([program, "-Tcanon"], input=shown, text=True, capture_output=True, check=True)


def test_dot_marks_nat_and_drops(made: Made) -> None:
    shown = dot([of_flow(made, "pod-to-service")])
    assert '"node-1/cbr0" [label="cbr0\\nDNAT\\nun-DNAT", fillcolor="#e2d3ff"];' in shown
    assert '"node-1/cbr0" [label="cbr0\\ndropped NETFILTER_DROP", fillcolor="#ffa5a5"];' in dot(
        [of_flow(made, "only-nodes-reach-pods", 2)]
    )
    assert quoted('a "b" \\ c\nd') == '"a \\"b\\" \\\\ c\\nd"'


def shown_by(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    status = main(["ladder", *map(str, words)])
    return status, *capsys.readouterr()


def test_the_command_takes_a_file_a_folder_and_a_scenario(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made["pod-to-service"][1]
    file = next(folder.glob("01-*service.pcapng"))
    from_folder, from_file = shown_by(capsys, folder, "--width", "80"), shown_by(capsys, file, "--width", "80")
    assert from_folder[0] == from_file[0] == 0 and from_folder[2] == ""
    assert len(from_folder[1].splitlines()) == len(from_file[1].splitlines())
    _, from_scenario, _ = shown_by(capsys, story("pod-to-service"), "--width", "80")
    assert (
        PACKETS.splitlines()[8:10] == from_scenario.splitlines()[9 + 0 : 11] or PACKETS.splitlines()[9] in from_scenario
    )


def test_the_command_has_data_and_chooses_flows(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made["flannel-vxlan"][1]
    status, out, _ = shown_by(capsys, folder, "-o", "json", "--flow", "5", "--fold-arp")
    (ladder,) = json.loads(out)
    assert status == 0 and ladder["flow"] == 5
    nats = [nat for packet in ladder["packets"] for hop in packet["hops"] for nat in hop["nat"]]
    assert [nat.partition(" ")[0] for nat in nats] == ["SNAT", "un-SNAT"]
    assert all(" ARP " not in hop["packet"] for packet in ladder["packets"] for hop in packet["hops"])
    _, out, _ = shown_by(capsys, folder)
    assert re.findall(r"^flow (\d+)$", out, re.M) == ["1", "2", "3", "4", "5"]
    _, out, _ = shown_by(capsys, folder, "-o", "mermaid", "--flow", "1")
    assert out.startswith("sequenceDiagram\n")
    _, out, _ = shown_by(capsys, folder, "-o", "dot")
    assert out.startswith("graph emu {\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.pcapng"], "absent.pcapng"),
        (["{folder}/01.txt"], "01.txt"),
        (["{capture}", "--flow", "99"], "there is no frame of flow 99"),
        (["{foreign}"], "no frame has a comment with its flow"),
        (["{capture}", "--width", "9"], "--width"),
    ],
)
def test_bad_input_is_one_message(
    words: list[str], message: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from emu.capture import pcapng

    (tmp_path / "01.txt").write_text("nothing\n")
    with pcapng.create(tmp_path / "foreign.pcapng") as writer:
        writer.packet(writer.interface("eth0"), 0, bytes(60))
    places = {"folder": tmp_path, "capture": made["hairpin-on"][1], "foreign": tmp_path / "foreign.pcapng"}
    status, _, err = shown_by(capsys, *(word.format(**places) for word in words))
    assert status == 2 and message in err and err.count("error: ") == 1

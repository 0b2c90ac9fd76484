"""iptables-restore's text in and iptables-save's out: measured texts, and this machine's own kernel as judge."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import yaml

from emu.errors import InputError
from emu.kernel.netfilter.dump import parse_dump
from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import parse_restore, save, split
from linux import Linux
from rules import FakeNetns

DATA = Path(__file__).parents[2] / "data" / "iptables"
SAVED = sorted(DATA.glob("*.rules"))
SPELLINGS = yaml.load((DATA / "spellings.yaml").read_text(), yaml.CSafeLoader)


def restored(table: str, chain: str, rule: str) -> RuleSet:
    return parse_restore(f"*{table}\n:foo - [0:0]\n-A {chain} {rule}\nCOMMIT\n")


def test_there_are_measured_texts() -> None:
    assert len(SAVED) == 11
    assert len(SPELLINGS) > 250


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_a_measured_text_comes_back_as_it_was(path: Path) -> None:
    text = path.read_text()
    assert save(parse_restore(text)) == text


@pytest.mark.parametrize(("table", "chain", "given", "outcome", "saved"), SPELLINGS)
def test_a_rule_is_spelled_as_iptables_save_spells_it(
    table: str, chain: str, given: str, outcome: str, saved: str
) -> None:
    if outcome != "saved":
        with pytest.raises(InputError) as caught:
            restored(table, chain, given)
        assert caught.value.line == 3
        return
    rules = restored(table, chain, given).tables[table][chain].rules
    assert " || ".join(rule.spec for rule in rules) == saved
    again = restored(table, chain, rules[0].spec).tables[table][chain].rules
    assert again[0].spec == rules[0].spec


@pytest.mark.parametrize(
    ("text", "line", "error_text"),
    [
        ("*filter\n-A INPUT -j nope\nCOMMIT", 2, "'nope'"),
        ("*filter\n-A INPUT -j ACCEPT", 2, "COMMIT"),
        ("*filter\n*nat\nCOMMIT", 2, "not finished"),
        ("*foo\nCOMMIT", 1, "unknown table 'foo'"),
        ("-A INPUT -j ACCEPT", 1, "outside a table"),
        ("*filter\n:abc\nCOMMIT", 2, ":CHAIN POLICY"),
        ("*filter\n:INPUT QUEUE [0:0]\nCOMMIT", 2, "ACCEPT or DROP"),
        ("*filter\n[1] -A INPUT -j ACCEPT\nCOMMIT", 2, "[PACKETS:BYTES]"),
        ("*filter\n[1:2 -A INPUT -j ACCEPT\nCOMMIT", 2, "[PACKETS:BYTES]"),
        ("*filter\n-A INPUT -j ACCEPT\r\nCOMMIT", 2, "carriage return"),
        ("*filter\n\0-A INPUT -j ACCEPT\nCOMMIT", 2, "NUL"),
        ("*filter\n\n# words\n-A nochain -j ACCEPT\nCOMMIT", 4, "no chain 'nochain'"),
        ("*filter\n-A INPUT -p tcp -m tcp --dport 99999 -j ACCEPT\nCOMMIT", 2, "'99999' is not a port"),
        ("*filter\n-A INPUT -j MASQUERADE\nCOMMIT", 2, "table filter"),
        ("*nat\n-A PREROUTING -j MASQUERADE\nCOMMIT", 2, "PREROUTING"),
        ("*nat\n:a - [0:0]\n-A a -j MASQUERADE\n-A PREROUTING -j a\nCOMMIT", 3, "cannot be reached from PREROUTING"),
        ("*filter\n:a -\n:b -\n-A a -j b\n-A b -j a\n-A INPUT -j a\nCOMMIT", 5, "circle"),
        ("*filter\n-A INPUT -m statistik\nCOMMIT", 2, "'statistic'?"),
        ("*filter\n-A INPUT -m mark --mark x\nCOMMIT", 2, "'x' is not a mark"),
        ("*filter\n-A INPUT -s 10.0.0.1.2\nCOMMIT", 2, "not an IPv4 address"),
        ("*filter\n-A INPUT -s 10..1\nCOMMIT", 2, "not an IPv4 address"),
        ("*filter\n-A INPUT -s 10.0.0.1/255.255\nCOMMIT", 2, "not a netmask"),
        ("*nat\n-A PREROUTING -j DNAT --to-destination 10.1\nCOMMIT", 2, "not an IPv4 address"),
        ("*nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:20-ssh\nCOMMIT", 2, "a name stands alone"),
        ("*nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:20/10\nCOMMIT", 2, "shifts no range"),
        ("*nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:20-30/0\nCOMMIT", 2, "1 to 65535"),
        ("*nat\n-A PREROUTING -p tcp -j REDIRECT --to-ports 1-5/3\nCOMMIT", 2, "cannot be shifted"),
        ("*filter\n-A INPUT -p icmp --icmp-type echo-re\nCOMMIT", 2, "echo-reply or echo-request"),
        ("*filter\n-A INPUT -p sctp --chunk-types all INIT:T\nCOMMIT", 2, "not a flag"),
        ("*filter\n-A INPUT -p sctp --chunk-types most INIT\nCOMMIT", 2, "all, any, only"),
        ("*filter\n-A INPUT ! -p tcp -m tcp\nCOMMIT", 2, "needs the protocol"),
        ("*filter\n-A INPUT ! -p tcp --tcp-option 5\nCOMMIT", 2, "needs the protocol"),
        ("*mangle\n-A OUTPUT -m owner --uid-owner 5 --suppl-groups\nCOMMIT", 2, "--gid-owner"),
        ("*filter\n-A INPUT -s 10.0.0.0/33\nCOMMIT", 2, "0 to 32"),
        ("*filter\n-A INPUT -i\nCOMMIT", 2, "needs a word"),
        ("*filter\n-A INPUT -d ! 10.0.0.1\nCOMMIT", 2, "! -d"),
        ("*filter\n-A INPUT -j ACCEPT -j DROP\nCOMMIT", 2, "second time"),
        ("*filter\n:a23456789012345678901234567890 -\nCOMMIT", 2, "too long"),
        ("*filter\n-I INPUT 2 -j ACCEPT\nCOMMIT", 2, "no place 2"),
        ("*filter\n-X INPUT\nCOMMIT", 2, "cannot be deleted"),
        ("*filter\n-Q INPUT\nCOMMIT", 2, "cannot read"),
    ],
)
def test_wrong_text_is_refused_with_its_line(text: str, line: int, error_text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_restore(text, "rules.v4")
    assert (caught.value.file, caught.value.line) == ("rules.v4", line)
    assert error_text in str(caught.value)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("[1:] -A INPUT -j ACCEPT", "-j ACCEPT"),
        ("[x:y]-A INPUT -j ACCEPT", "-j ACCEPT"),
        ("[ 1:2:3 ] -A INPUT -j ACCEPT", "-j ACCEPT"),
        (":INPUT ACCEPT [0]\n-A INPUT -j ACCEPT", "-j ACCEPT"),
        (":INPUT ACCEPT junk\n-A INPUT -j ACCEPT", "-j ACCEPT"),
        ('-A INPUT -m comment --comment "no end -j DROP', '-m comment --comment "no end -j DROP\n"'),
        ('-A INPUT -m comment --comment "a\0b" -j DROP', "-m comment --comment a"),
        ("-A INPUT -j ACCEPT\0 -j nothing", "-j ACCEPT"),
        ("-A INPUT -m comment --comment \x0b\u2028 -j ACCEPT", '-m comment --comment "\x0b\u2028" -j ACCEPT'),
    ],
)
def test_odd_text_is_taken_as_iptables_restore_takes_it(line: str, rule: str) -> None:
    """Counters are not read; a line is a C string, ended by a line feed or a NUL."""
    rules = parse_restore(f"*filter\n{line}\nCOMMIT\n").tables["filter"]["INPUT"].rules
    assert [each.spec for each in rules] == [rule]


def test_a_rule_about_a_set_that_is_not_there_is_refused(linux: Linux) -> None:
    """A namespace's own restore and the real one; the text by itself is right."""
    text = "*filter\n-A INPUT -m set --match-set gone src -j DROP\nCOMMIT\n"
    assert save(parse_restore(text)).count("gone") == 1
    tables = FakeNetns().tables
    with pytest.raises(InputError, match="no set 'gone'") as caught:
        tables.restore(text, file="rules.v4")
    assert (caught.value.file, caught.value.line) == ("rules.v4", 2)
    with pytest.raises(InputError, match="no set 'gone'"):
        tables.restore("*filter\n-A INPUT -j SET --add-set gone src\nCOMMIT\n")
    netns = linux.namespace("sets")
    with pytest.raises(AssertionError, match="Set gone doesn't exist"):
        linux.run(netns, "iptables-restore", stdin=text)
    tables.ipsets.update(parse_ipset("create gone hash:ip\n"))
    linux.run(netns, "ipset", "create", "gone", "hash:ip")
    tables.restore(text)
    linux.run(netns, "iptables-restore", stdin=text)


def test_commands_change_chains_as_iptables_does() -> None:
    first = parse_restore(
        "*filter\n:zeta - [0:0]\n-N beta\n-A INPUT -j zeta\n-I INPUT -j beta\n-I INPUT 2 -j ACCEPT\n[5:6] -A zeta -j RETURN\nCOMMIT\n"
    )
    assert save(first).splitlines()[4:] == [
        ":beta - [0:0]",
        ":zeta - [0:0]",
        "-A INPUT -j beta",
        "-A INPUT -j ACCEPT",
        "-A INPUT -j zeta",
        "-A zeta -j RETURN",
        "COMMIT",
    ]
    second = parse_restore(
        "*filter\n:zeta - [0:0]\n-D INPUT -j ACCEPT\n-R INPUT 1 -j DROP\n-A INPUT -p tcp\n-X beta\nCOMMIT\n*raw\nCOMMIT\n",
        onto=first,
        noflush=True,
    )
    assert [str(rule) for rule in second.rules()] == ["-A INPUT -j DROP", "-A INPUT -j zeta", "-A INPUT -p tcp"]
    assert [rule.number for rule in second.rules()] == [1, 2, 3]
    third = parse_restore("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", onto=second)
    assert save(third).startswith("*raw\n:PREROUTING")
    assert list(third.rules()) == []


def test_unchanged_chains_stay_the_same_objects() -> None:
    first = parse_restore("*filter\n:a - [0:0]\n-A a -j DROP\n-A INPUT -j a\nCOMMIT\n")
    second = parse_restore("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n", onto=first, noflush=True)
    assert second.chain("filter", "a") is first.chain("filter", "a")
    before, after = first.tables["filter"]["INPUT"].rules, second.tables["filter"]["INPUT"].rules
    assert after[0] is before[0]
    assert after[1].number == 2


def test_counters_are_shown_when_asked() -> None:
    rules = parse_restore("*filter\n-A INPUT -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n")
    counted = {rules.tables["filter"]["INPUT"].rules[1]: [3, 180]}
    assert "[0:0] -A INPUT -j ACCEPT\n[3:180] -A INPUT -j DROP\n" in save(rules, counted)


def test_words_are_split_as_iptables_restore_does() -> None:
    assert split('-m comment --comment "a \\"b\\" c"  x') == ["-m", "comment", "--comment", 'a "b" c', "x"]
    assert split('a "" b') == ["a", "", "b"]
    assert split("it's") == ["it's"]
    assert split('a"b c"d\t "" e"" f') == ["ab cd", "", "e", "f"]
    assert split('-j "x y') == ["-j", "x y\n"]
    assert split("a\vb \u00a0 \0 c") == ["a\vb", "\u00a0"]


def kernels_own(linux: Linux, text: str) -> str:
    """The text after a round trip through the real tools, without lines of comment."""
    netns = linux.namespace("save")
    version = linux.run(netns, "iptables", "--version")
    if "nf_tables" not in version:
        pytest.skip(f"NOT COMPARED WITH A REAL KERNEL: {version.strip()} is not the nf_tables variant")
    linux.run(netns, "iptables-restore", stdin=text)
    shown = linux.run(netns, "iptables-save")
    return "".join(line for line in shown.splitlines(keepends=True) if not line.startswith("#"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_a_real_kernel_writes_the_same_text(path: Path, linux: Linux) -> None:
    ours = save(parse_restore(path.read_text()))
    assert kernels_own(linux, ours) == ours


def test_a_real_kernel_spells_every_rule_so(linux: Linux) -> None:
    """All rules of `spellings.yaml` at once, one user chain each."""
    lines: dict[str, list[str]] = {}
    for number, (table, chain, given, outcome, _) in enumerate(SPELLINGS):
        if (outcome == "saved" and chain not in ("INPUT", "OUTPUT")) or (
            outcome == "saved" and table == "filter" and "-o " not in given
        ):
            lines.setdefault(table, []).append(f":c{number} - [0:0]\n-A c{number} {given}\n")
    given = "".join(f"*{table}\n:foo - [0:0]\n{''.join(rules)}COMMIT\n" for table, rules in lines.items())
    assert kernels_own(linux, given) == save(parse_restore(given))


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("-j X -j RETURN", "two targets"),
        ("-m gone --word -j ACCEPT -g X", "two targets"),
        ("-j -j X", "two targets"),
        ("-m gone --word -j", "needs a name"),
        ("-j ACCEPT\r", "carriage return"),
    ],
)
def test_a_dump_too_is_refused_where_the_text_is_broken(rule: str, error: str) -> None:
    """What is not modelled is kept in a dump; what iptables-restore cannot read is not a dump."""
    with pytest.raises(InputError, match=error) as caught:
        parse_dump(f"*filter\n:X - [0:0]\n-A FORWARD {rule}\nCOMMIT\n")
    assert caught.value.line == 3


DUMPS = sorted((DATA.parent / "iptables-dumps").glob("*.rules"))


@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.stem)
def test_a_dump_goes_through_the_real_tools_unchanged(path: Path, linux: Linux) -> None:
    """A node's dump read by emu and written again: the real iptables-restore takes it, and the kernel keeps every rule."""
    netns = linux.namespace("dump")
    sets = path.with_suffix(".ipset")
    ours = save(parse_dump(path.read_text()))
    given = parse_ipset(sets.read_text()) if sets.exists() else parse_ipset("")
    for name in set(re.findall(r"-(?:match|add|del)-set (\S+)", ours)) - set(given):
        given |= parse_ipset(f"create {name} hash:ip\n")  # the dump came without its sets
    linux.run(netns, "ipset", "restore", stdin=given.save())
    linux.run(netns, "iptables-restore", stdin=ours)
    shown = linux.run(netns, "iptables-save")
    assert "".join(line for line in shown.splitlines(keepends=True) if not line.startswith("#")) == ours


def drawn(chance: random.Random) -> str:
    """Rules of several measured matches and one target, in chains that jump to each other."""
    lines: dict[str, list[str]] = {}
    rows = [(table, saved) for table, _, _, outcome, saved in SPELLINGS if outcome == "saved" and " || " not in saved]
    for table, rule in chance.sample(rows, 60):
        words = rule.split(" -j ")[0]
        more = [
            saved for other, saved in rows if other == table and saved.startswith("-m ") and "--hex-string" not in saved
        ]
        chain = f"c{chance.randrange(4)}"
        lines.setdefault(table, []).append(f"-A {chain} {words} {chance.choice(more)}".replace("  ", " "))
    text = ""
    for table, rules in lines.items():
        names = "".join(f":c{number} - [0:0]\n" for number in range(4)) + ":foo - [0:0]\n"
        text += f"*{table}\n{names}" + "\n".join(rules) + "\n-A c0 -j c1\n-A c1 -g c2\nCOMMIT\n"
    return text


@pytest.mark.parametrize("seed", range(8))
def test_drawn_rules_go_through_the_real_tools_unchanged(seed: int, linux: Linux) -> None:
    """Text to emu, and what it saves to the real tools: kept as it is. A rule that emu refuses is refused there, too."""
    chance = random.Random(seed)
    kept: list[str] = []
    for line in drawn(chance).splitlines():
        head = [each for each in kept if each.startswith(("*", ":", "COMMIT"))]
        if line.startswith("-A") and not taken("\n".join([*head, line, "COMMIT\n"])):
            continue
        kept.append(line)
    ours = save(parse_restore("\n".join([*kept, ""])))
    assert kernels_own(linux, ours) == ours


def taken(text: str) -> bool:
    try:
        parse_restore(text)
    except InputError:
        return False
    return True

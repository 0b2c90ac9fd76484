"""tcprewrite's own outputs, met by its option names. They are GPL-3 and not in the project: `tools/peer-suites` fetches them.

What is not met stands below, with the reason.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emu.capture.reader import Record, reading
from emu.cli.replay_commands import edits
from peer_suites import NO_SUITES, folder

MACS: dict[str, object] = {
    "dmac": "00:12:13:14:15:16,00:22:33:44:55:66",
    "smac": "00:22:33:44:55:66,00:12:13:14:15:16",
    "cachefile": "test.auto_router",
}
# the output's name, and the options of its test
CASES: dict[str, dict[str, object]] = {
    "tos": {"tos": "50"},
    "portmap": {"portmap": ["80:8080"]},
    "range_portmap": {"portmap": ["1-100:49148"]},
    "endpoint": {"endpoints": "10.10.0.1:10.10.0.2", "cachefile": "test.auto_router"},
    "pnat": {"pnat": "96.17.211.0/24:172.16.0.0/24"},
    "pad": {"fixlen": "pad"},
    "trunc": {"fixlen": "trunc"},
    "mac": MACS,
    "enet_subsmac": {
        "subsmac": ["00:1f:f3:3c:e1:13,00:22:33:44:55:66", "f8:1e:df:e5:84:3a,00:66:55:44:33:22"],
    },
    "layer2": {"dlt": "user", "user_dlink": "00,50,da,5d,46,55,0,7,eb,30,a4,c3,08,0"},
    "config": {"vlan": "add", "tag": 45, "cfi": 1, "pri": 5},
    "dltuser": {"dlt": "user", "user_dlink": "0x0f,0x00,0x08,0x00", "user_dlt": "104"},
    "dlthdlc": {"dlt": "hdlc", "hdlc_address": "0x0F"},
    "vlan802.1ad": {"vlan": "add", "tag": 42, "cfi": 1, "pri": 2, "proto": "802.1ad"},
    "vlandel": {"vlan": "del"},
    "efcs": {"efcs": True},
    "1ttl": {"ttl": "58"},
    "2ttl": {"ttl": "+58"},
    "3ttl": {"ttl": "-58"},
    "1ttl-hdrfix": {"ttl": "59", "fixhdrlen": True},
    "2ttl-hdrfix": {"ttl": "+59", "fixhdrlen": True},
    "3ttl-hdrfix": {"ttl": "-59", "fixhdrlen": True},
    "mtutrunc": {"mtu": 300, "mtu_trunc": True},
    "fixcsum": {"fixcsum": True},
    "fixlen_pad": {"fixlen": "pad"},
    "fixlen_trunc": {"fixlen": "trunc"},
    "fixlen_del": {"fixlen": "del"},
}
RANDOM = "emu has no such option: its numbers are drawn by tcprewrite's own generator"
UNSUMMED = "on a machine with low bytes first, tcprewrite leaves a wrong IP checksum in padded frames"
PSEUDOWIRE = "tcprewrite edits the Ethernet header that an MPLS pseudowire carries"
NOT_MET = {
    **{f"{each}.rewrite_{name}": RANDOM for each in ("test", "test2") for name in (
        "seed", "skip", "mac_seed", "mac_seed_keep", "l7fuzzing", "sequence",
    )},
    **{f"test.rewrite_{name}": UNSUMMED for name in ("1ttl", "2ttl", "3ttl")},
    **{f"{each}.rewrite_{name}": PSEUDOWIRE for each in ("test", "test2") for name in ("mac", "dlthdlc")},
}  # fmt: skip


@pytest.fixture(scope="module")
def suite() -> Path:
    found = sorted(folder().glob("tcpreplay-*/test"))
    if not found:
        if os.environ.get("EMU_REQUIRE_TCPREPLAY"):
            pytest.fail("tcpreplay's suite is required (EMU_REQUIRE_TCPREPLAY) and missing")
        pytest.skip(f"{NO_SUITES} (tcpreplay: tools/peer-suites fetches it)")
    return found[-1]


def records(path: Path) -> list[tuple[object, ...]]:
    with reading(path) as capture:
        return [each[1:] for each in capture]


def edited(path: Path, suite: Path, options: dict[str, object]) -> list[tuple[object, ...]]:
    given = dict(options)
    if "cachefile" in given:
        given["cachefile"] = suite / str(given["cachefile"])
    wanted = edits(**given)  # type: ignore[arg-type]
    found: list[Record] = []
    with reading(path) as capture:
        for record in capture:
            found += wanted.apply(record)
    return [each[1:] for each in found]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("family", ["test", "test2"])
def test_an_output_is_met_or_listed(name: str, family: str, suite: Path) -> None:
    """Time, bytes, length on the wire and link type of each frame; the byte order of the file's numbers is no part of that."""
    output = suite / f"{family}.rewrite_{name}"
    if not output.exists():
        pytest.skip("this version of tcpreplay has no such output")
    source = suite / ("test.rewrite_config" if name == "vlandel" else "test.pcap")
    met = edited(source, suite, CASES[name]) == records(output)
    assert met is (f"{family}.rewrite_{name}" not in NOT_MET)


def test_every_output_has_a_case_or_a_reason(suite: Path) -> None:
    outputs = {path.name for path in suite.glob("test*.rewrite_*")}
    cases = {f"{family}.rewrite_{name}" for family in ("test", "test2") for name in CASES}
    assert outputs <= cases | NOT_MET.keys()
    assert len(cases - NOT_MET.keys()) == 47 and len(outputs - NOT_MET.keys()) > 30  # older versions have fewer outputs

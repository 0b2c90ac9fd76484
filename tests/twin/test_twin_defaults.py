"""Each default of the emulator's table is this kernel's own; what the twin sets beside is a list that the page prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

import pytest

from emu.errors import InputError
from emu.kernel.sysctl import Sysctls
from emu.scenario.script import load_text
from emu.twin import judge, sysctls
from emu.twin.drops import ASIDE
from emu.twin.settings import NAMES, SETTINGS, SYSCTLS
from emu.twin.space import Space
from emu.twin.sysctls import FIRST_NAMESPACE, MACHINE, MEMORY
from twin_rows import ping, tcp, udp
from twins import needs_twin, scenario

DEVICE = "x0"


@pytest.fixture
def fresh() -> Iterator[Space]:
    """A namespace with one veth, to which nothing was written."""
    space = Space("fresh")
    space.ip([["link", "add", "name", DEVICE, "type", "veth", "peer", "name", "x1"]])
    yield space
    space.close()


def ours() -> Sysctls:
    values = Sysctls()
    for device in ("lo", DEVICE):
        values.add_device(device)
    return values


@pytest.mark.twin
class TestDefaults:
    pytestmark = needs_twin

    def test_each_is_the_kernels(self, fresh: Space) -> None:
        rich, wrong, lost, compared = sysctls.plenty(), [], [], 0
        for name, kernel, emu in sysctls.defaults(fresh, ours()):
            if sysctls.unjudged(name, rich):
                continue
            compared += 1
            if kernel is None:
                lost += [] if name.startswith(FIRST_NAMESPACE) else [name]
            elif kernel != emu:
                wrong.append(f"{name}: the kernel has {kernel!r}, emu {emu!r}")
        assert wrong == []
        assert lost == []
        assert compared > 300

    def test_those_of_the_first_namespace(self) -> None:
        """They are read where the machine's own processes are; only there are they to be seen."""
        if sysctls.read("net.core.netdev_max_backlog") is None:
            pytest.skip("this process is not in the machine's first namespace")
        values, rich = ours(), sysctls.plenty()
        names = [name for name in values if name.startswith(FIRST_NAMESPACE) and not sysctls.unjudged(name, rich)]
        assert [name for name in names if sysctls.read(name) not in (None, sysctls.text(values[name]))] == []
        assert len(names) > 20

    def test_nothing_is_written_but_what_a_scenario_sets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = sysctls.write
        written: dict[str, dict[str, str]] = {}

        def noting(space: Space, values: Mapping[str, str]) -> list[sysctls.Unset]:
            written.setdefault(space.name, {}).update(values)
            return real(space, values)

        monkeypatch.setattr(sysctls, "write", noting)
        text = scenario(ping("default/web"), cluster="{nodes: 2, sysctls: {net.ipv4.ip_default_ttl: 32}}")
        assert judge(load_text(text)).exit_status == 0
        beside = {name for name, _ in SYSCTLS.values()}
        bounded = set() if sysctls.plenty() else set(MEMORY)
        assert set(written["external"]) == beside | bounded
        assert written["node-1"]["net.ipv4.ip_default_ttl"] == "32"
        assert not {name for name in written["node-1"] if "tcp" in name} - beside - bounded

    def test_a_wrong_one_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(Sysctls.__init__.__globals__["_DEFAULTS"], "net.ipv4.tcp_fin_timeout", 61)
        report = judge(load_text(scenario(ping("default/web"))))
        assert report.exit_status == 1
        assert report.first is not None
        difference = report.first[1]
        assert difference.what == "sysctls"
        assert difference.pair == ("net.ipv4.tcp_fin_timeout = 60", "net.ipv4.tcp_fin_timeout = 61")


@pytest.mark.twin
class TestNotJudged:
    pytestmark = needs_twin

    def test_what_cannot_be_set_and_matters_is_undecided(self) -> None:
        """nf_conntrack_max is read-only outside the machine's first namespace."""
        text = scenario(
            "".join(udp("default/web:53", port=2000 + number) for number in range(4)),
            cluster="{nodes: 2, sysctls: {net.netfilter.nf_conntrack_max: 3}}",
        )
        report = judge(load_text(text))
        assert report.first is not None
        assert report.exit_status == 3
        assert (
            "not judged, and flows may depend on it: node-1: net.netfilter.nf_conntrack_max cannot be set to '3'"
            in (report.text())
        )
        assert report.data()["result"] == "undecided"
        assert any("nf_conntrack_max" in each["what"] and each["matters"] for each in report.data()["not_judged"])

    def test_what_changes_no_packet_is_a_line(self) -> None:
        text = scenario(ping("default/web"), cluster="{nodes: 2, sysctls: {net.ipv4.neigh.default.gc_thresh1: 99}}")
        report = judge(load_text(text))
        assert report.exit_status == 0, report.text()
        assert "not judged: node-1: net.ipv4.neigh.default.gc_thresh1 cannot be set to '99'" in report.text()


@pytest.mark.twin
class TestWithout:
    """What a setting is good for: without it, the two sides differ, in what the page names."""

    pytestmark = needs_twin

    @pytest.mark.parametrize(("name", "sign"), [("offloads", "bad-checksum"), ("ipv6", "ethertype 0x86dd")])
    def test_it_shows(self, name: str, sign: str) -> None:
        text = scenario(tcp("default/web:8080") + ping("default/web"), node="node-1", cluster="{nodes: 1}")
        report = judge(load_text(text), without=[name])
        assert report.exit_status == 1, report.text()
        lines = [line for _, each in report.differences for line in each.kernel if line not in each.emu]
        assert any(sign in line for line in lines), lines[:10]


class TestSettings:
    def test_the_page_prints_what_is_left_out_of_drops(self) -> None:
        page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
        for reason, why in ASIDE.items():
            assert f"| `{reason.strip()}` | {why} |" in page

    def test_the_page_prints_them(self) -> None:
        page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
        for each in SETTINGS:
            assert f"| `{each.name}` | {each.what} | {each.why} |" in page
        table = page.partition("## What is set")[2].partition("\n`emu twin --without")[0]
        assert re.findall(r"^\| `(\S+)` \| .* \| .* \|$", table, re.M) == [*NAMES]

    def test_the_page_prints_what_depends_on_the_machine(self) -> None:
        page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
        for name, why in {**MACHINE, **MEMORY}.items():
            assert name in Sysctls()
            assert f"| `{name}` | {why} |" in page

    def test_each_sysctl_among_them_has_a_setting(self) -> None:
        assert set(SYSCTLS) <= set(NAMES)

    def test_an_unknown_one(self) -> None:
        with pytest.raises(InputError, match="'offload' is no setting") as caught:
            judge(Path("none.yaml"), without=["offload"])
        assert caught.value.expected == "offloads"

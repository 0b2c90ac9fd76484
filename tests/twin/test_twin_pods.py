"""Flows on pods that the real CNI plugins wired: stories of the gallery, each network, and changes of the cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

import emu.scenario.gallery
from emu.kube.cni import links
from emu.scenario.script import load_text
from emu.twin import judge
from emu.twin.cni import FOLDER
from twin_changes import chat, hi, more, of, text
from twin_rows import ping, tcp, udp
from twins import agrees, needs_twin, scenario

PLUGINS = ("bridge", "host-local", "loopback", "portmap", "ptp")
pytestmark = [
    *needs_twin,
    pytest.mark.skipif(
        any(not (FOLDER / each).is_file() for each in PLUGINS),
        reason=f"skipped: no CNI plugins in {FOLDER} (Debian: containernetworking-plugins)",
    ),
]
GALLERY = Path(emu.scenario.gallery.__path__[0])
STORIES = (
    "pod-to-service",
    "pod-to-pod-same-node",
    "service-same-node",
    "hairpin-on",
    "flannel-vxlan",
    "flannel-host-gw",
)
ALL = ping("default/web") + tcp("svc/web:80") + udp("svc/web:53") + ping("external") + tcp("node/node-2:99")
ROWS: dict[str, str] = {
    **{
        f"network-{name}": scenario(ALL, cluster=f"{{nodes: 2, network: {name}}}")
        for name in ("bridge", "flat", "kindnet")
    },
    "on one node": scenario(ALL, cluster="{nodes: 2, network: bridge, hairpin: true}", node="node-1"),
    # a pod that goes, and one that comes later
    "scaled": text(hi("svc/d:80") + "- scale: {deployment/d: 1}\n" + hi("svc/d:80") + "- scale: {deployment/d: 3}\n" + hi("svc/d:80"), of(2)),
    "deleted": text(chat("svc/s:80") + more("again") + "- delete: pod/e\n" + hi("svc/s:80")),
    "a pod's link": text("- link: {pod: default/e, mtu: 1300}\n" + udp("default/e:7", send="u" * 1400) + ping("default/e")),
    # the twin lays the cable of a pod whose link goes down, and the plugins wire the other one
    "pulled": text(ping("default/e") + "- link: {pod: default/e, down: true}\n" + ping("default/e")),
}  # fmt: skip


def wired(notes: list[str]) -> list[str]:
    return [note for note in notes if note.startswith(f"the CNI plugins in {FOLDER} wired ")]


@pytest.mark.parametrize("story", STORIES)
def test_a_story(story: str) -> None:
    assert wired(agrees(GALLERY / f"{story}.yaml", "pods of plugins", wiring=True).notes)


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    assert wired(agrees(ROWS[name], "pods of plugins", wiring=True).notes)


def test_a_step_of_the_emulators_plugin_is_judged_by_the_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--wiring` both sides have the emulator's account, and agree."""
    real = links.make_veth
    monkeypatch.setattr(links, "make_veth", lambda host, pod, name, mtu, mac: real(host, pod, name, 1400, mac))
    script = load_text(scenario(ping("default/web", size=1400)))
    agrees(script, "pods of plugins")
    report = judge(script, wiring=True)
    assert report.exit_status == 1
    found = {each.what for flow, each in report.differences if flow.name.startswith("ping")}
    assert "frames" in found, report.text()

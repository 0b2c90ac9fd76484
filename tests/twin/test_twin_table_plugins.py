"""Flows in networks of people's own CNI lists, one list a row, each judged by this machine's kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.kube.cluster import Cluster
from emu.scenario import build
from emu.scenario.script import load
from emu.twin.cni import absent
from emu.twin.wiring import Pod, compared
from twin_rows import ping, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin


def conflist(*plugins: dict[str, object]) -> str:
    return json.dumps({"cniVersion": "1.0.0", "name": "own", "plugins": plugins})


IPAM = {
    "type": "host-local",
    "ranges": [[{"subnet": "{{.PodCIDR}}"}]],
    "routes": [{"dst": "0.0.0.0/0"}],
}


def ptp(**keys: object) -> dict[str, object]:
    return {"type": "ptp", "ipam": IPAM, **keys}


ONE, TWO = "{nodes: 1, network: own.conflist}", "{nodes: 2, network: own.conflist}"
FLOWS = (
    tcp("svc/web:80") + udp("svc/web:53") + ping("default/web") + udp("svc/web:53", send="p" * 3000)
    + tcp("svc/web:80", frm="node/node-1") + ping("8.8.8.8")
)  # fmt: skip
ROWS: dict[str, dict[str, str]] = {
    "ptp-same-node": {"steps": FLOWS, "cluster": ONE, "conflist": conflist(ptp()), "node": "node-1"},
    "ptp-other-node": {"steps": FLOWS, "cluster": TWO, "conflist": conflist(ptp())},
    "ptp-own-service": {
        "steps": tcp("svc/web:80", frm="default/web", timeout="2500ms"),
        "cluster": ONE,
        "conflist": conflist(ptp()),
        "node": "node-1",
    },
    "ptp-masquerade": {"steps": FLOWS, "cluster": ONE, "conflist": conflist(ptp(ipMasq=True)), "node": "node-1"},
    "ptp-narrow-and-tuned": {
        "steps": FLOWS,
        "cluster": ONE,
        "conflist": conflist(
            ptp(mtu=1400),
            {"type": "tuning", "promisc": True, "mtu": 1300, "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1"}},
        ),
        "node": "node-1",
    },
    "ptp-and-sbr": {"steps": FLOWS, "cluster": TWO, "conflist": conflist(ptp(), {"type": "sbr"})},
    "bridge-and-sbr": {
        "steps": FLOWS,
        "cluster": TWO,
        "conflist": conflist(
            {"type": "bridge", "bridge": "cbr0", "isGateway": True, "ipam": IPAM},
            {"type": "sbr"},
        ),
    },
}


def written(name: str, folder: Path) -> Path:
    row = dict(ROWS[name])
    (folder / "own.conflist").write_text(row.pop("conflist"))
    path = folder / "row.yaml"
    path.write_text(scenario(**row))
    return path


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str, tmp_path: Path) -> None:
    agrees(written(name, tmp_path), "table")


@pytest.mark.parametrize(
    "name", ["ptp-other-node", "ptp-masquerade", "ptp-narrow-and-tuned", "ptp-and-sbr", "bridge-and-sbr"]
)
def test_the_real_plugins_wire_the_same(name: str, tmp_path: Path) -> None:
    """Chains of plugins, for a cluster's own pods."""
    script = load(written(name, tmp_path))
    cluster = Cluster(build.configured(script), script.objects, seed=script.spec.seed)
    for kubelet in cluster.kubelets:
        if missing := absent(kubelet.network.config):
            pytest.skip(f"skipped: no CNI plugins {', '.join(missing)} (Debian: containernetworking-plugins)")
        pods = [
            Pod(each.name, each.net, each.uid.replace("-", ""), each.result, each.capability_args)
            for each in kubelet.node.sandboxes.values()
        ]
        assert pods
        assert compared(kubelet.node.name, kubelet.node.net, kubelet.network, pods) == []

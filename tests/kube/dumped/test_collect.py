"""tools/collect on a node of this machine's kernel: its files are read, joined, and differ only where something was broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emu.cli import main
from emu.kernel.link.veth import Veth
from emu.kernel.link.vxlan import Vxlan
from emu.kube.cluster import Cluster
from emu.pasted.node_texts import FILES, node_texts
from emu.wire.addr import ip4_text, mac_text
from exports import Shape, export
from linux import Linux
from node_dumps_made import SYSCTLS

ROOT = Path(__file__).parents[3]
COLLECT = ROOT / "tools" / "collect"
UPLINK = "ens192"
JSON = {
    "ip-link": "ip -j -d link show", "ip-addr": "ip -j addr show", "ip-route": "ip -j route show table all", "ip-rule": "ip -j rule show",
    "ip-neigh": "ip -j neigh show", "bridge-fdb": "bridge -j fdb show",
}  # fmt: skip


class RealNode:
    """One node of a cluster with flannel, built on the kernel by ip, bridge, sysctl and iptables, its pods in namespaces of their own."""

    def __init__(self, linux: Linux, cluster: Cluster, name: str) -> None:
        self.linux, self.node = linux, cluster.node(name)
        self.own = linux.namespace("node")
        net = self.node.net
        router = linux.namespace("router")
        gateway = next(each.gateway for each in net.ipv4.fib.main if not each.prefix.length)
        self.ip(f"link add {UPLINK} type veth peer name eth0 netns {router}")
        linux.run(router, *f"ip addr add {ip4_text(gateway)}/24 dev eth0".split())
        linux.run(router, *["ip", "link", "set", "eth0", "up"])
        for each in SYSCTLS[:-1]:
            if not each.endswith("conntrack_max"):  # of the whole machine
                linux.run(self.own, "sysctl", "-q", "-w", f"{each}={net.sysctl[each]}")
        for device in net.devices.values():
            if isinstance(device, Vxlan):
                self.ip(
                    f"link add {device.name} address {mac_text(device.mac)} mtu {device.mtu} type vxlan id {device.config.vni} dev {UPLINK} "
                    f"local {ip4_text(self.node.ip)} dstport {device.config.dstport} nolearning"
                )
            elif device.kind == "bridge":
                self.ip(f"link add {device.name} mtu {device.mtu} type bridge")
        for number, pod in enumerate(each for each in self.node.sandboxes.values() if not each.host_network):
            space = linux.namespace(f"pod{number}")
            inside = pod.net.devices["eth0"]
            assert isinstance(inside, Veth) and inside.peer is not None and inside.peer.master is not None
            self.ip(
                f"link add vethb{number}ff00{number} mtu {inside.mtu} type veth peer name eth0 mtu {inside.mtu} netns {space}"
            )
            self.ip(f"link set vethb{number}ff00{number} up master {inside.peer.master.bridge.name}")
            linux.run(space, *f"ip addr add {ip4_text(pod.ip)}/24 dev eth0".split())
            linux.run(space, *["ip", "link", "set", "eth0", "up"])
        for address in net.ipv4.addresses:
            if not address.device.loopback:
                self.ip(f"addr add {address} dev {self.named(address.device.name)}")
                self.ip(f"link set {self.named(address.device.name)} up")
        for route in net.ipv4.fib.main:
            if route.gateway:
                self.ip(f"route add {route.text()}".replace("dev eth0", f"dev {UPLINK}"))
        for entry in net.neighbours:
            if entry.state == "PERMANENT" and not entry.device.loopback:
                self.ip(
                    f"neigh add {ip4_text(entry.addr)} lladdr {mac_text(entry.lladdr)} dev {entry.device.name} nud permanent"
                )
        for device in net.devices.values():
            for found, remote in device.entries() if isinstance(device, Vxlan) else ():
                linux.run(
                    self.own,
                    *f"bridge fdb append {mac_text(found.mac)} dev {device.name} dst {ip4_text(remote.addr)}".split(),
                )
        linux.run(self.own, "iptables-restore", stdin=net.ipv4.tables.save())
        pods = [ip4_text(pod.ip) for pod in self.node.sandboxes.values() if not pod.host_network]
        send = f"import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor each in {pods}: s.sendto(b'?', (each, 9))"
        for _ in range(100):  # a bridge has its carrier when the work of its ports was done
            if "NO-CARRIER" not in linux.run(self.own, "ip", "link", "show"):
                break
            linux.run(self.own, "sleep", "0.1")
        linux.run(self.own, sys.executable, "-c", send)  # so that neighbours and MACs are learnt
        for _ in range(100):
            if "INCOMPLETE" not in linux.run(self.own, "ip", "neigh", "show"):
                break
            linux.run(self.own, "sleep", "0.1")

    @staticmethod
    def named(device: str) -> str:
        return UPLINK if device == "eth0" else device

    def ip(self, command: str) -> None:
        self.linux.run(self.own, "ip", *command.split())

    def collect(self, target: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.own, "sh", str(COLLECT), str(target)],
            capture_output=True,
            text=True,
            check=True,
        )


def test_a_real_node_is_collected_joined_and_its_faults_are_named(
    linux: Linux, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = Shape("kubeadm", 3)
    objects = export(shape)
    (tmp_path / "dump.json").write_text(json.dumps(objects))
    healthy = Cluster.live(objects, capture=False)
    name = healthy.pods["default/tools"].node.name
    real = RealNode(linux, healthy, name)
    real.collect(tmp_path / "whole")
    assert {path.name for path in (tmp_path / "whole").iterdir()} >= {*FILES} - {
        "ipset-save" if not shutil.which("ipset") else ""
    }
    assert (tmp_path / "whole" / "sysctl").stat().st_mode & 0o077 == 0
    ask = ["-S", "default/tools", "-D", "svc/web.shop:80", "-f", str(tmp_path / "dump.json"), "--node"]
    assert main(["why", *ask, f"{name}={tmp_path / 'whole'}"]) == 0
    shown = capsys.readouterr()
    assert " reaches svc/web.shop:80" in shown.out.splitlines()[0], shown
    assert "[node-" not in shown.err, shown.err
    assert (
        main(["show", "interfaces", name, "-f", str(tmp_path / "dump.json"), "--node", f"{name}={tmp_path / 'whole'}"])
        == 0
    )
    assert UPLINK in (names := capsys.readouterr().out) and "vethb0ff000" in names

    linux.run(real.own, *["iptables", "-t", "nat", "-F", "KUBE-SERVICES"])
    real.ip("link set vethb0ff000 down")
    other = next(each for each in healthy.nodes.values() if each.name != name and each.pod_cidr is not None)
    real.ip(f"route del {other.pod_cidr}")
    real.collect(tmp_path / "broken.tgz")
    assert main(["why", *ask, f"{name}={tmp_path / 'broken.tgz'}"]) == 0
    shown = capsys.readouterr()
    assert "[proxy-rules-missing]" in shown.out.splitlines()[1] and "broken.tgz:" in shown.out.splitlines()[1], (
        shown.out
    )
    assert {
        each
        for each in ("node-proxy-rules-missing", "node-link-down", "node-route-missing")
        if f"[{each}]" not in shown.err
    } == set()


def test_collect_has_no_keys_and_writes_over_nothing(tmp_path: Path) -> None:
    """On a machine whose commands are stand-ins."""
    commands = tmp_path / "bin"
    commands.mkdir()
    printed = {
        "sysctl": "net.ipv4.ip_forward = 1\nnet.ipv4.tcp_fastopen_key = 1-2-3-4\nnet.ipv6.conf.all.stable_secret = ::1\nkernel.random.boot_id = 7\n",
        "iptables-nft-save": "*nat\n:KUBE-X - [0:0]\n-A KUBE-X -j RETURN\nCOMMIT\n",
        "iptables-legacy-save": "*filter\n" + "-A INPUT -j ACCEPT\n" * 9 + "COMMIT\n",
        "ip": "", "bridge": "", "conntrack": "", "ipset": "",
        "kubectl": "token: x\n",
    }  # fmt: skip
    for name, text in printed.items():
        (tmp_path / f"{name}.txt").write_text(text)
        (commands / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/asked\ncat {tmp_path}/{name}.txt\n')
        (commands / name).chmod(0o755)
    environment = {"PATH": f"{commands}:{os.environ['PATH']}"}

    def collect(target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(COLLECT), target], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )

    done = collect("out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "sysctl").read_text() == "net.ipv4.ip_forward = 1\n"
    assert (
        "KUBE-X" in (tmp_path / "out" / "iptables-save").read_text()
    )  # kube-proxy's backend, although it has fewer rules
    asked = [each for each in (tmp_path / "asked").read_text().splitlines() if each.startswith("kubectl")]
    assert [each.split("get ")[1].split(" -o")[0] for each in asked] == [
        "configmap kubeadm-config",
        "configmap kube-proxy",
    ]
    assert node_texts(tmp_path / "out").unread == ()
    again = collect("out")
    assert again.returncode == 2 and "is there already" in again.stderr
    assert collect("-x").returncode == 2
    help_text = subprocess.run(["sh", str(COLLECT), "--help"], capture_output=True, text=True, check=True).stdout
    assert help_text.startswith("Gather on a node") and "No Secret" in help_text


@pytest.mark.skipif(shutil.which("dash") is None, reason="no dash, the smallest POSIX sh, is installed")
def test_collect_is_posix_sh() -> None:
    assert subprocess.run(["dash", "-n", str(COLLECT)], capture_output=True, check=False).returncode == 0
    text = COLLECT.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert [word for word in ("[[", "local ", "function ", "<(", "${!") if word in text] == []
    assert not any(f"get {kind}" in text for kind in ("secret", "secrets", "all"))

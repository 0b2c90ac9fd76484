"""The real CNI plugins of this machine wire the kernel's pods: `Binaries` runs a network's list, as libcni does.

Debian's `containernetworking-plugins` has them in /usr/lib/cni. It has no `flannel`, which only hands on: what it would hand
on is put together here. What the emulator's own plugins wired is not asked: the configuration is. Must not know pods or clusters.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.runtime import execution_config
from emu.twin.space import Space, TwinError

FOLDER = Path("/usr/lib/cni")
FLANNEL = "flannel"
LOOPBACK = NetworkConfigList("cni-loopback", "0.3.1", ({"type": "loopback"},))


def absent(network: NetworkConfigList) -> list[str]:
    """The plugins that a network needs and this machine has not."""
    kinds = {"loopback"}
    for plugin in network.plugins:
        ipam = plugin.get("ipam") or {}
        if plugin["type"] == FLANNEL:
            kinds |= {(plugin.get("delegate") or {}).get("type", "bridge"), "host-local"}
            continue
        kinds |= {plugin["type"], *([ipam["type"]] if ipam.get("type") else [])}
    return sorted(kind for kind in kinds if not (FOLDER / kind).is_file())


class Binaries:
    """The plugins, on one machine: `disk` is the folder in which they keep what they keep on a node's disk, `files` the texts that
    a node agent left there, by path."""

    def __init__(self, host: Space, disk: Path, files: Mapping[str, str] | None = None) -> None:
        self.host, self.disk, self.files = host, disk, files or {}

    def add(
        self,
        network: NetworkConfigList,
        container: Space,
        container_id: str,
        ifname: str = "eth0",
        args: str = "",
        capability_args: Mapping[str, Any] | None = None,
        previous: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """ADD by every plugin in order, the first of which gets the result `previous`; gives the last result as JSON. Raises TwinError
        with the plugin's own message."""
        result: dict[str, Any] = dict(previous or {})
        for plugin in network.plugins:
            config = execution_config(network, plugin, capability_args or {}, result)
            result = self._run("ADD", config, container, container_id, ifname, args)
        return result

    def delete(
        self,
        network: NetworkConfigList,
        container: Space,
        container_id: str,
        result: Mapping[str, Any],
        ifname: str = "eth0",
        capability_args: Mapping[str, Any] | None = None,
    ) -> None:
        """DEL by every plugin in reverse. Raises TwinError."""
        for plugin in reversed(network.plugins):
            config = execution_config(network, plugin, capability_args or {}, result)
            self._run("DEL", config, container, container_id, ifname, "")

    def _run(
        self,
        command: str,
        config: dict[str, Any],
        container: Space,
        container_id: str,
        ifname: str,
        args: str,
    ) -> dict[str, Any]:
        if config["type"] == FLANNEL:
            config = _handed_on(config, self.files.get("/run/flannel/subnet.env", ""))
        ipam = config.get("ipam") or {}
        if ipam.get("type") == "host-local":
            config["ipam"] = {**ipam, "dataDir": str(self.disk)}
        if config["type"] == "tuning":
            config["dataDir"] = str(self.disk / "tuning")
        words = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container_id,
            "CNI_NETNS": container.path,
            "CNI_IFNAME": ifname,
            "CNI_PATH": str(FOLDER),
            "PATH": os.environ.get("PATH", ""),
            **({"CNI_ARGS": args} if args else {}),
        }
        with self.host.inside():
            done = subprocess.run(
                [FOLDER / config["type"]],
                input=json.dumps(config),
                capture_output=True,
                text=True,
                check=False,
                env=words,
            )
        if done.returncode:
            raise TwinError(f"{self.host.name}: {config['type']} {command}: {(done.stdout or done.stderr).strip()}")
        found: dict[str, Any] = json.loads(done.stdout or "{}")
        return found


def _handed_on(config: Mapping[str, Any], env: str) -> dict[str, Any]:
    """The configuration that flannel's plugin runs another one with (flannel_linux.go of flannel-io/cni-plugin). Raises TwinError
    without flanneld's file."""
    known = dict(line.split("=", 1) for line in env.split())
    if not known:
        raise TwinError("there is no subnet.env for the plugin flannel")
    made = {"type": "bridge", "mtu": int(known["FLANNEL_MTU"]), "ipMasq": known["FLANNEL_IPMASQ"] != "true"}
    made |= {**config.get("delegate", {}), "name": config["name"], "cniVersion": config["cniVersion"]}
    if made["type"] == "bridge":
        made.setdefault("isGateway", True)
    subnet = ipaddress.ip_interface(known["FLANNEL_SUBNET"]).network
    ranges, routes = [[{"subnet": str(subnet)}]], [{"dst": known["FLANNEL_NETWORK"]}]
    return {**made, "ipam": {"type": "host-local", "ranges": ranges, "routes": routes}}

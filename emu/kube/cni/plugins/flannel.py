"""`flannel`: hands its container to another plugin, bridge by default, with what flanneld wrote into subnet.env (flannel-io/cni-plugin).

What was handed on is kept on the machine's disk, for DEL. Must not know flanneld.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from emu.errors import InputError
from emu.kube.cni import invoke
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import Leaves, leaves_of
from emu.kube.cni.spec import Attachment, CniError, Config, Host, Result, failure, plugins, read
from emu.modelled import used
from emu.wire.addr import Prefix, decimal

_KEYS = ("FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ")


class FlannelConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names."""

    name: str = ""
    cni_version: str = ""
    subnet_file: str = "/run/flannel/subnet.env"
    data_dir: str = "/var/lib/cni/flannel"
    delegate: dict[str, Any] | None = None
    ipam: dict[str, Any] | None = None
    runtime_config: dict[str, Any] | None = None


class SubnetEnv(NamedTuple):
    """What flanneld wrote: all pods' network, the node's subnet, the pods' MTU, and whether flanneld masquerades."""

    network: Prefix
    subnet: Prefix
    mtu: int
    masquerades: bool


def subnet_env(host: Host, path: str) -> SubnetEnv:
    """Read the file. Raises CniError."""
    try:
        return _read_env(host, path)
    except CniError as error:
        words = f"failed to load flannel 'subnet.env' file: {error.msg}. Check the flannel pod log for this node."
        raise failure(words) from None


def _read_env(host: Host, path: str) -> SubnetEnv:
    text = host.disk.get(("file", path))
    if text is None:
        raise failure(f"open {path}: no such file or directory")
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    missing = [key for key in _KEYS if not found.get(key)]
    if "FLANNEL_NETWORK" in missing:
        missing.insert(1, "FLANNEL_IPV6_NETWORK")
    if "FLANNEL_SUBNET" in missing:
        missing.insert(missing.index("FLANNEL_SUBNET") + 1, "FLANNEL_IPV6_SUBNET")
    if missing:
        raise failure(f"{path} is missing {', '.join(missing)}")
    network, subnet, mtu, masquerades = (found[key] for key in _KEYS)
    bytes_ = decimal(mtu)
    if bytes_ is None:
        raise failure(f'strconv.ParseUint: parsing "{mtu}": invalid syntax')
    return SubnetEnv(_cidr(network), _cidr(subnet), bytes_, masquerades == "true")


def _cidr(text: str) -> Prefix:
    try:
        if "/" in text:
            return Prefix.parse(text)
    except InputError:
        pass
    raise failure(f"invalid CIDR address: {text}")


def delegate_of(conf: FlannelConf, env: SubnetEnv) -> dict[str, Any]:
    """doCmdAdd: the configuration of the plugin that does the work. Pure."""
    made: dict[str, Any] = dict(conf.delegate or {})
    if conf.runtime_config is not None:
        made["runtimeConfig"] = conf.runtime_config
    made["name"] = conf.name
    made.setdefault("type", FlannelPlugin.delegate)
    made.setdefault("ipMasq", not env.masquerades)
    made.setdefault("mtu", env.mtu)
    if made["type"] == "bridge":
        made.setdefault("isGateway", True)
    if conf.cni_version:
        made["cniVersion"] = conf.cni_version
    ipam = dict(conf.ipam or {})
    routes = [*ipam.get("routes", ()), {"dst": str(env.network)}]
    made["ipam"] = {"type": "host-local", **ipam, "ranges": [[{"subnet": str(env.subnet)}]], "routes": routes}
    return made


@plugins.add("flannel")
class FlannelPlugin:
    """The pod's subnet and MTU come from flanneld, everything else from `delegate`."""

    delegate = "bridge"
    keys: Keys = dict.fromkeys(("subnetFile", "dataDir", "delegate"), used("kube/cni/plugins/flannel"))

    def leaves(self, config: Config) -> Leaves:
        """What the plugin leaves that does the work."""
        delegate: dict[str, Any] = {"type": "bridge", **(config.get("delegate") or {})}
        return leaves_of(plugins[delegate["type"]](), delegate)

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config, "failed to load flannel netconf file: ")
        env = subnet_env(attachment.host, conf.subnet_file)
        given = conf.delegate or {}
        if not isinstance(given.get("type", ""), str):
            raise failure("'delegate' dictionary, if present, must have (string) 'type' field")
        for key in ("name", "ipam"):
            if key in given:
                raise failure(f"'delegate' dictionary must not have '{key}' field, it'll be set by flannel")
        made = delegate_of(conf, env)
        attachment.host.disk[_key(conf, attachment)] = made
        try:
            return invoke.add(made["type"], made, attachment)
        except CniError as error:
            raise failure(f"failed to delegate add: {error}") from None

    def lease(self, config: Config, attachment: Attachment) -> Result | None:
        """Those of the plugin that does the work."""
        conf = _load(config, "failed to load flannel netconf file: ")
        made = delegate_of(conf, subnet_env(attachment.host, conf.subnet_file))
        return invoke.lease(made["type"], made, attachment)

    def check(self, config: Config, attachment: Attachment) -> None:
        """The real one looks at nothing."""

    def delete(self, config: Config, attachment: Attachment) -> None:
        """By the configuration of the ADD; without one there is nothing to do."""
        conf = _load(config, "")
        made: Mapping[str, Any] | None = attachment.host.disk.get(_key(conf, attachment))
        if made is not None:
            invoke.delete(made["type"], made, attachment)
            del attachment.host.disk[_key(conf, attachment)]


def _load(config: Config, before: str) -> FlannelConf:
    conf: FlannelConf = read(config, FlannelConf, f"{before}failed to load netconf: ")
    return conf


def _key(conf: FlannelConf, attachment: Attachment) -> tuple[str, str, str]:
    return "flannel", conf.data_dir, attachment.container_id

"""How the cluster of an export was set up, as kubeadm's, kube-proxy's and flannel's ConfigMaps and the flags of the control plane state it.

What cannot be read is noted and left out. Must not know how the cluster looks in fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.kube.api.documents import documents
from emu.kube.api.meta import Object
from emu.kube.api.settings import FLANNEL, KUBE_PROXY, KUBE_PROXY_EKS, KUBEADM, ConfigMap

_FLAG = re.compile(r"--([a-z-]+)[= ](\S+)")
_FLAGS = {"cluster-cidr": "pod_subnet", "service-cluster-ip-range": "service_subnet"}
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager")
_PROXY_FLAGS = {"cluster-cidr": "clusterCIDR", "proxy-mode": "mode", "detect-local-mode": "detectLocalMode"}
"""kube-proxy's flags by the keys of its configuration: where a cloud starts it without a file."""


@dataclass(slots=True)
class Stated:
    """What the settings state; "" and {} where they state nothing. `proxy` is a KubeProxyConfiguration, `flannel` its
    net-conf.json. `pod_subnet` and `service_subnet` may hold several, with commas."""

    pod_subnet: str = ""
    service_subnet: str = ""
    domain: str = ""
    version: str = ""
    proxy: Mapping[str, Any] = field(default_factory=dict)
    flannel: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def stated(objects: Iterable[Object], settings: Iterable[ConfigMap]) -> Stated:
    """Everything that is stated. The flags of a control plane that runs count more than kubeadm's ConfigMap."""
    found = Stated()
    for each in settings:
        _READERS[each.name](found, each)
    objects = list(objects)
    for name, value in _flags(objects, _CONTROL_PLANE):
        if name in _FLAGS:
            setattr(found, _FLAGS[name], value)
    flags = {_PROXY_FLAGS[name]: value for name, value in _flags(objects, ("kube-proxy",)) if name in _PROXY_FLAGS}
    found.proxy = {**found.proxy, **flags}  # a flag counts more than the file
    if not found.pod_subnet:
        found.pod_subnet = str(found.proxy.get("clusterCIDR") or "")
    return found


def _flags(objects: Iterable[Object], programs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for obj in objects:
        if isinstance(obj, Pod) and obj.namespace == "kube-system" and obj.name.startswith(programs):
            for container in obj.spec.containers:
                yield from _FLAG.findall(" ".join((*container.command, *container.args)))


def _kubeadm(found: Stated, settings: ConfigMap) -> None:
    value = _yaml(found, settings, "ClusterConfiguration")
    networking = value.get("networking")
    if isinstance(networking, dict):
        found.pod_subnet = str(networking.get("podSubnet") or "")
        found.service_subnet = str(networking.get("serviceSubnet") or "")
        found.domain = str(networking.get("dnsDomain") or "")
    found.version = str(value.get("kubernetesVersion") or "")


def _kube_proxy(found: Stated, settings: ConfigMap) -> None:
    key = next((each for each in ("config.conf", "config") if each in settings.data), "")
    if key:  # EKS has a kubeconfig alone in kube-proxy, and the configuration in kube-proxy-config
        found.proxy = _yaml(found, settings, key)


def _flannel(found: Stated, settings: ConfigMap) -> None:
    try:
        value = msgspec.json.decode(settings.data.get("net-conf.json", "{}"))
    except msgspec.DecodeError as error:
        found.notes.append(f"{settings.key}: net-conf.json cannot be read: {error}")
        return
    found.flannel = value if isinstance(value, dict) else {}


def _yaml(found: Stated, settings: ConfigMap, key: str) -> dict[str, Any]:
    """One entry of a ConfigMap, of several documents the first."""
    value: Any
    try:
        value = next((each.value for each in documents(settings.data.get(key, ""))), {})
    except (InputError, yaml.YAMLError) as error:
        found.notes.append(f"{settings.key}: {key} cannot be read: {error}")
        return {}
    return value if isinstance(value, dict) else {}


_READERS = {KUBEADM: _kubeadm, KUBE_PROXY: _kube_proxy, KUBE_PROXY_EKS: _kube_proxy, FLANNEL: _flannel}

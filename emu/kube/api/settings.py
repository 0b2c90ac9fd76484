"""The few ConfigMaps whose data show how a cluster that runs was set up. The data of all others are not kept, nor those of Secrets.

Must not know what is read in them.
"""

from __future__ import annotations

from emu.kube.api.meta import Other

KUBEADM, KUBE_PROXY, FLANNEL = "kubeadm-config", "kube-proxy", "kube-flannel-cfg"
KUBE_PROXY_EKS = "kube-proxy-config"
NAMES = frozenset((KUBEADM, KUBE_PROXY, KUBE_PROXY_EKS, FLANNEL))
NAMESPACES = frozenset(("kube-system", "kube-flannel"))


class ConfigMap(Other, frozen=True, kw_only=True):
    data: dict[str, str] = {}


def is_setting(kind: str, namespace: str, name: str) -> bool:
    """Whether an object is one of these ConfigMaps."""
    return kind == "ConfigMap" and name in NAMES and namespace in NAMESPACES

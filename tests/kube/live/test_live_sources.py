"""One file, many, standard input, a folder, the folder of a dump, a tar: the same cluster; and a manifest is no export."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from emu.cli import main
from emu.kube.cluster import Cluster
from emu.kube.live import shows
from exports import Shape, export

FOUND = export(Shape("kind", 3))
KINDS = sorted({each["kind"] for each in FOUND["items"]})


def of_kind(kind: str, namespace: str | None = None) -> dict[str, Any]:
    items = [
        each
        for each in FOUND["items"]
        if each["kind"] == kind and (namespace is None or each["metadata"].get("namespace") == namespace)
    ]
    return {
        "kind": f"{kind}List",
        "apiVersion": items[0]["apiVersion"] if items else "v1",
        "metadata": {},
        "items": [{k: v for k, v in each.items() if k not in ("kind", "apiVersion")} for each in items],
    }


def one_json(folder: Path) -> Path:
    path = folder / "all.json"
    path.write_text(json.dumps(FOUND), encoding="utf-8")
    return path


def one_yaml(folder: Path) -> Path:
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump(FOUND), encoding="utf-8")
    return path


def a_folder(folder: Path) -> Path:
    for kind in KINDS:
        (folder / f"{kind}.json").write_text(json.dumps(of_kind(kind)), encoding="utf-8")
    return folder


def a_dump(folder: Path) -> Path:
    """`kubectl cluster-info dump --output-directory`, and slices beside it, which it leaves out."""
    (folder / "nodes.json").write_text(json.dumps(of_kind("Node")), encoding="utf-8")
    for namespace in ("default", "kube-system", "shop", "books"):
        (folder / namespace / "web").mkdir(parents=True)
        (folder / namespace / "events.json").write_text("{}", encoding="utf-8")
        (folder / namespace / "web" / "logs.txt").write_text("apiVersion: {", encoding="utf-8")
        for kind in ("Pod", "Service", "EndpointSlice", "DaemonSet"):
            (folder / namespace / f"{kind.lower()}s.json").write_text(
                json.dumps(of_kind(kind, namespace)), encoding="utf-8"
            )
    return folder


def a_stream(folder: Path) -> Path:
    """`kubectl cluster-info dump` into a file: objects, and logs between them."""
    parts = [json.dumps(of_kind(kind), indent=4) for kind in ("Node", "Pod", "Service", "EndpointSlice")]
    logs = "==== START logs for container web of pod shop/web ====\n{ not json\n==== END logs for container web of pod shop/web ====\n"
    path = folder / "dump.txt"
    path.write_text(f"\n{logs}".join(parts) + f"\n{logs}", encoding="utf-8")
    return path


def a_tar(folder: Path) -> Path:
    path = folder / "gathered.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for kind in KINDS:
            data = yaml.safe_dump(of_kind(kind)).encode()
            member = tarfile.TarInfo(f"gathered/resources/{kind.lower()}s.yaml")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


# must-gather's files below a namespace, a list each
GATHERED = {
    "Pod": "core/pods",
    "Service": "core/services",
    "DaemonSet": "apps/daemonsets",
    "ReplicaSet": "apps/replicasets",
}


def must_gather(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of OpenShift's must-gather: lists, and pods and slices a file each besides."""
    yield "timestamp", "2026-11-27"
    yield "event-filter.html", "<html>"
    for each in FOUND["items"]:
        name, namespace = each["metadata"]["name"], each["metadata"].get("namespace", "")
        if each["kind"] == "Node":
            yield f"cluster-scoped-resources/core/nodes/{name}.yaml", "---\n" + yaml.safe_dump(each)
        if each["kind"] == "EndpointSlice":
            yield f"namespaces/{namespace}/discovery.k8s.io/endpointslices/{name}.yaml", "---\n" + yaml.safe_dump(each)
        if each["kind"] == "Pod":
            yield f"namespaces/{namespace}/pods/{name}/{name}.yaml", "---\n" + yaml.safe_dump(each)
            yield f"namespaces/{namespace}/pods/{name}/c/c/logs/current.log", "apiVersion: {"
    for namespace in ("default", "kube-system", "shop", "books"):
        yield f"namespaces/{namespace}/core/events.yaml", "apiVersion: v1\nitems: []\nkind: EventList\n"
        yield f"namespaces/{namespace}/core/secrets.yaml", "apiVersion: v1\nitems: []\nkind: SecretList\n"
        for kind, path in GATHERED.items():
            yield f"namespaces/{namespace}/{path}.yaml", "---\n" + yaml.safe_dump(of_kind(kind, namespace))


def a_gathered_folder(folder: Path) -> Path:
    for name, text in must_gather(folder):
        path = folder / "must-gather.local.7" / "quay-io-image-sha256" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def a_gathered_tar(folder: Path) -> Path:
    path = folder / "must-gather.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in must_gather(folder):
            member = tarfile.TarInfo(f"must-gather.local.7/quay-io-image-sha256/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def two_files(folder: Path) -> list[Path]:
    """`kubectl get pods -A` in one file, all else in another."""
    paths = [folder / "pods.json", folder / "others.yaml"]
    others = {**FOUND, "items": [each for each in FOUND["items"] if each["kind"] != "Pod"]}
    paths[0].write_text(json.dumps(of_kind("Pod")), encoding="utf-8")
    paths[1].write_text(yaml.safe_dump(others), encoding="utf-8")
    return paths


@pytest.mark.parametrize(
    "make",
    [one_json, one_yaml, a_folder, a_dump, a_stream, a_tar, a_gathered_folder, a_gathered_tar, two_files],
    ids=lambda make: make.__name__,
)
def test_every_form_gives_the_same_pods(make: Callable[[Path], Path | list[Path]], tmp_path: Path) -> None:
    made = make(tmp_path)
    cluster = Cluster.live(*(made if isinstance(made, list) else [made]), capture=False)
    assert not any("more than once" in each for each in cluster.warnings)
    assert {name: str(pod.ip) for name, pod in cluster.pods.items()} == {
        f"{each['metadata']['namespace']}/{each['metadata']['name']}": each["status"]["podIP"]
        for each in FOUND["items"]
        if each["kind"] == "Pod" and each["status"].get("podIP") and each["status"]["phase"] == "Running"
    }
    assert cluster.tcp("default/tools", "svc/web.shop:80", b"?").outcome.word == "delivered"
    assert cluster.tcp("default/tools", "svc/cart.shop:80", b"?").outcome.word == "rejected"


@pytest.mark.parametrize(
    ("value", "live"),
    [
        (FOUND, True),
        (of_kind("Pod"), True),
        (of_kind("Node"), True),
        (of_kind("Service"), False),
        ({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"nodeName": "node-1"}}, False),
        (
            {
                "kind": "Node",
                "metadata": {"name": "a"},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
            },
            False,
        ),
        ("text", False),
    ],
    ids=["export", "pods", "nodes", "services", "bound", "addressed", "text"],
)
def test_status_shows_what_it_is(value: object, live: bool) -> None:
    assert shows(value) is live


def test_what_the_objects_are_can_be_stated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(one_json(tmp_path))
    assert main(["get", "pods", "-n", "shop", "-o", "wide", "-f", path]) == 0
    kept = capsys.readouterr().out
    pods = {each["metadata"]["name"]: each["status"] for each in FOUND["items"] if each["kind"] == "Pod"}
    lines = {line.split()[0]: line.split() for line in kept.splitlines()[1:]}
    assert all(lines[name][5] == pods[name]["podIP"] for name in lines if pods[name].get("podIP"))
    assert next(line[2] for name, line in lines.items() if name.startswith("crash-")) == "CrashLoopBackOff"
    assert main(["get", "pods", "-n", "shop", "-f", path, "--declared"]) == 0
    declared = capsys.readouterr().out
    assert declared != kept and "CrashLoopBackOff" not in declared


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_text_that_was_cut_is_an_error_that_states_so(
    form: str, share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A redirected kubectl that was stopped. kubectl's YAML has the keys of a list in order, its kind behind the items."""
    text = json.dumps(FOUND, indent=4) if form == "json" else yaml.safe_dump(FOUND)
    whole = text[: int(len(text) * share)]
    if form == "yaml":  # at the end of a line: in the middle of one it is broken YAML
        whole = whole[: whole.rindex("\n- apiVersion") + 1]
    path = tmp_path / f"cut.{form}"
    path.write_text(whole, encoding="utf-8")
    assert main(["get", "pods", "-A", "-f", str(path)]) == 2
    assert "was cut" in capsys.readouterr().err.splitlines()[-1]


def test_a_tar_of_what_a_node_shows_is_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "capture.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("ip-resources.txt", "iptables-rules.txt", "node.pcap"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    assert main(["get", "pods", "-A", "-f", str(path)]) == 2
    error = capsys.readouterr().err
    assert "ip-resources.txt, iptables-rules.txt are what a node shows" in error


def test_the_settings_of_kubeadm_and_kube_proxy_count(tmp_path: Path) -> None:
    """Mode, clusterCIDR, masqueradeAll and nodePortAddresses are those of the ConfigMaps."""
    proxy = "kind: KubeProxyConfiguration\nmode: iptables\nclusterCIDR: 10.244.0.0/17\niptables: {masqueradeAll: true}\nnodePortAddresses: [172.18.0.0/16]\n"
    kubeadm = "kind: ClusterConfiguration\nnetworking: {podSubnet: 10.244.0.0/17, serviceSubnet: 10.96.0.0/16, dnsDomain: corp.local}\nkubernetesVersion: v1.31.4\n"
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}, "data": data}
        for name, data in (
            ("kube-proxy", {"config.conf": proxy}),
            ("kubeadm-config", {"ClusterConfiguration": kubeadm}),
        )
    ]
    items = [each for each in FOUND["items"] if each["kind"] != "ConfigMap"]
    whole: dict[str, Any] = FOUND | {"items": items + maps}
    cluster = Cluster.live(whole, capture=False)
    config = cluster.config
    assert (config.pod_subnet, config.service_subnet) == ("10.244.0.0/17", "10.96.0.0/16")
    assert (config.proxy.mode, config.proxy.cluster_cidr, config.proxy.release) == (
        "iptables",
        "10.244.0.0/17",
        (1, 31),
    )
    assert config.proxy.masquerade_all and config.proxy.node_port_addresses == ("172.18.0.0/16",)
    assert config.dns is not None and config.dns.domain == "corp.local"


def test_coredns_is_found_by_the_selector_of_kube_dns(tmp_path: Path) -> None:
    """Pods of another name, label and port answer names where the Service kube-system/kube-dns selects them."""
    found = json.loads(json.dumps(FOUND).replace("coredns-", "names-"))
    for each in found["items"]:
        if each["kind"] in ("Pod", "Service") and each["metadata"]["name"].startswith(("names-", "kube-dns")):
            labels = each["spec"]["selector"] if each["kind"] == "Service" else each["metadata"]["labels"]
            labels.clear()
            labels["app"] = "resolver"
    cluster = Cluster.live(found, capture=False)
    assert cluster.tcp("default/tools", "http://web.shop", b"?").outcome.word == "delivered"


def test_eks_has_kube_proxy_s_configuration_in_a_map_of_another_name() -> None:
    data = {
        "kube-proxy": {"kubeconfig": "a: b"},
        "kube-proxy-config": {"config": "mode: iptables\nclusterCIDR: 10.9.0.0/16\n"},
    }
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}, "data": each}
        for name, each in data.items()
    ]
    items = [each for each in FOUND["items"] if each["kind"] != "ConfigMap"]
    whole: dict[str, Any] = FOUND | {"items": items + maps}
    cluster = Cluster.live(whole, capture=False)
    assert cluster.config.proxy.cluster_cidr == "10.9.0.0/16"
    assert not any("kube-proxy's ConfigMap" in each for each in cluster.warnings)


def test_the_flags_of_a_kube_proxy_without_a_file_count() -> None:
    """GKE starts it as a static pod, by flags alone."""
    found = export(Shape("gke", 3, control=0))
    for each in found["items"]:
        if each["kind"] == "Pod" and each["metadata"]["name"].startswith("kube-proxy-"):
            command = (
                "kube-proxy --master=https://10.0.0.2 --cluster-cidr=10.4.0.0/14 --v=2 1>>/var/log/kube-proxy.log 2>&1"
            )
            each["spec"]["containers"][0]["command"] = ["/bin/sh", "-c", command]
    assert Cluster.live(found, capture=False).config.proxy.cluster_cidr == "10.4.0.0/14"

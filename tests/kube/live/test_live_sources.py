"""One file, many, standard input, a folder, the folder of a dump, a tar: the same cluster; and a manifest is no export."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
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


@pytest.mark.parametrize(
    "make", [one_json, one_yaml, a_folder, a_dump, a_stream, a_tar], ids=lambda make: make.__name__
)
def test_every_form_gives_the_same_pods(make: Callable[[Path], Path], tmp_path: Path) -> None:
    cluster = Cluster.live(make(tmp_path), capture=False)
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

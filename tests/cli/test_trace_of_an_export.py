"""`emu trace` in an export: the verdict first, ARP counted, endpoints that there are, ends as people write them."""

from __future__ import annotations

import json

import pytest

from emu.cli import main
from exports import Shape, export

FOUND = export(Shape("kubeadm", 4))
WEB = next(each for each in FOUND["items"] if each["kind"] == "Service" and each["metadata"]["name"] == "web")
TOOLS = next(each for each in FOUND["items"] if each["kind"] == "Pod" and each["metadata"]["name"] == "tools")


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("dump") / "dump.json"
    path.write_text(json.dumps(FOUND), encoding="utf-8")
    return str(path)


def traced(capsys: pytest.CaptureFixture[str], dump: str, source: str, target: str, *more: str) -> str:
    assert main(["trace", "-S", source, "-D", target, "-f", dump, "--detail", "minimal", *more]) == 0
    return capsys.readouterr().out


def test_the_verdict_is_first_and_arp_is_counted(dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = traced(capsys, dump, "default/tools", "svc/cart.shop:80")
    first, second, *_ = text.splitlines()
    assert first.startswith("default/tools does not reach svc/cart.shop:80: ") and second.startswith("cause: ")
    assert "who-has" not in text and "frames of ARP are left out" in text
    assert "who-has" in traced(capsys, dump, "default/tools", "svc/cart.shop:80", "--arp")


def test_arp_is_shown_where_it_is_the_cause(dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    gone = TOOLS["status"]["podIP"].rpartition(".")[0] + ".199"
    assert "who-has" in traced(capsys, dump, "default/tools", f"{gone}:80")


def test_a_service_without_endpoints_has_none(dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = traced(capsys, dump, "default/tools", "svc/typo.shop:80")
    assert "possible endpoints:\n  none: -A KUBE-SERVICES" in text and "100.0000%" not in text


def test_a_sender_outside_sees_the_endpoint_that_a_node_chose(dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    node = next(each for each in FOUND["items"] if each["kind"] == "Node")["status"]["addresses"][0]["address"]
    text = traced(capsys, dump, "external", f"{node}:31234/tcp")
    assert ":8080, chosen on the way" in text


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("tools", "svc/web.shop"),
        ("default/tools", "web.shop:80"),
        ("pod/tools", "web.shop.svc.cluster.local:80"),
        ("default/tools", "web.shop"),
        ("deploy/cart", "shop/web:8080"),
        ("default/tools", f"{WEB['spec']['clusterIP']}:80/tcp"),
        (TOOLS["status"]["podIP"], "http://web.shop"),
        (TOOLS["status"]["hostIP"], "svc/web.shop:http"),
        ("node/node-001", "deploy/web"),
        ("default/tools", "svc/kube-dns.kube-system:53/udp"),
    ],
)
def test_ends_as_people_write_them(source: str, target: str, dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["-n", "shop"] if "deploy" in source + target else []
    text = traced(capsys, dump, source, target, *more)
    if "kube-dns" not in target:  # a server of names answers only what it can read
        assert f" reaches {target}: " in text.splitlines()[0], text


def test_an_export_alone_comes_up_and_is_checked(dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", dump, "-o", "json"]) in (0, 1)
    shown = json.loads(capsys.readouterr().out)
    have = {f"{each['namespace']}/{each['name']}": each["ip"] for each in shown["pods"] if each["ip"]}
    wanted = {
        f"{each['metadata']['namespace']}/{each['metadata']['name']}": each["status"]["podIP"]
        for each in FOUND["items"]
        if each["kind"] == "Pod" and each["status"].get("podIP")
    }
    assert have == wanted
    assert main(["validate", dump, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kind"] == "export"

"""The page as a file: one, closed to the network, small, with nothing from the data as markup, and replaced only if emu wrote it."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

import emu
from emu.capture import pages
from emu.cli import main
from emu.report.html.document import document
from emu.report.html.model import Document
from emu.report.html.page import render, safe
from emu.report.html.scene import of_run
from emu.scenario.gallery import stories
from emu.scenario.script import load_text
from page_gallery import page_of, ran

# bytes; the words of a run are most of it
MOST = {"pod-to-service": 250_000, "microservices-demo": 1_000_000}
A_HOP = 800  # bytes of the gallery's page for each frame, with the script and all
HOSTILE = "</script><img src=x onerror=alert(1)>"
OBJECTS = """
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: a}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node-2, containers: [{name: a, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""
SERVICE = "emu/scenario/gallery/pod-to-service.yaml"


class Reader(HTMLParser):
    """The elements of a page, and the texts of its scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: dict[str, str] = {}
        self.links: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self._in = (named.get("id") or "main") if tag == "script" else ""
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "action", "srcset")]
        assert not [key for key, _ in attrs if key.startswith("on")], "no handler is an attribute"

    def handle_data(self, data: str) -> None:
        if self._in:
            self.scripts[self._in] = self.scripts.get(self._in, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


def text_of(name: str) -> str:
    return render(page_of(name), name)


def test_it_is_closed_and_names_no_other_place() -> None:
    text = text_of("pod-to-service")
    read = Reader(text)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None and policy[1].startswith("default-src 'none';")
    assert [link for link in read.links if link != "data:,"] == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|json-schema\.org)", read.scripts["main"])
    assert msgspec.json.decode(read.scripts["data"], type=Document) == page_of("pod-to-service")


def test_no_object_of_python_is_shown() -> None:
    text = text_of("pod-to-service")
    assert "0x7f" not in text and "&lt;built-in" not in text and "object at" not in text


def test_without_scripts_the_hops_are_text() -> None:
    text = text_of("pod-to-service")
    part = text[text.index("<noscript>") : text.index("</noscript>")]
    assert "the client asks the Service: delivered" in part
    assert part.count("\n") >= 120 and "DNAT: kube-proxy&#39;s rules rewrite the Service address" in part


@pytest.mark.parametrize("name", sorted(MOST))
def test_a_page_is_small(name: str) -> None:
    assert len(text_of(name).encode()) < MOST[name]


def test_a_flow_of_two_thousand_hops_is_a_page_of_less_than_a_megabyte() -> None:
    cluster = emu.Cluster(2, OBJECTS)
    assert cluster.capture is not None
    cluster.capture.record()
    flow = cluster.tcp("default/client", "svc/web:80", b"x" * 130_000)
    assert len(flow.frames) > 2000 and len(flow.html().encode()) < 1_000_000


def test_a_hop_costs_little() -> None:
    content = document([of_run(ran(name)) for name in stories()])
    assert len(render(content, "all").encode()) < A_HOP * sum(len(each.frames) for each in content.runs)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("<", "\\u003c"), ("</script>", "\\u003c/script>"), ("\u2028\u2029", "\\u2028\\u2029"), ("a&b", "a&b")],
)
def test_data_cannot_end_its_element(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_hostile_names_are_text() -> None:
    """In a description, the names of steps and the sentences of a story."""
    text = Path(SERVICE).read_text(encoding="utf-8")
    text = text.replace("A pod connects to a Service", f"A pod {HOSTILE} connects", 1)
    text = text.replace("name: the client asks the Service", f'name: "x {HOSTILE}"', 1)
    text = text.replace("the endpoint answers to", f"{HOSTILE} the endpoint answers to", 1)
    done = emu.run(load_text(text, folder=Path(SERVICE).parent))
    page = done.html()
    plain = Reader(text_of("pod-to-service"))
    read = Reader(page)
    assert read.tags == plain.tags, "not one element more"
    found = msgspec.json.decode(read.scripts["data"], type=Document).runs[0]
    assert HOSTILE in found.description and HOSTILE in found.flows[0]["name"] and any(HOSTILE in w for w in found.words)
    assert HOSTILE not in page


def test_a_file_that_emu_did_not_write_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    words = ["run", SERVICE, "-d", str(tmp_path / "out"), "--html", str(out)]
    assert main(words) == 0
    assert pages.is_own(out) and main(words) == 0
    out.write_text("<html>mine", encoding="utf-8")
    assert main(words) == 2
    assert "emu did not write it" in capsys.readouterr().err and out.read_text(encoding="utf-8") == "<html>mine"
    assert main([*words, "--force"]) == 0 and pages.is_own(out)


def test_a_page_on_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["run", SERVICE, "-d", str(tmp_path), "--html", "-"]) == 0
    shown, rest = capfdbinary.readouterr()
    assert shown.decode().startswith("<!doctype html>") and b"all held" in rest


def test_several_scenarios_are_one_page(tmp_path: Path) -> None:
    out = tmp_path / "two.html"
    files = [f"emu/scenario/gallery/{name}.yaml" for name in ("closed-port", "same-port")]
    assert main(["run", *files, "-d", str(tmp_path / "out"), "--html", str(out)]) == 0
    found = msgspec.json.decode(Reader(out.read_text(encoding="utf-8")).scripts["data"], type=Document)
    assert [each.name for each in found.runs] == ["closed-port", "same-port"]


def test_a_page_of_a_trace(tmp_path: Path) -> None:
    out = tmp_path / "trace.html"
    assert main(["trace", "-S", "default/client", "-D", "svc/web:80", "-f", SERVICE, "--html", str(out)]) == 0
    (shown,) = msgspec.json.decode(Reader(out.read_text(encoding="utf-8")).scripts["data"], type=Document).runs
    assert [each["outcome"] for each in shown.flows] == ["delivered"] and len(shown.frames) == 30


def test_rules_alone_send_no_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules"
    rules.write_text("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", encoding="utf-8")
    words = [
        "trace",
        "-S",
        "10.0.0.1",
        "-D",
        "10.0.0.2:80/tcp",
        "--rules",
        str(rules),
        "--html",
        str(tmp_path / "x.html"),
    ]
    assert main(words) == 2
    assert "--rules sends none" in capsys.readouterr().err and not (tmp_path / "x.html").exists()


def test_without_jinja2_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything runs."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["run", SERVICE, "-d", str(tmp_path / "out"), "--html", str(tmp_path / "x.html")]) == 2
    assert "a page needs jinja2 (expected pip install 'kubemu[report]')" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_lab_has_a_page() -> None:
    lab = emu.Lab()
    client, router, server = lab.host("client"), lab.router("router"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", router, "10.0.0.2/24", default=True)
    lab.cable(server, "10.1.0.1/24", router, "10.1.0.2/24", default=True)
    client.sockets.udp().sendto(b"x", ("10.1.0.1", 9))
    lab.run(1)
    (shown,) = msgspec.json.decode(Reader(lab.html()).scripts["data"], type=Document).runs
    assert [(each.name, each.role) for each in shown.namespaces] == [
        ("client", "host"),
        ("router", "router"),
        ("server", "host"),
    ]
    (layout,) = shown.layouts
    assert [shown.interfaces[each.n].name for each in layout.columns] == [
        "client/eth0",
        "router/eth0",
        "router/eth1",
        "server/eth0",
    ]
    assert len(shown.frames) == len(lab.frames()) and shown.flows[0]["outcome"] == ""

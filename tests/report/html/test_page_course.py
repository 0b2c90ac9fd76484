"""The gallery as a course: every story once, in the order of the usual description, and pages that name each other."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from emu.capture.pages import is_own
from emu.cli import main
from emu.report.html.course import chapters, course, judged, ordered, words
from emu.report.html.model import Document
from emu.scenario.gallery import stories, story
from emu.scenario.script import load

MISTAKES = [name for name, path in stories().items() if load(path).spec.metadata.mistake is not None]
SEED = Path(__file__).parents[4] / "shared/reference"


def document_of(path: Path) -> Document:
    text = path.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    return msgspec.json.decode(text[start : text.index("</script>", start)], type=Document)


def test_every_story_stands_in_one_chapter() -> None:
    lessons = [name for each in chapters() for name in each.stories]
    assert sorted(lessons + MISTAKES) == sorted(stories())
    whole = ordered(stories(), MISTAKES)
    assert [name for each in whole for name in each.stories] == lessons + MISTAKES
    assert [each.title for each in whole] == [*(each.title for each in chapters()), words()["index_mistakes"]]
    for each in chapters():
        assert each.linux and len(each.differs) >= 2
        for sentence in (*each.differs, *re.split(r"(?<=[.]) ", each.linux)):
            assert sentence.endswith(".") and len(sentence.split()) <= 30


def test_the_stories_that_no_kernel_judges_are_those_of_the_twin() -> None:
    """The names stand in the twin's own test, which a machine without a kernel to ask cannot import."""
    text = (Path(__file__).parents[2] / "twin/test_twin_gallery.py").read_text(encoding="utf-8")
    stated = re.search(r"^UNDECIDED = \{(.*?)^\}", text, re.M | re.S)
    own = re.search(r"^OWN_NUMBERS = \{(.*?)\}", text, re.M)
    assert stated is not None and own is not None
    known = {*re.findall(r'^    "([\w-]+)":', stated[1], re.M), *re.findall(r'"([\w-]+)"', own[1])}
    assert set(course().unjudged) == known & set(stories()) == known
    assert judged("pod-to-service") != judged("calico-ipip")


def test_the_usual_words_are_short_quotes() -> None:
    """Word for word, where the description is at hand."""
    texts = [path.read_text(encoding="utf-8") for path in SEED.glob("*.txt")] if SEED.is_dir() else []
    assert [each.title for each in chapters() if not each.usual] == ["Network policies"]  # it does not speak of them
    for chapter in (each for each in chapters() if each.usual):
        assert len(chapter.usual.split()) <= 50
        for part in chapter.usual.split(" [...] "):
            plain = " ".join(part.replace("'", "’").split())
            assert not texts or any(plain in " ".join(text.replace("'", "’").split()) for text in texts), part


def test_what_is_in_no_chapter_comes_before_the_mistakes() -> None:
    found = ordered(["pod-to-service", "mine", "hairpin-off"], ["hairpin-off"])
    assert [each.stories for each in found] == [("pod-to-service",), ("mine",), ("hairpin-off",)]


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids.add(named.get("id") or "")
        if tag == "a":
            self.found.append(named.get("href") or "")
        assert tag not in ("script", "img", "iframe")


def test_the_demo_writes_an_index_and_a_page_a_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["hairpin-off", "hairpin-on", "pod-to-service", "closed-port"]
    site = tmp_path / "site"
    command = ["demo", *names, "-d", str(tmp_path / "out"), "--html", str(site)]
    assert main(command) == 0
    assert sorted(path.name for path in site.iterdir()) == sorted(["index.html", *(f"{name}.html" for name in names)])
    assert all(is_own(path) for path in site.iterdir())
    index = (site / "index.html").read_text(encoding="utf-8")
    links, shown_text = Links(index), " ".join(unescape(index).split())
    for link in links.found:
        assert link[1:] in links.ids if link.startswith("#") else (site / link).is_file()
    chapter = next(each for each in chapters() if "pod-to-service" in each.stories)
    assert all(each in shown_text for each in (chapter.usual, chapter.linux, *chapter.differs))
    mistake = load(story("hairpin-off")).spec.metadata.mistake
    assert mistake is not None and "Cure" in index and index.count('<span class="ok">held</span>') == 4
    order = ["pod-to-service", "hairpin-on", "closed-port", "hairpin-off"]
    assert [link for link in links.found if not link.startswith("#")][:3] == [f"{name}.html" for name in order[:3]]
    shown = {each.rel: each.href for each in document_of(site / "hairpin-on.html").links}
    assert shown == {"index": "index.html", "prev": "pod-to-service.html", "next": "closed-port.html"}
    assert {each.rel for each in document_of(site / "hairpin-off.html").links} == {"index", "prev"}
    first = {path.name: path.read_bytes() for path in site.iterdir()}
    assert main(command) == 0 and first == {path.name: path.read_bytes() for path in site.iterdir()}
    (site / "index.html").write_text("mine")
    assert main(command) == 2 and "emu did not write it" in capsys.readouterr().err


def test_scenarios_in_a_folder_have_an_index(tmp_path: Path) -> None:
    files = [str(story(name)) for name in ("closed-port", "same-port")]
    assert main(["run", *files, "-d", str(tmp_path / "out"), "--html", f"{tmp_path}/site/"]) == 0
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == [
        "closed-port.html",
        "index.html",
        "same-port.html",
    ]
    assert "<h2" in (tmp_path / "site/index.html").read_text(encoding="utf-8")


def test_notes_name_no_folder_of_this_machine(tmp_path: Path) -> None:
    """The gallery's files are named by where emu is installed."""
    assert main(["demo", "no-endpoints", "-d", str(tmp_path / "out"), "--html", str(tmp_path / "site")]) == 0
    (run,) = document_of(tmp_path / "site/no-endpoints.html").runs
    *notes, sentence = run.notes
    assert notes and all(note.startswith("no-endpoints.yaml:") for note in notes) and sentence == judged("no-endpoints")
    assert str(story("no-endpoints").parent) not in (tmp_path / "site/no-endpoints.html").read_text(encoding="utf-8")

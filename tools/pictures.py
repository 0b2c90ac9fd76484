"""The README's pictures: six pages in chromium without a window, in two sizes, as PNG of 256 colours in captures/pictures.

The same pages give the same pictures on a machine with the same fonts; nothing compares them.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image

from browser import SMALL, WIDE, Browser, missing
from emu.report.html import assets
from emu.report.html.page import of
from emu.report.html.scene import Scene, of_run
from emu.scenario.gallery import story
from emu.scenario.run import run
from emu.scenario.script import load_text

FOLDER = Path(__file__).parents[1] / "captures" / "pictures"
COLOURS = 256
DROPPING = '- iptables: {node: node-2, rules: ["-I FORWARD -p tcp --sport 8080 -j DROP"]}\n'


class Picture(NamedTuple):
    """What is shown: a page, the part of it that its hash names, a theme, and a script to run before the picture is taken."""

    page: Callable[[], str]
    part: str
    theme: str = "light"
    script: str = ""


def shown(name: str) -> Callable[[], str]:
    return lambda: of([of_run(run(story(name), record=True))])


def side_by_side() -> str:
    """The story of the Service beside the same with a rule that drops the replies."""
    return of([of_run(run(story("pod-to-service"), record=True)), _dropping()], compared=True)


def _dropping() -> Scene:
    path = story("pod-to-service")
    text = path.read_text(encoding="utf-8").replace("name: pod-to-service", "name: a-rule-drops-replies", 1)
    return of_run(
        run(load_text(text.replace("\nsteps:\n", f"\nsteps:\n{DROPPING}", 1), folder=path.parent), record=True)
    )


PICTURES = {
    "service": Picture(shown("pod-to-service"), "flow=1&step=9"),
    "frame": Picture(shown("pod-to-service"), "flow=1&step=38&pane=frame&rows=hops", "dark", "markField(3)"),
    "drop": Picture(shown("no-endpoints"), "flow=1&step=12"),
    "tunnel": Picture(shown("flannel-vxlan"), "flow=1&step=1", "light", "go(M.steps.find(s => s.trail.some(e => e.k === 'tunnel')).k)"),
    "question": Picture(
        shown("pod-to-service"), "flow=1&step=1", "light",
        "setQuiz(true); act('last'); $('#question [data-skip]').click(); $('#question form').requestSubmit(); act('last');"
        "$$('#question input')[M.questions[1].answer].checked = true; $('#question form').requestSubmit()",
    ),
    "side-by-side": Picture(side_by_side, "", "dark"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help=f"which ({', '.join(PICTURES)}); all if none is named")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    if missing():
        raise SystemExit(f"pictures: {missing()} is missing (Debian: apt install chromium chromium-driver)")
    options.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        try:
            for name in options.names or PICTURES:
                page = Path(folder) / f"{name}.html"
                page.write_text(PICTURES[name].page(), encoding="utf-8")
                for size in (WIDE, SMALL):
                    path = options.folder / f"{name}-{size[0]}.png"
                    path.write_bytes(small(taken(browser, page, PICTURES[name], size)))
                    print(f"{path} {path.stat().st_size // 1000} KB")
        finally:
            browser.close()


def taken(browser: Browser, page: Path, picture: Picture, size: tuple[int, int]) -> bytes:
    browser.size(*size)
    browser.open(page, picture.part)
    browser.run("theme(arguments[0]); document.activeElement.blur();" + picture.script, picture.theme)
    browser.run("document.activeElement.blur()")
    return browser.picture()


def small(png: bytes) -> bytes:
    """The same picture in the colours of the themes and its most frequent ones: areas and lines keep theirs, and the edges of letters
    get the nearest."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    raw = picture.tobytes()
    pixels = [raw[at : at + 3] for at in range(0, len(raw), 3)]
    frequent = [colour for colour, _ in Counter(pixels).most_common()]
    themes = [bytes.fromhex(each) for each in re.findall(r": #([0-9a-f]{6});", assets.read("style.css"))]
    colours = [*dict.fromkeys([*themes, *frequent])][:COLOURS]
    # Pillow's own mapping is inexact for colours that are close to each other, as those of a page's areas are
    places = {colour: _nearest(colour, colours) for colour in frequent}
    drawn = Image.frombytes("P", picture.size, bytes(places[pixel] for pixel in pixels))
    drawn.putpalette(b"".join(colours))
    out = BytesIO()
    drawn.save(out, "PNG", optimize=True)
    return out.getvalue()


def _nearest(colour: bytes, colours: Sequence[bytes]) -> int:
    """The place of the colour that is most alike."""
    return min(
        range(len(colours)), key=lambda place: sum((a - b) ** 2 for a, b in zip(colour, colours[place], strict=True))
    )


if __name__ == "__main__":
    main()

"""The gallery's index, captures/README.md: lessons, then mistakes, each with the frames to look at, as its file states them.

`tools/golden captures` writes it. The page's opening is its own, and so is the order of the stories; a new story comes last in
its group. Frame numbers are Wireshark's. Must not know how stories are run.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

from emu.scenario import gallery
from emu.scenario.gallery import stories
from emu.scenario.kinds import Look, Metadata
from emu.scenario.script import load
from tshark import CHECKSUMS, DECODED, Tshark, joined

CAPTURES = Path(__file__).parents[2] / "captures"
INDEX = CAPTURES / "README.md"
SHIPPED = Path(str(gallery.__file__)).parent / "captures.md"  # the same page, in the wheel: `emu demo --index`
LESSONS, MISTAKES = "## Lessons", "## Mistakes"
ABOUT_MISTAKES = """\
Mistakes that people really make. Each story shows the failure first, then mends it and sends the same flow again; where the
cluster must be built anew for that, another story does. Try to name the cause from the capture before you read on."""
COLUMNS = "| file | display filter | frames | what to see |\n|---|---|---|---|"
ROW = re.compile(r"\| `(?P<file>[^`]+)` \| `(?P<filter>[^`]+)` \| (?P<frames>none|[\d, ]+) \| .+ \|")
LOOKING_BACK = re.compile(r"\.analysis\.|\.stream|response|reassembled|fragment")
OPTIONS = ["-n", *DECODED, *(word for each in CHECKSUMS for word in ("-o", each))]
Numbers = Callable[[str, str, str], str]


def metadata() -> dict[str, Metadata]:
    """What each story states of itself."""
    return {name: load(path).spec.metadata for name, path in stories().items()}


def index(page: str, about: dict[str, Metadata], numbers: Numbers) -> str:
    """The page anew. `numbers` gives the frames for a story, a file and a display filter: "4, 7" or "none"."""
    opening = page.partition(f"\n{LESSONS}\n")[0].rstrip("\n")
    there = re.findall(r"^### (.*)$", page, re.M)
    order = sorted(about, key=lambda name: (there.index(name) if name in there else len(there), name))
    lessons = [name for name in order if about[name].mistake is None]
    mistakes = [name for name in order if about[name].mistake is not None]
    symptoms = [f"| {_seen(about[name])} | [{name}](#{name}) |" for name in mistakes]
    parts = [opening, LESSONS, *(_section(name, about[name], numbers) for name in lessons)]
    if mistakes:
        parts += [MISTAKES, ABOUT_MISTAKES, "\n".join(["| what is seen | story |", "|---|---|", *symptoms])]
        parts += [_section(name, about[name], numbers) for name in mistakes]
    return "\n\n".join(parts) + "\n"


def _section(name: str, about: Metadata, numbers: Numbers) -> str:
    parts = [f"### {name}", textwrap.fill(about.description, 120)]
    if about.mistake is not None:
        cure = about.mistake.cure
        if about.mistake.cured_in:
            cure += f" See [{about.mistake.cured_in}](#{about.mistake.cured_in})."
        parted = (
            ("Seen", _seen(about)),
            ("Cause", about.mistake.cause),
            ("Find", about.mistake.find),
            ("Cure", cure),
            ("Report", ", ".join(about.mistake.report)),
        )
        parts.append(
            "\n".join(
                textwrap.fill(f"- **{word}:** {text}", 120, subsequent_indent="  ") for word, text in parted if text
            )
        )
    if about.look:
        parts.append("\n".join([COLUMNS, *(_row(name, each, numbers) for each in about.look)]))
    return "\n\n".join(parts)


def _seen(about: Metadata) -> str:
    return " ".join(about.mistake.seen.split()) if about.mistake is not None else ""


def _row(name: str, look: Look, numbers: Numbers) -> str:
    return f"| `{look.file}` | `{look.filter}` | {numbers(name, look.file, look.filter)} | {look.see} |"


def rows(page: str) -> list[tuple[str, str, str, str]]:
    """The page's rows: story, file, display filter, frames."""
    found, heading = [], ""
    for line in page.splitlines():
        if line.startswith("### "):
            heading = line[4:]
        row = ROW.fullmatch(line)
        if row:
            found.append((heading, row["file"], row["filter"], row["frames"]))
    return found


def frames(tshark: Tshark, path: Path, where: str) -> str:
    """The numbers of a capture's frames that a display filter shows."""
    return ", ".join(each["frame.number"][0] for each in tshark.read(path, "frame.number", where=where)) or "none"


def frames_of_all(tshark: Tshark, about: dict[str, Metadata]) -> dict[tuple[str, str, str], str]:
    """`frames` by story, file and display filter: one tshark reads all files, joined. Each filter that depends on the frames before
    has one of its own."""
    wanted = [(name, each.file, each.filter) for name, own in about.items() for each in own.look]
    alone = {key: frames(tshark, CAPTURES / key[0] / key[1], key[2]) for key in wanted if LOOKING_BACK.search(key[2])}
    places = [*dict.fromkeys(key[:2] for key in wanted if key not in alone)]
    whole, counts = joined([(CAPTURES / name / file).read_bytes() for name, file in places])
    path = tshark.home / "joined.pcapng"
    path.write_bytes(whole)
    found = tshark.found(path, [*dict.fromkeys(key[2] for key in wanted if key not in alone)], *OPTIONS)
    ends = [*accumulate(counts)]
    begins = {place: (end - count, end) for place, count, end in zip(places, counts, ends, strict=True)}
    return alone | {key: _within(found[key[2]], *begins[key[:2]]) for key in wanted if key not in alone}


def _within(numbers: list[int], begin: int, end: int) -> str:
    return ", ".join(str(each - begin) for each in numbers if begin < each <= end) or "none"


def main() -> None:
    """Write the page for the captures that lie there."""
    about = metadata()
    with TemporaryDirectory() as home:
        numbers = frames_of_all(Tshark(Path(home)), about)
    page = index(INDEX.read_text(encoding="utf-8"), about, lambda *key: numbers[key])
    for path in (INDEX, SHIPPED):
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

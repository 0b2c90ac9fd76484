"""The embedded scenarios: one YAML file a story; manifests that several of them share lie in `manifests/`.

Must not know how scenarios are read or run.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from emu.errors import InputError
from emu.registry import Shelf


def stories() -> dict[str, Path]:
    """Every embedded scenario's file by its name (the file's name without `.yaml`), in alphabetical order."""
    return {path.stem: path for path in sorted(_folder().glob("*.yaml"))}


def story(name: str) -> Path:
    """The file of one embedded scenario. Raises InputError with the nearest name."""
    shelf: Shelf[Path] = Shelf("scenario of the gallery")
    for known, path in stories().items():
        shelf.add(known)(path)
    return shelf[name]


def index() -> str:
    """The page about the captures of all scenarios, with the frames to look at: captures/README.md."""
    return (_folder() / "captures.md").read_text(encoding="utf-8").rstrip("\n")


def copy(folder: Path, *, force: bool = False) -> list[Path]:
    """Write the scenarios and their manifests into a folder, to be read and changed. Raises InputError where a file of that
    name with other contents is there, unless forced; then nothing is written."""
    sources = [*stories().values(), *sorted((_folder() / "manifests").iterdir())]
    targets = [folder / source.relative_to(_folder()) for source in sources]
    try:
        for source, target in zip(sources, targets, strict=True):
            if target.exists() and not force and target.read_bytes() != source.read_bytes():
                raise InputError("is there already, with other contents", file=str(target), expected="--force")
        for source, target in zip(sources, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    except OSError as error:
        raise InputError(error.strerror or str(error), file=str(error.filename or folder)) from None
    return targets


def _folder() -> Path:
    return Path(str(resources.files(__name__)))

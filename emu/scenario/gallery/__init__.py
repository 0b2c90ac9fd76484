"""The embedded scenarios: one YAML file a story; manifests that several of them share lie in `manifests/`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from emu.registry import Shelf


def stories() -> dict[str, Path]:
    """Every embedded scenario's file by its name (the file's name without `.yaml`), in alphabetical order."""
    folder = Path(str(resources.files(__name__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def story(name: str) -> Path:
    """The file of one embedded scenario. Raises InputError with the nearest name."""
    shelf: Shelf[Path] = Shelf("scenario of the gallery")
    for known, path in stories().items():
        shelf.add(known)(path)
    return shelf[name]

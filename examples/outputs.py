"""Random walks, each drawn into a file of its own: files and folders as results.

Run it as `python examples/outputs.py [FOLDER]`. It draws some walks into FOLDER (default: walks), then
loses one drawing, spoils another, and asks for the walks again: no walk is computed a second time, and the
drawings are as they were.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from scalable_cas import DirType, FileType, cacheable

WIDTH, HEIGHT = 600, 200


def walk(seed: int, steps: int) -> list[float]:
    """The places that a walk visits."""
    chance, here = random.Random(seed), 0.0  # noqa: S311 - no secret
    return [here := here + chance.gauss(0, 1) for _ in range(steps)]


def drawing(places: list[float]) -> str:
    """A line as an SVG image."""
    low, high = min(places), max(places)
    scale = HEIGHT / ((high - low) or 1)
    points = " ".join(
        f"{number * WIDTH / len(places):.1f},{HEIGHT - (place - low) * scale:.1f}"
        for number, place in enumerate(places)
    )
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    line = f'<polyline points="{points}" fill="none" stroke="black"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{line}</svg>\n'


@cacheable(return_type=DirType)
def draw(folder: str, seeds: tuple[int, ...], steps: int = 2000) -> str:
    """Draw a walk for each seed into a folder of its own."""
    print(f"drawing {len(seeds)} walks")
    for seed in seeds:
        path = Path(folder, f"walk-{seed}", "line.svg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(drawing(walk(seed, steps)))
    return folder


@cacheable(return_type=FileType, drawings=DirType)
def index(drawings: str, path: str) -> Path:
    """One page that shows all drawings: a stage that reads what another one wrote."""
    print("writing the index")
    images = sorted(Path(drawings).glob("*/line.svg"))
    page = "".join(f'<img src="{image.relative_to(drawings)}">\n' for image in images)
    Path(path).write_text(page)
    return Path(path)


def main(folder: str) -> None:
    """Draw, lose, spoil, and ask again."""
    drawings = draw(folder, (1, 2, 3))
    index(drawings, f"{folder}.html")
    lost, spoilt = Path(folder, "walk-1/line.svg"), Path(folder, "walk-2/line.svg")
    lost.unlink()
    spoilt.write_text("spoilt")
    Path(folder, "notes.txt").write_text("mine\n")
    print("asking again")
    draw(folder, (1, 2, 3))
    print(f"{lost} is {'back' if lost.exists() else 'lost'}")
    print(f"{spoilt} is {'as it was' if spoilt.read_text() != 'spoilt' else 'spoilt'}")
    print(f"notes.txt says {Path(folder, 'notes.txt').read_text().strip()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "walks")

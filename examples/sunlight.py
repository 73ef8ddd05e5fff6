"""Which tilt suits a solar panel? Direct sunlight in a year on clear days, for every city of the IANA time
zone database.

Three stages hand files to each other: the table of time zones -> cities.csv -> one energy-TILT.json for each
tilt -> summary. The program runs the pipeline twice, each time in a fresh process, and shows after each run
what the cache did.

    python examples/sunlight.py [FOLDER]        (results and the store: ./sunlight by default)

Model: declination after Cooper (1969), distance of the sun after Duffie and Beckman, air mass after Kasten
and Young (1989), direct beam after Meinel and Meinel (1976): 1353 W/m2 * 0.7 ** (air mass ** 0.678). The
panel faces the equator.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from math import acos, cos, degrees, pi, radians, sin
from pathlib import Path
from statistics import mean

from scalable_cas import FileType, cacheable

ZONES = Path(__file__).resolve().parent.parent / "fixtures" / "sunlight" / "zone.tab"
TILTS = (0.0, 15.0, 30.0, 45.0, 60.0)  # degrees from the horizontal


@cacheable(table=FileType)
def cities(table: Path) -> list[tuple[str, float]]:
    """Stage 1: name and latitude (degrees north) of each city in the table."""
    found = []
    for line in table.read_text().splitlines():
        if not line.startswith("#"):
            _, position, zone, *_ = line.split("\t")
            # ISO 6709: +4230+00131 or +404251-0740023, degrees, minutes, perhaps seconds
            sign, degree, minute, second = re.match(r"([+-])(\d\d)(\d\d)(\d\d)?[+-]", position).groups("0")
            north = int(degree) + int(minute) / 60 + int(second) / 3600
            found.append((zone.rpartition("/")[2], round(float(f"{sign}{north}"), 4)))
    return sorted(found)


def beam(cos_zenith: float) -> float:
    """Direct sunlight at the ground, W/m2 on a surface that faces the sun, at its mean distance."""
    zenith = degrees(acos(cos_zenith))
    air_mass = 1 / (cos_zenith + 0.50572 * (96.07995 - zenith) ** -1.6364)
    return 1353 * 0.7 ** (air_mass**0.678)


def energy_at(latitude: float, tilt: float, every_days: int, steps: int) -> float:
    """kWh/m2 in a year: every n-th day, from noon to midnight in equal steps, times two."""
    phi, beta, total = radians(latitude), radians(tilt if latitude >= 0 else -tilt), 0.0
    for day in range(1, 366, every_days):
        delta = radians(23.45) * sin(2 * pi * (284 + day) / 365)
        nearness = 1 + 0.033 * cos(2 * pi * day / 365)
        for step in range(steps):
            hour = cos(pi * (step + 0.5) / steps)
            up = sin(phi) * sin(delta) + cos(phi) * cos(delta) * hour
            front = sin(phi - beta) * sin(delta) + cos(phi - beta) * cos(delta) * hour
            if up > 0 and front > 0:
                total += nearness * beam(min(up, 1.0)) * front
    return total * every_days * 24 / steps / 1000


@cacheable(places=FileType, tilt=float)
def energy(places: Path, tilt: float, every_days: int = 5, steps: int = 24) -> dict[str, float]:
    """Stage 2, the long one: a year's energy on a panel of that tilt, for each city."""
    with places.open(newline="") as lines:
        return {
            name: round(energy_at(float(north), tilt, every_days, steps), 2)
            for name, north in csv.reader(lines)
        }


@cacheable(places=FileType, energies=dict[str, FileType])
def summary(places: Path, energies: dict[str, Path]) -> list[tuple[str, int, str, float]]:
    """Stage 3: for each band of latitude its cities, the tilt that suits most of them, and what it gains over
    a flat panel.
    """
    by_tilt = {tilt: json.loads(path.read_text()) for tilt, path in energies.items()}
    bands: dict[int, list[str]] = {}
    with places.open(newline="") as lines:
        for name, north in csv.reader(lines):
            bands.setdefault(int(abs(float(north)) // 15) * 15, []).append(name)
    table = []
    for band, names in sorted(bands.items()):
        best = [max(by_tilt, key=lambda tilt: by_tilt[tilt][name]) for name in names]
        tilt = max(by_tilt, key=best.count)
        gain = mean(by_tilt[tilt][name] for name in names) / mean(by_tilt["0"][name] for name in names) - 1
        table.append((f"{band:2}-{band + 15} degrees", len(names), tilt, round(100 * gain, 1)))
    return table


def pipeline() -> None:
    """All stages, in the current folder."""
    places = Path("cities.csv")
    with places.open("w", newline="") as file:
        csv.writer(file).writerows(cities(ZONES))
    energies = {f"{tilt:.0f}": Path(f"energy-{tilt:.0f}.json") for tilt in TILTS}
    for tilt, path in zip(TILTS, energies.values(), strict=True):
        path.write_text(json.dumps(energy(places, tilt)))
    for band, count, tilt, gain in summary(places, energies):
        print(f"  {band}: {count:3} cities, {tilt:>2} degrees is best, {gain:+5.1f} % against flat")


def main(folder: str = "sunlight") -> None:
    """Run the pipeline twice, in two processes, and show the report of each."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for run in ("First run", "Second run"):
        start = time.perf_counter()
        print(f"{run}:", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).resolve()), "--once"], cwd=folder, check=True)
        print(f"  took {time.perf_counter() - start:.1f} s", flush=True)
        subprocess.run([sys.executable, "-m", "scalable_cas", "report", "--last"], cwd=folder, check=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--once"]:
        pipeline()
    else:
        main(*sys.argv[1:])

"""A report as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from __future__ import annotations

from html import escape

from scalable_cas import clock
from scalable_cas.ops.report import percent, spoken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.ops.report import Report, Sums

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cache performance</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; overflow-wrap: anywhere; }}
meter {{ width: 6rem; }}
</style>
</head>
<body>
<h1>Cache performance</h1>
<p>{runs} from {started} to {ended}; store {root}</p>
<p><strong>{hits} hits</strong> ({hit_percent}%) and {misses} misses ({miss_percent}%) in {lookups} lookups;
time saved: about <strong>{saved}</strong>, time spent computing: about {spent}.</p>
<table>
<thead>
<tr><th>Function</th><th>Lookups</th><th>Hits</th><th>Misses</th><th>Hit rate</th>
<th>Time saved</th><th>Time spent</th></tr>
</thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
_ROW = """\
<tr><td>{name}</td><td>{lookups}</td><td>{hits}</td><td>{misses}</td>
<td><meter value="{percent}" max="100">{percent}%</meter> {percent}%</td>
<td>{saved}</td><td>{spent}</td></tr>"""


def page(report: Report, root: str) -> str:
    """The page. ``root`` is the store's folder. Names come from elsewhere, and are escaped."""
    by_saved = sorted(report.functions.items(), key=lambda item: (-item[1].saved, item[0]))
    rows = [
        _ROW.format(name=escape(name), percent=percent(sums.hits, sums.lookups), **_cells(sums))
        for name, sums in by_saved
    ]
    share = percent(report.total.hits, report.total.lookups)
    return _PAGE.format(
        runs="One run" if report.runs == 1 else f"{report.runs} runs",
        started=clock.iso(report.started),
        ended=clock.iso(report.ended),
        root=escape(root),
        hit_percent=share,
        miss_percent=100 - share,
        rows="\n".join(rows),
        **_cells(report.total),
    )


def _cells(sums: Sums) -> dict[str, Any]:
    return {
        "lookups": sums.lookups,
        "hits": sums.hits,
        "misses": sums.misses,
        "saved": spoken(sums.saved),
        "spent": spoken(sums.spent),
    }

"""What is made of measured figures: the kept document, the page, and the pictures."""

from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest

from bench import plots, report
from bench.results import AtLeast, AtMost, Curve, Figure, Result

_MACHINE = {"cores": 2, "processor": "A processor", "load": 0.1, "python": "3.11.7"}
_MET = Result("rate", "SQLite", "/s", Figure(900, 880, 910), floor=1_000, target=AtLeast(800), cpu_seconds=1.5)
_MISSED = Result("CPU", "PostgreSQL", "µs", Figure(700, 690, 720), floor=200, target=AtMost(3, of_floor=True))


def _entry(*results: Result) -> dict[str, object]:
    return {"measured_on": "2026-11-25", "machine": _MACHINE, "results": [one.as_json() for one in results]}


def test_page_tells_what_is_met_and_what_is_not() -> None:
    """Each result is a row; a missed target is named again, with its reason; what wasn't measured is said."""
    page = report.page({"quiet": _entry(_MET, _MISSED), "reasons": {"CPU": "The profile is in the issue."}})
    assert "| rate | SQLite | 900 /s | 880–910 | 1,000 | 0.900 | ≥ 800 /s | yes |  | 1.50 |" in page
    assert "| CPU | PostgreSQL | 700 µs | 690–720 | 200 | 3.50 | ≤ 3.00 × floor | **no** |  |  |" in page
    assert "- CPU on PostgreSQL: 700 µs, 3.50 × its floor; target ≤ 3.00 × floor. The profile is in the issue." in page
    assert "Not measured for this page: `growth`" in page


def test_document_keeps_the_last_run_of_each_budget(tmp_path: Path) -> None:
    """A run of some budgets leaves those of other runs as they are."""
    file = tmp_path / "performance.json"
    report.keep(file, {"quiet": _entry(_MET), "push": _entry(_MET)})
    report.keep(file, {"quiet": _entry(_MISSED)})
    document = orjson.loads(file.read_bytes())
    assert [one["what"] for one in document["quiet"]["results"]] == ["CPU"]
    assert [one["what"] for one in document["push"]["results"]] == ["rate"]


@pytest.mark.parametrize(
    "points",
    [
        [(100, 905.0), (1_000, 900.0), (10_000, 890.0), (100_000, 870.0)],
        [(0, 12.5), (1, 12.0), (10, 3.0)],
        [(10, 0.8), (10_000, 900.0)],
        [(float(place), 5.0) for place in range(1, 1_000, 20)],
        [(1, 0.0), (2, 0.0)],
    ],
)
def test_picture_is_whole(points: list[tuple[float, float]], tmp_path: Path) -> None:
    """It is XML, every point is inside of it, and it comes back from the kept document as it was drawn."""
    curve = Curve("some", "Syncs & more", "calendars", "<s>", {"SQLite": points, "PostgreSQL": points})
    drawn = plots.drawn(curve)
    root = ET.fromstring(drawn)  # noqa: S314  # drawn by us just now
    circles = root.findall("{*}circle")
    assert len(circles) == 2 * len(points)
    assert all(0 <= float(circle.attrib["cx"]) <= 640 for circle in circles)
    assert all(40 <= float(circle.attrib["cy"]) <= 270 for circle in circles)
    file = tmp_path / "performance.json"
    report.keep(file, {"calendars": {"measured_on": "2026-11-25", "machine": _MACHINE, "curves": [curve]}})
    assert report.pictures(orjson.loads(file.read_bytes())) == {"curve-some.svg": drawn}

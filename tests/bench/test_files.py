"""The JSON file keeps its keys: readers of earlier files rely on them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from kseg_batch.bench.files import to_json
from kseg_batch.bench.implementations import BASELINE, Implementation, Requirement, open_tutorial
from kseg_batch.bench.options import BenchOptions, parse_sizes
from kseg_batch.bench.results import BenchResults, Metrics, PhotoInfo, ResultRow
from tests.support.paths import ROOT

OPTIONS = BenchOptions(
    folder=Path("photos"),
    sizes=parse_sizes("2,64x48"),
    k=(3, 16),
    images=1,
    repeat=5,
    threads=2,
    backends=(),
    libraries=True,
    budget=20.0,
    json=None,
    plot=None,
)
METRICS = Metrics(median_ms=8.0, min_ms=7.0, max_ms=9.0, passes=5, compactness=30.0, peak_mb=14.0, cores=1.5)
ROW = partial(ResultRow, size="2 MP", megapixels=2.0, k=3)
RESULTS = BenchResults(
    rows=[
        ROW(BASELINE, False, 2, status="measured", metrics=METRICS),
        ROW(
            "lib",
            True,
            1,
            status="measured",
            metrics=Metrics(
                median_ms=2.0, min_ms=1.0, max_ms=3.0, passes=4, compactness=60.0, peak_mb=0.0, cores=1.0
            ),
        ),
        ROW("cupy", False, None, status="FAILED", reason="it has no memory"),
    ],
    photos=[PhotoInfo("a.png", "1920x1080", 5000)],
    implementations=[
        Implementation(BASELINE, "the call", open_tutorial, "all"),
        Implementation("lib", "a library", open_tutorial, "one", requirement=Requirement("lib", "pylib")),
    ],
    unavailable={"numba-cuda": "no driver"},
    not_installed={"other": "pip install other"},
    unreadable=["b.png was passed over: the file is empty"],
    interrupted=True,
)


def test_every_name_has_its_key() -> None:
    content = json.loads(json.dumps(to_json(RESULTS, OPTIONS)))
    assert "usable_cores" in content.pop("environment")
    assert content == {
        "settings": {
            "folder": "photos",
            "sizes": ["64x48", "2 MP"],
            "k": [3, 16],
            "images": 1,
            "repeat": 5,
            "threads": 2,
            "budget_s": 20.0,
            "seed": 0,
        },
        "photos": [{"name": "a.png", "size": "1920x1080", "colors": 5000}],
        "contenders": {"opencv": "the call", "lib": "a library"},
        "results": [
            {
                **{"contender": "opencv", "peer": False, "threads": 2, "size": "2 MP", "megapixels": 2.0},
                **{"k": 3, "status": "measured"},
                "figures": {
                    **{"median_ms": 8.0, "least_ms": 7.0, "most_ms": 9.0, "passes": 5},
                    **{"compactness": 30.0, "peak_mb": 14.0, "cores": 1.5},
                },
                **{"reason": None, "by_best": 1.0, "times_faster": 1.0},
            },
            {
                **{"contender": "lib", "peer": True, "threads": 1, "size": "2 MP", "megapixels": 2.0},
                **{"k": 3, "status": "measured"},
                "figures": {
                    **{"median_ms": 2.0, "least_ms": 1.0, "most_ms": 3.0, "passes": 4},
                    **{"compactness": 60.0, "peak_mb": 0.0, "cores": 1.0},
                },
                **{"reason": None, "by_best": 2.0, "times_faster": 4.0},
            },
            {
                **{"contender": "cupy", "peer": False, "threads": None, "size": "2 MP", "megapixels": 2.0},
                **{"k": 3, "status": "FAILED", "figures": None, "reason": "it has no memory"},
                **{"by_best": None, "times_faster": None},
            },
        ],
        "absent": {"numba-cuda": "no driver"},
        "not_installed": {"other": "pip install other"},
        "unreadable": ["b.png was passed over: the file is empty"],
        "interrupted": True,
    }


def test_the_keys_are_those_of_the_stored_file_in_the_same_order() -> None:
    stored = json.loads((ROOT / "benchmarks/results/bench.json").read_text(encoding="utf-8"))
    content = json.loads(json.dumps(to_json(RESULTS, OPTIONS)))
    assert list(content) == list(stored)
    for key in ("environment", "settings"):
        assert list(content[key]) == list(stored[key])
    for key in ("photos", "results"):
        assert list(content[key][0]) == list(stored[key][0])
    assert list(figures_of(content)) == list(figures_of(stored))


def figures_of(content: dict[str, Any]) -> dict[str, float]:
    """The figures of the first result."""
    figures: dict[str, float] = content["results"][0]["figures"]
    return figures

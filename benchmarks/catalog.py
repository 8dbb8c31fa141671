"""The catalogue of all benchmarks: the command of each, the files that it writes, and its needs.

`python -m benchmarks` lists the catalogue, and `python -m benchmarks all` runs it. The commands are those of
the documentation. In a run, PHOTO becomes one image file, PHOTO... several, PHOTOS a folder of image files,
and benchmarks/results the output folder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kseg_batch.backends.gpu.driver import device_problem

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Need:
    """A package, a system or a device without which a benchmark cannot run."""

    name: str
    problem: Callable[[], str | None]
    """Return the reason if the need is not met on this machine, and None if it is met."""


def package(name: str, module: str) -> Need:
    """Return the need for a package, by the name under which pip installs the package, and by its module."""

    def problem() -> str | None:
        return None if find_spec(module) else f"{name} is not installed; to add it: pip install {name}"

    return Need(name, problem)


LINUX = Need("Linux", lambda: None if sys.platform == "linux" else "only Linux has the files of /proc")
GPU = Need("an NVIDIA GPU", device_problem)
MATPLOTLIB = package("matplotlib", "matplotlib")
PYAV = package("av", "av")
PYTEST_BENCHMARK = package("pytest-benchmark", "pytest_benchmark")
SCIKIT_IMAGE = package("scikit-image", "skimage")
SCIKIT_LEARN = package("scikit-learn", "sklearn")
THREADPOOLCTL = package("threadpoolctl", "threadpoolctl")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One entry of the catalogue."""

    name: str
    """Short name, for `--only`."""
    summary: str
    """One sentence: the measured or drawn subject."""
    commands: tuple[str, ...]
    """The commands of the documentation, run one after the other in one folder."""
    writes: tuple[str, ...] = ()
    """Names of the files in the output folder, or patterns of names; empty where figures are only printed."""
    needs: tuple[Need, ...] = ()
    photos: tuple[str, ...] = ()
    """Names, without extension, of the photos of the documented figures; empty for all photos."""
    quick: str = ""
    """Options after those of the documentation, for the smallest sizes."""

    @property
    def needs_photos(self) -> bool:
        """True if a command has a placeholder for photos."""
        return any("PHOTO" in command for command in self.commands)


FOUR_PHOTOS = ("Aqua", "Garden", "Wood", "YellowFlower")

CATALOG: dict[str, tuple[Benchmark, ...]] = {
    "Time and memory": (
        Benchmark(
            "tutorial",
            "Time and compactness of kseg-batch, cv2.kmeans and scikit-learn, by photo, size and k.",
            (
                "python -m benchmarks.speed.tutorial --k 3,5,8,16 "
                "--json benchmarks/results/tutorial.json PHOTO...",
            ),
            writes=("tutorial.json",),
            needs=(SCIKIT_LEARN, THREADPOOLCTL),
            photos=FOUR_PHOTOS,
            quick="--k 3 --sizes 96x54,48x27 --repeat 1",
        ),
        Benchmark(
            "bench",
            "Time, compactness and memory of each backend, and of the other libraries installed.",
            (
                "kseg-batch bench PHOTOS --peers --k 3,16 --sizes 1920x1080 --images 2 "
                "--json benchmarks/results/bench.json --plot benchmarks/results/bench.png",
            ),
            writes=("bench.json", "bench.png"),
            needs=(MATPLOTLIB,),
            photos=("Aqua", "YellowFlower"),
            quick="--k 3 --sizes 0.01 --images 1 --repeat 1",
        ),
        Benchmark(
            "end_to_end",
            "Images per second of whole folders: kseg-batch, only decoding and writing, the tutorial's "
            "script, and a script with scikit-learn-intelex if installed.",
            (
                "python -m benchmarks.speed.end_to_end --images 200 --repeat 5 "
                "--json benchmarks/results/end_to_end.json PHOTO...",
            ),
            writes=("end_to_end.json",),
            needs=(LINUX,),
            quick="--images 3 --size 96x54 --repeat 1 --tutorial-images 1 --peer-images 2",
        ),
        Benchmark(
            "pipeline",
            "Images per second of run and fit with one worker and with several, and the cost of the parent.",
            (
                "python -m benchmarks.speed.pipeline --repeat 5 "
                "--json benchmarks/results/pipeline.json PHOTO...",
            ),
            writes=("pipeline.json",),
            needs=(LINUX, SCIKIT_LEARN),
            photos=FOUR_PHOTOS,
            quick="--images 3 --tiny 5 --dataset 3 --repeat 1",
        ),
        Benchmark(
            "scaling",
            "Growth of time and memory with pixels, clusters, images and workers.",
            ("python -m benchmarks.speed.scaling --json benchmarks/results/scaling.json PHOTO",),
            writes=("scaling.json",),
            needs=(LINUX,),
            photos=("Garden",),
            quick="--megapixels 0.01,0.02 --k 2 --images 1,101 --workers 1 --repeat 1",
        ),
        Benchmark(
            "live",
            "Frames per second of kseg-batch live and of the tutorial's loop, and the flicker of labels.",
            ("python -m benchmarks.speed.live --repeat 3 --json benchmarks/results/live.json",),
            writes=("live.json",),
            needs=(PYAV,),
            quick="--size 96x54 --frames 12 --repeat 1",
        ),
        Benchmark(
            "profiles",
            "Time of a photo from file to outputs, by its colour profile.",
            ("python -m benchmarks.speed.profiles --json benchmarks/results/profiles.json PHOTO...",),
            writes=("profiles.json",),
            photos=FOUR_PHOTOS,
            quick="--size 96x54 --repeat 1",
        ),
        Benchmark(
            "startup",
            "Time of the first call with compilation, of a start with cached kernels, and of --help.",
            ("python -m benchmarks.speed.startup --json benchmarks/results/startup.json",),
            writes=("startup.json",),
            needs=(SCIKIT_LEARN,),
            quick="--compilations 1",
        ),
        Benchmark(
            "memory",
            "Peak memory of segment() above the image.",
            ("python -m benchmarks.speed.memory --json benchmarks/results/memory.json",),
            writes=("memory.json",),
            needs=(LINUX, SCIKIT_LEARN),
            quick="--megapixels 0.1",
        ),
        Benchmark(
            "kernels",
            "Time of each stage of an image, beside the last time.",
            ("make bench-kernels",),
            needs=(PYTEST_BENCHMARK, SCIKIT_LEARN),
        ),
        Benchmark(
            "gpu_trial",
            "Correctness, time and profile of the GPU backends.",
            (
                "python -m benchmarks.gpu_trial --out gpu-trial --photos PHOTOS --seconds 330 "
                "--keep benchmarks/results",
            ),
            writes=("gpu-*.json",),
            needs=(GPU,),
            quick="--only versions,self-test",
        ),
    ),
    "Quality, and comparisons that chose a constant or a method": (
        Benchmark(
            "quality",
            "Compactness of segment() beside the best of 50 starts of scikit-learn.",
            ("python -m benchmarks.studies.quality --json benchmarks/results/quality.json PHOTO...",),
            writes=("quality.json",),
            needs=(SCIKIT_IMAGE, SCIKIT_LEARN),
            quick="--k 2 --starts 1 --samples 1",
        ),
        Benchmark(
            "auto_k",
            "Criteria for the number of clusters, and the time of --k auto.",
            ("python -m benchmarks.studies.auto_k --json benchmarks/results/auto_k.json PHOTO...",),
            writes=("auto_k.json",),
            needs=(SCIKIT_IMAGE, SCIKIT_LEARN),
            quick="--pixels 10000",
        ),
        Benchmark(
            "lloyd_ways",
            "Units of work of one Lloyd iteration, for each of four methods.",
            ("python -m benchmarks.studies.lloyd_ways --json benchmarks/results/lloyd_ways.json PHOTO...",),
            writes=("lloyd_ways.json",),
            photos=FOUR_PHOTOS,
        ),
        Benchmark(
            "profile_accuracy",
            "Conversions to sRGB beside those of LittleCMS, for all ICC profiles in Python's packages.",
            ("python -m benchmarks.studies.profile_accuracy",),
        ),
        Benchmark(
            "scene_changes",
            "Overlap of the colours of two frames at cuts, pans, fades and noise.",
            ("python -m benchmarks.studies.scene_changes PHOTO...",),
            needs=(SCIKIT_IMAGE, SCIKIT_LEARN),
        ),
    ),
    "Pictures and charts": (
        Benchmark(
            "landscape",
            "The generated landscape with its clusters, and with and without its trees.",
            ("python -m benchmarks.figures.landscape --out benchmarks/results",),
            writes=("scene.jpg", "keep.jpg"),
        ),
        Benchmark(
            "spaces",
            "The landscape in five colours of each colour space, and the time of converting.",
            ("python -m benchmarks.figures.spaces --out benchmarks/results",),
            writes=("color_spaces.jpg",),
        ),
        Benchmark(
            "regions",
            "The landscape with and without small regions, and the time of both steps on photos.",
            ("python -m benchmarks.figures.regions --out benchmarks/results PHOTO...",),
            writes=("regions.png",),
            photos=FOUR_PHOTOS,
        ),
        Benchmark(
            "live_view",
            "The window of kseg-batch live.",
            ("python -m benchmarks.figures.live_view --out benchmarks/results",),
            writes=("live.jpg",),
        ),
        Benchmark(
            "show",
            "The figures of kseg-batch show: one number of clusters, and several.",
            (
                "python -m benchmarks.figures.landscape --photo landscape.png",
                "kseg-batch show landscape.png --k 4 --dpi 70 --save benchmarks/results/show.png",
                "kseg-batch show landscape.png --k 2,3,4,5,6 --dpi 70 --save benchmarks/results/show_k.png",
            ),
            writes=("show.png", "show_k.png"),
            needs=(MATPLOTLIB,),
        ),
        Benchmark(
            "plots",
            "Charts of the JSON files of tutorial, scaling, end_to_end and quality.",
            ("python -m benchmarks.figures.plots --results benchmarks/results",),
            writes=("tutorial.png", "scaling.png", "end_to_end.png", "quality.png"),
            needs=(MATPLOTLIB,),
        ),
        Benchmark(
            "gpu_plot",
            "A chart of a JSON file of gpu_trial.",
            ("python -m benchmarks.gpu.plot RESULTS",),
            needs=(MATPLOTLIB,),
        ),
    ),
    "Photos to measure on": (
        Benchmark(
            "photos",
            "Copy the photos that scikit-image and scikit-learn carry into a folder.",
            ("python -m benchmarks.photos DIR",),
            needs=(SCIKIT_IMAGE, SCIKIT_LEARN),
        ),
    ),
}
"""The benchmarks by group, in the order of a run: `plots` draws the JSON files of earlier benchmarks."""

BENCHMARKS = tuple(benchmark for group in CATALOG.values() for benchmark in group)

"""Options out of range, and values of flags, parsed from text."""

import pytest

from kseg_batch.backends.gpu.options import GpuOptions
from kseg_batch.cli.parsing import parse_bytes
from kseg_batch.errors import OptionError
from kseg_batch.kmeans.options import FitOptions, parse_k


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("k", 0),
        ("k", 257),
        ("attempts", 0),
        ("attempts", 1 << 16),
        ("max_iter", 0),
        ("max_iter", 1_000_001),
        ("max_iter", 2.5),
        ("k", "3"),
        ("eps", -0.1),
        ("eps", float("nan")),
        ("seed", -1),
        ("seed", 1 << 63),
        ("init", "forgy"),
    ],
)
def test_options_out_of_range(field: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{field} must be .*{value}"):
        FitOptions(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "k", ["", "auto:", "auto:2", "auto:2-", "auto:1-4", "auto:5-5", "auto:2-257", "3.5", " 3", "9" * 5000]
)
def test_values_that_are_no_number_of_clusters(k: str) -> None:
    with pytest.raises(OptionError, match=r"^k must be "):
        parse_k(k)


@pytest.mark.parametrize(
    ("text", "value"), [("4G", 4 << 30), ("1.5 g", 3 << 29), ("600MiB", 600 << 20), ("536870912", 1 << 29)]
)
def test_sizes(text: str, value: int) -> None:
    assert parse_bytes(text) == value
    assert GpuOptions(memory=value).memory == value


@pytest.mark.parametrize("text", ["", "4X", "lots", "-1G"])
def test_texts_that_are_no_size(text: str) -> None:
    with pytest.raises(OptionError, match="a size such as 4G"):
        parse_bytes(text)


def test_gpu_options_out_of_range() -> None:
    with pytest.raises(OptionError, match="gpu_memory must be at least 384 MiB"):
        GpuOptions(memory=1)
    with pytest.raises(OptionError, match="device must be the number"):
        GpuOptions(device=-1)

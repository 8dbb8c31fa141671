"""Progress where stderr is no terminal; tests/test_run.py has the bar on one."""

import re

import pytest

from kseg_batch import progress


def test_an_occasional_plain_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with progress.Progress(3) as bar:
        for failed in (False, True, False):
            bar.advance(failed=failed)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # the last image needs none: the summary follows
    assert re.fullmatch(r"1 of 3 images, [\d.]+ images/s, 0 failed", lines[0])
    assert re.fullmatch(r"2 of 3 images, [\d.]+ images/s, 1 failed", lines[1])


def test_no_line_before_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress(2) as bar:
        bar.advance(failed=False)
    assert capsys.readouterr().err == ""

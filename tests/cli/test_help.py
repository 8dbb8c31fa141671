"""The help of each command, and what is printed for values that a flag does not take."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kseg_batch.cli import app
from kseg_batch.cli.exit_codes import EXIT_USAGE
from kseg_batch.cli.help import GROUPS
from tests.support.commands import command_line

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FLAGS = [
    (name, param)
    for name, command in COMMANDS.items()
    for param in command.params
    if param.param_type_name == "option"
]
VALUED = [(name, param) for name, param in FLAGS if not param.is_flag]
"""The flags that take a value."""

NUMBERS = ("N", "PIXELS", "LEVELS", "SECONDS", "DELTA_E")
CHOICES = ("keep|ignore", "k-means++|random", "rgb|lab|oklab")


def help_of(name: str, **environment: str) -> str:
    """Return the help of a command, as it is in a file or a pipe."""
    done = subprocess.run(
        command_line(name, "--help"),
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_groups_and_fits_80_columns_without_colour(name: str) -> None:
    text = help_of(name, FORCE_COLOR="1", TERM="xterm-256color")
    assert max(map(len, text.splitlines())) <= 80
    assert text.isprintable() or set(text) - set(map(chr, range(32, 127))) == {"\n"}
    headings = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [group for group in GROUPS if group in headings]
    assert "<" not in text, "a type of Python in place of a word that says what to give"
    if name == "run":
        assert headings == list(GROUPS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_flag_is_in_the_help_once(name: str) -> None:
    column = [line.strip().split("  ")[0] for line in help_of(name).splitlines() if re.match("  [^ ]", line)]
    words = [word for line in column for word in re.split(", | / | ", line)]
    for param in COMMANDS[name].params:
        is_option = param.param_type_name == "option"
        for word in (*param.opts, *param.secondary_opts) if is_option else [param.metavar]:
            assert words.count(word) == 1, word


def test_every_flag_with_a_value_says_what_to_give() -> None:
    assert [param.opts for _, param in VALUED if param.metavar is None] == []


def test_the_list_of_commands_has_a_whole_sentence_for_each() -> None:
    done = subprocess.run(command_line("--help"), capture_output=True, text=True, check=True)
    lines = done.stdout.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


@pytest.mark.parametrize(
    ("name", "param"),
    [
        pytest.param(name, param, id=f"{name} {param.opts[0]}")
        for name, param in VALUED
        if param.metavar in (*NUMBERS, *CHOICES)
    ],
)
def test_a_value_of_the_wrong_kind_gets_one_sentence(name: str, param: Any) -> None:
    needed = [word.metavar for word in COMMANDS[name].params if word.param_type_name == "argument"]
    flag = max(param.opts, key=len)
    result = CliRunner().invoke(app, [name, *needed, flag, "many"])
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"kseg-batch: {flag} must be ")
    assert "not 'many'" in line
    for word in ("Input", "Value error", "Invalid value", "Traceback"):
        assert word not in line


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        ("run p --alpha ignor", "not 'ignor'; did you mean ignore?"),
        ("run p --color-space oklap", "not 'oklap'; did you mean oklab?"),
        ("run p --init kmeans", "not 'kmeans'; did you mean k-means++?"),
        ("run p --backend nubma", "not nubma; did you mean numba?"),
        ("bench --backend nubma", "not nubma; did you mean numba?"),
        ("run p --save segmentd", "not 'segmentd'; did you mean segmented?"),
        ("run p --save segmented,lables", "not 'lables'; did you mean labels?"),
        ("run p --save segmented,", "not ''."),
        ("run p --keep grene", "did you mean green, grey, seagreen?"),
        ("run p --color-space hsv", "not 'hsv'."),
    ],
)
def test_a_misspelt_value_gets_what_was_meant(
    arguments: str, ending: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.png").touch()
    result = CliRunner().invoke(app, arguments.split())
    (line,) = result.stderr.splitlines()
    assert result.exit_code == EXIT_USAGE
    assert line.startswith("kseg-batch: --")
    assert line.endswith(ending)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run p --color-spce lab", "kseg-batch run has no flag --color-spce; did you mean --color-space?"),
        ("run p --smoth 1", "kseg-batch run has no flag --smoth; did you mean --smooth?"),
        ("run p -z", "kseg-batch run has no flag -z; see kseg-batch run --help"),
        ("rnu p", "there is no command rnu; did you mean run?"),
        ("./photos", "there is no command ./photos; see kseg-batch --help"),
        ("run", "SRC... is missing; see kseg-batch run --help"),
        ("run p --k", "Option '--k' requires an argument; see kseg-batch run --help"),
        ("run p --json=1", "Option '--json' does not take a value; see kseg-batch run --help"),
        ("live clip.mp4", "Got unexpected extra argument(s) (clip.mp4); see kseg-batch live --help"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence(arguments: str, message: str) -> None:
    result = CliRunner().invoke(app, arguments.split(), prog_name="kseg-batch")
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert result.stderr == f"kseg-batch: {message}\n"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("kseg-batch run --save m", ["masks", "masked"]),
        ("kseg-batch run --color-space o", ["oklab"]),
        ("kseg-batch run --re", ["--retry-failed", "--require-gpu"]),
    ],
)
def test_the_shell_completes_flags_and_values(words: str, found: list[str]) -> None:
    done = subprocess.run(
        command_line(code="pass"),
        env={
            **os.environ,
            "_KSEG_BATCH_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(done.stdout.split()) == sorted(found)

import subprocess
import sys
from typing import Literal, get_args, get_origin, get_type_hints

import click
import pytest

from m3amba_geo.cli import COMMANDS, commands, main
from m3amba_geo.cli.settings import Setting
from m3amba_geo.config import Config, EvaluateConfig, LabelConfig, SceneConfig

HEAVY = {"torch", "numpy", "rasterio", "pydantic", "rich", "numba", "scipy", "m3amba_geo.config"}


def command(name):
    found = commands.get_command(click.Context(commands), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_parse(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples:" in text
    examples = [line.split() for line in text.splitlines() if line.startswith("      m3amba-geo ")]
    assert examples
    for _, called, *arguments in examples:
        assert called == name
        command(name).make_context(name, arguments, resilient_parsing=False, obj=None)


@pytest.fixture(autouse=True)
def _no_stdin_watch(monkeypatch):
    monkeypatch.setattr("m3amba_geo.cli.cancel.Cancellation.watch", lambda *_: None)


def test_no_arguments_show_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "Examples:" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert "m3amba-geo" in capsys.readouterr().out


def test_unknown_command_says_what_to_do(capsys):
    assert main(["clasify"]) == 2
    err = capsys.readouterr().err
    assert "error [usage]: No such command 'clasify'" in err
    assert "hint: " in err


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from m3amba_geo.cli import main\n"
        "for name in sys.argv[1:]: assert main([name, '--help']) == 0\n"
        "main(['--help']); print(*sys.modules, file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, *COMMANDS],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert not HEAVY & set(process.stderr.split())


SETTINGS = [
    pytest.param(name, option, id=f"{name} {option.opts[0]}")
    for name in COMMANDS
    for option in command(name).params
    if isinstance(option, Setting)
]


@pytest.mark.parametrize(("name", "option"), SETTINGS)
def test_options_agree_with_the_settings(name, option):
    hint, default = resolve(option.key)
    if isinstance(option.type, click.Choice):
        assert get_origin(hint) is Literal
        assert tuple(option.type.choices) == get_args(hint)
    if default is not None and default is not False:
        said = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        assert option.usual == said


def resolve(key):
    """Returns type and default of a key such as `train.split.by`; KeyError where there is none."""
    first, *rest = key.split(".")
    special = {"scene": SceneConfig, "labels": LabelConfig, "test_labels": LabelConfig,
               "evaluate": EvaluateConfig}  # fmt: skip
    node, hint = Config(), None
    for part in (first, *rest):
        kind = node if isinstance(node, type) else type(node)
        hint = get_type_hints(kind)[part]
        node = special.get(part) or getattr(node, part, None)
    return hint, None if isinstance(node, type) else node

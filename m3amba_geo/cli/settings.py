"""Settings from `m3amba.toml` and from options; an option that is given overrides the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m3amba_geo.cli.modalities import parse_modalities
from m3amba_geo.errors import UsageError

if TYPE_CHECKING:
    from m3amba_geo.config import Config, ModalityConfig, SceneConfig

DEFAULT_FILE = Path("m3amba.toml")
_META = "m3amba_geo.settings"
_FILE = "m3amba_geo.config"
NO_RASTERS_HINT = (
    "Name them ([NAME=]RASTER...), or put `modalities` of a [[scene]] into m3amba.toml."
)


class Setting(click.Option):
    """An option that stands for one key of `m3amba.toml`, such as `train.split.by`.

    It has no default of its own (`m3amba_geo.config` has), and commands do not receive it: what was
    given is kept in the context until `load` asks.

    Attributes:
        key: Where it stands in `m3amba.toml`.
        usual: What holds where it is not given, for the help.
    """

    def __init__(
        self,
        names: Sequence[str],
        key: str,
        help: str,
        usual: str = "",
        **attrs: Any,  # noqa: ANN401 - click's
    ) -> None:
        attrs |= {"default": None, "expose_value": False, "callback": _remember}
        attrs["help"] = f"{help} [default: {usual}]" if usual else help
        super().__init__(names, **attrs)
        self.key = key
        self.usual = usual


def remember_file(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    """Keeps the file that `--config` names."""
    context.meta[_FILE] = value


def load(
    rasters: Sequence[str] = (), *, elsewhere: bool = False, evaluate: bool = False
) -> "Config":
    """Returns the settings of the command that runs.

    Args:
        rasters: `[NAME=]RASTER` arguments; where given they replace the scene's modalities.
        elsewhere: Whether rasters that are given are another place than the scenes of the file.
        evaluate: Whether the command needs the table `evaluate`.

    Raises:
        FileMissingError: The file of `--config` is not there.
        UsageError: Something does not fit, with the key named.
    """
    from m3amba_geo.config_file import make_config, read_toml

    context = click.get_current_context()
    named: Path | None = context.meta.get(_FILE)
    file = named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    tables = read_toml(file) if file else {}
    given: dict[str, Any] = context.meta.get(_META, {})
    modalities = parse_modalities(rasters)
    if elsewhere and modalities:
        _forget_scenes(tables)
    _merge_scene(tables, _inside("scene", given), modalities)
    for key, value in given.items():
        if not key.startswith("scene."):
            _put(tables, key, value)
    _find_labels(tables, needed=evaluate)
    options = ["the options"] if given or modalities or not file else []
    return make_config(tables, " and ".join([str(file), *options] if file else options))


def scene_of(rasters: Sequence[str]) -> "SceneConfig":
    """Returns the scene that `[NAME=]RASTER` arguments make up, settings left aside.

    Raises:
        UsageError: There are none, or their names do not fit.
    """
    from m3amba_geo.config_file import make_config

    modalities = parse_modalities(rasters)
    if not modalities:
        raise UsageError("No rasters were named.", "Name them: [NAME=]RASTER...")
    return make_config({"scene": [{"modalities": modalities}]}, "the options").scene[0]


def modalities_of(fields: Sequence[str]) -> "tuple[ModalityConfig, ...]":
    """Returns the modalities that `[NAME=]FIELD` arguments make up; none of none."""
    from m3amba_geo.config import ModalityConfig

    return tuple(ModalityConfig(**modality) for modality in parse_modalities(fields))


def only_scene(config: "Config") -> "SceneConfig":
    """Returns the one scene that a command works on.

    Raises:
        UsageError: There is none, or more than one.
    """
    if not config.scene:
        raise UsageError("No rasters were named.", NO_RASTERS_HINT)
    if len(config.scene) > 1:
        raise UsageError(
            f"The settings hold {len(config.scene)} scenes, and this works on one.",
            "Name the rasters of the one that is meant: [NAME=]RASTER...",
        )
    return config.scene[0]


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None and isinstance(parameter, Setting):
        context.meta.setdefault(_META, {})[parameter.key] = value


def _inside(table: str, given: dict[str, Any]) -> dict[str, Any]:
    """Returns what was given for one table, with keys as they are inside it."""
    start = f"{table}."
    return {key.removeprefix(start): v for key, v in given.items() if key.startswith(start)}


def _forget_scenes(tables: dict[str, Any]) -> None:
    """Drops scenes, but not a resampling that all of them share: a model is used as trained."""
    scenes = _scenes(tables) or []
    methods = [scene.get("resampling") for scene in scenes]
    same = methods and methods[0] and all(method == methods[0] for method in methods)
    tables["scene"] = [{"resampling": methods[0]}] if same else []


def _merge_scene(
    tables: dict[str, Any], given: dict[str, Any], modalities: list[dict[str, Any]]
) -> None:
    """Lets rasters and options override the one scene there is, or make one."""
    scenes = _scenes(tables)
    if scenes is None or not (given or modalities):
        return
    if len(scenes) > 1:
        raise UsageError(
            f"The settings hold {len(scenes)} scenes: rasters and labels can't be options, too.",
            "Put them into the scenes, or name another file with --config.",
        )
    scene = scenes[0] if scenes else {}
    if modalities:
        scene["modalities"] = modalities
        scene.pop("grid", None)  # belongs to the rasters that were replaced
    for key, value in given.items():
        _put(scene, key, value)
    if "test_labels.path" in given:
        _share_fields(scene)
    if "modalities" not in scene:
        raise UsageError("No rasters were named.", NO_RASTERS_HINT)
    tables["scene"] = [scene]


def _scenes(tables: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Returns the scenes; None where they are no scenes, which `make_config` will say."""
    scenes = tables.get("scene", [])
    if isinstance(scenes, list) and all(isinstance(scene, dict) for scene in scenes):
        return scenes
    return None


def _share_fields(scene: dict[str, Any]) -> None:
    """Reads labels for testing like those for training, where nothing else is said."""
    labels = scene.get("labels")
    if isinstance(labels, dict):
        shared = {k: v for k, v in labels.items() if k not in ("path", "layer")}
        scene["test_labels"] = shared | scene["test_labels"]


def _find_labels(tables: dict[str, Any], *, needed: bool) -> None:
    """Completes the table `evaluate`, whose labels need not be named in the file.

    They may be an option, or those of the only scene, labels for testing first. Other commands
    check the rest of the table, and get a stand-in that nobody reads.

    Raises:
        UsageError: The command evaluates, and there are none.
    """
    table = tables.setdefault("evaluate", {}) if needed else tables.get("evaluate")
    if not isinstance(table, dict) or not isinstance(own := table.get("labels", {}), dict):
        return  # `make_config` will say so
    scenes = _scenes(tables) or []
    scene = scenes[0] if len(scenes) == 1 else {}
    labels = scene.get("test_labels") or scene.get("labels") or {}
    if not needed:
        labels = {"path": "."}
    if "path" not in own and isinstance(labels, dict):
        table["labels"] = own = labels | own
    if "path" not in own:
        raise UsageError(
            "No ground truth was named.",
            "Name it with --labels FILE, or put `labels` into m3amba.toml.",
        )


def _put(table: dict[str, Any], key: str, value: object) -> None:
    """Sets `a.b.c` in nested tables."""
    *folders, last = key.split(".")
    for folder in folders:
        inner = table.setdefault(folder, {})
        if not isinstance(inner, dict):
            return  # `make_config` will say so
        table = inner
    table[last] = value

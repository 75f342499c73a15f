"""Packs the QGIS plugin into one zip file, ready to install.

The same tree gives the same bytes. Standard library only: any Python 3.9+ will do.
"""

import argparse
import ast
import configparser
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "m3amba"
KEPT = {".py", ".svg", ".ts"}
LARGEST = 1_000_000  # bytes
# What the plugin repository asks for.
REQUIRED = (
    "name", "qgisMinimumVersion", "description", "about", "version", "author", "email",
    "homepage", "repository", "tracker",
)  # fmt: skip
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


def members() -> dict[str, Path]:
    """Returns the files of the plugin by their names in the zip."""
    package = ROOT / "qgis_plugin"
    files = {f"{FOLDER}/{name}": ROOT / name for name in ("metadata.txt", "LICENSE")}
    for path in package.rglob("*"):
        if path.suffix in KEPT and "__pycache__" not in path.parts:
            files[f"{FOLDER}/{path.relative_to(package).as_posix()}"] = path
    return dict(sorted(files.items()))


def read_metadata() -> Mapping[str, str]:
    """Returns what the plugin says of itself.

    Raises:
        SystemExit: Something is missing that the plugin repository asks for.
    """
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "metadata.txt", encoding="utf-8")
    general = metadata["general"]
    missing = [key for key in REQUIRED if not general.get(key, "").strip()]
    icon = ROOT / "qgis_plugin" / general.get("icon", "")
    if not icon.is_file():
        missing.append(f"icon ({icon})")
    if missing:
        raise SystemExit(f"metadata.txt lacks {', '.join(missing)}.")
    return general


def versions() -> tuple[str, str]:
    """Returns the version of the plugin and that of the package."""
    metadata = read_metadata()
    tree = ast.parse((ROOT / "m3amba_geo" / "__init__.py").read_text(encoding="utf-8"))
    package = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    )
    return metadata["version"], package


def build(out: Path) -> Path:
    """Writes the zip and returns its path.

    Raises:
        SystemExit: Plugin and package differ in their versions, metadata is missing, or the zip
            is too large.
    """
    plugin, package = versions()
    if plugin != package:
        raise SystemExit(
            f"metadata.txt says version {plugin}, m3amba_geo {package}: make them equal."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in members().items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
    if out.stat().st_size > LARGEST:
        raise SystemExit(f"{out} is larger than {LARGEST:,} bytes.")
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "m3amba.zip")
    sys.stdout.write(f"{build(parser.parse_args().out)}\n")

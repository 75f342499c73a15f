"""Packs the QGIS plugin into one zip file, ready to install.

The same tree gives the same bytes. Standard library only: any Python 3.9+ will do.
"""

import argparse
import ast
import configparser
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "m3amba"
KEPT = {".py", ".svg", ".qm"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


def members() -> dict[str, Path]:
    """Returns the files of the plugin by their names in the zip."""
    package = ROOT / "qgis_plugin"
    files = {f"{FOLDER}/{name}": ROOT / name for name in ("metadata.txt", "LICENSE")}
    for path in package.rglob("*"):
        if path.suffix in KEPT:
            files[f"{FOLDER}/{path.relative_to(package).as_posix()}"] = path
    return dict(sorted(files.items()))


def versions() -> tuple[str, str]:
    """Returns the version of the plugin and that of the package."""
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "metadata.txt", encoding="utf-8")
    tree = ast.parse((ROOT / "m3amba_geo" / "__init__.py").read_text(encoding="utf-8"))
    package = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    )
    return metadata["general"]["version"], package


def build(out: Path) -> Path:
    """Writes the zip and returns its path.

    Raises:
        SystemExit: Plugin and package differ in their versions.
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
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "m3amba.zip")
    sys.stdout.write(f"{build(parser.parse_args().out)}\n")

"""Texts of the plugin: all of them are translated, and the files are up to date."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import translations

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(translations.FOLDER.glob("*.ts"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_text_is_translated(path):
    translated = translations.read(path)
    assert [text for text in translations.texts() if not translated.get(text)] == []
    assert set(translated) == set(translations.texts())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_blanks_are_kept(path):
    for text, translation in translations.read(path).items():
        blanks = re.findall(r"\{[^}]*\}", text)
        assert re.findall(r"\{[^}]*\}", translation) == blanks, text


def test_there_is_french_and_it_is_up_to_date():
    assert [path.name for path in FILES] == ["m3amba_fr.ts"]
    script = ROOT / "scripts" / "translations.py"
    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

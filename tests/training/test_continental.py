"""The page on large maps says what its command prints."""

from pathlib import Path

from click.testing import CliRunner

from training.continental import main

PAGE = Path(__file__).parents[2] / "docs" / "continental.md"


def test_the_tables_of_the_page_are_those_of_the_command():
    printed = CliRunner().invoke(main, catch_exceptions=False).output.split("\n\n")
    page = PAGE.read_text(encoding="utf-8")
    tables = [table.strip() for table in printed if table.strip()]
    assert len(tables) == 3
    assert all(table in page for table in tables)


def test_a_region_of_ones_own():
    command = ["--area", "360", "--price", "2", "--bands", "1"]
    output = CliRunner().invoke(main, command, catch_exceptions=False).output
    rows = [line.split(" | ") for line in output.splitlines() if "| yours |" in line]
    assert [row[1] for row in rows] == ["30 m", "10 m"] * 2
    assert rows[3][2:4] == ["7.2 MB", "3.6 MB"]  # 3.6 million pixels of 16 bits; a byte each

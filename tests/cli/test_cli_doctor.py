import json

import pytest

from m3amba_geo.cli import main
from m3amba_geo.events import ignore
from m3amba_geo.jobs import doctor
from m3amba_geo.jobs.checks import Check


@pytest.fixture
def checks(monkeypatch):
    found = {"one": lambda: Check("one", "ok", "1.0"), "two": lambda: Check("two", "ok", "2.0")}
    monkeypatch.setattr(doctor, "CHECKS", found)
    return found


def test_healthy(checks, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ok" in out
    assert "2.0" in out


def test_a_warning_is_no_failure(checks, capsys):
    checks["two"] = lambda: Check("two", "warn", "slow [really]", "Buy another.")
    assert main(["doctor"]) == 0
    captured = capsys.readouterr()
    assert "slow [really]" in captured.out
    assert "Buy another." in captured.out
    assert "slow" not in captured.err


def test_failure_is_told_with_its_remedy(checks, capsys):
    def broken():
        raise ImportError("libx.so: cannot open\nmore")

    checks["two"] = broken
    assert main(["doctor"]) == 3
    captured = capsys.readouterr()
    assert "1.0" in captured.out
    assert "error [environment]: What fails: two (ImportError: libx.so" in captured.err
    assert main(["doctor", "--json"]) == 3
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["event"] for e in events] == [
        "started", "progress", "note", "progress", "warning", "progress", "failed",
    ]  # fmt: skip
    assert events[4]["code"] == "doctor-two"
    assert events[-1]["hint"]


def test_old_and_missing_packages(monkeypatch):
    needs = ["click>=8.1", "torch>=999.1", "no-such-package-x>=1", "mamba-ssm>=2; extra == 'cuda'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: needs)
    check = doctor.CHECKS["packages"]()
    assert check.status == "fail"
    assert "no-such-package-x is missing" in check.detail
    assert "is older than 999.1" in check.detail
    assert "click" not in check.detail
    assert "mamba" not in check.detail


def test_this_machine_passes_what_is_quick():
    for name in ("python", "packages", "gdal", "torch", "cpu", "cuda", "mps", "scratch"):
        check = doctor.CHECKS[name]()
        assert check.status != "fail", check
        assert check.name == name


@pytest.mark.slow
def test_this_machine_is_healthy():
    assert doctor.run(ignore).failures == ()

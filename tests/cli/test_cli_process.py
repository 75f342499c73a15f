"""The protocol as another program meets it: real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("cli_driver.py")
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def driver(*arguments):
    return [sys.executable, str(DRIVER), *map(str, arguments)]


def run(*arguments, **keywords):
    keywords = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 30} | keywords
    return subprocess.run(driver(*arguments), text=True, check=False, **keywords)


def start(*arguments, **keywords):
    keywords = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | keywords
    return subprocess.Popen(driver(*arguments), stderr=subprocess.PIPE, text=True, **keywords)


def until_waiting(process):
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            return


def events(text):
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def assert_cancelled(process):
    out, err = process.communicate(timeout=10)
    *_, last = events(out)
    assert (last["event"], last["code"]) == ("failed", "cancelled")
    assert process.returncode == 130
    assert err == ""


def test_json_is_alone_on_standard_output():
    process = run("chatter", "info", "--json", "a.tif")
    found = events(process.stdout)
    assert process.returncode == 0
    assert [e["event"] for e in found] == [
        "started", "note", "warning", "metric", "progress", "progress", "artifact", "done",
    ]  # fmt: skip
    assert all(e["v"] == 1 for e in found)
    assert found[3]["value"] is None
    assert found[-1]["results"] == {"files": ["a.tif"], "score": None}
    for word in ("library prints", "in C prints", "child prints", "library logs", "library warns"):
        assert word in process.stderr


@pytest.mark.parametrize(
    ("scenario", "code", "status"),
    [
        ("boom", "internal", 1),
        ("unfit", "internal", 1),
        ("missing", "file-missing", 3),
        ("memory", "out-of-memory", 3),
        ("full", "disk-full", 3),
    ],
)
def test_errors_end_in_failed_and_their_exit_status(scenario, code, status):
    process = run(scenario, "info", "a.tif", "--json")
    *_, last = events(process.stdout)
    assert last["event"] == "failed"
    assert last["code"] == code
    assert last["message"]
    assert last["hint"]
    assert sum(e["event"] in ("done", "failed") for e in events(process.stdout)) == 1
    assert process.returncode == status
    assert ("Traceback" in process.stderr) == (code == "internal")


@pytest.mark.parametrize("json_wanted", [True, False])
@pytest.mark.parametrize(("scenario", "status"), [("chatter", 0), ("missing", 3), ("boom", 1)])
def test_of_several_processes_the_first_speaks_for_all(scenario, status, json_wanted):
    place = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1"}
    process = run(scenario, "info", "a.tif", *["--json"] * json_wanted, env=os.environ | place)
    assert process.returncode == status
    assert process.stdout == ""
    assert "markup" not in process.stderr  # what a job tells
    assert ("Traceback" in process.stderr) == (scenario == "boom")


def test_the_first_of_several_processes_is_heard():
    place = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0"}
    process = run("missing", "info", "a.tif", "--json", env=os.environ | place)
    assert events(process.stdout)[-1]["code"] == "file-missing"


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "--json"),
        ("info", "--json", "a.tif", "--nonsense"),
        ("--json", "info", "a.tif"),
        ("nonsense", "--json"),
        ("train", "--json", "--size", "huge"),
        ("train", "--json", "a.tif", "--labels", "roi.shp", "--patch", "33"),
        ("classify", "--json", "model.m3amba"),
        ("evaluate", "--json", "map.tif"),
    ],
)
def test_usage_errors_obey_json(arguments, tmp_path):
    process = run("boom", *arguments, cwd=tmp_path)
    (only,) = events(process.stdout)
    assert (only["event"], only["code"]) == ("failed", "usage")
    assert only["hint"]
    assert process.returncode == 2
    assert process.stderr == ""


def test_errors_for_people_have_a_hint_and_no_traceback():
    process = run("missing", "info", "some where/a.tif")
    assert process.returncode == 3
    assert process.stdout == ""
    assert process.stderr.splitlines() == [
        "error [file-missing]: some where/a.tif is missing.",
        "hint: Check the path.",
    ]


def test_plain_lines_in_a_pipe():
    process = run("chatter", "info", "a.tif")
    assert process.returncode == 0
    lines = process.stderr.splitlines()
    assert "half-way [not markup]" in lines
    assert "warning [odd]: something is odd" in lines
    assert "reading: 2/2 files, loss 0.5" in lines
    assert "wrote map.tif (map)" in lines
    assert "reading: 1/2" not in process.stderr
    assert "\x1b" not in process.stderr + process.stdout
    assert "a.tif" in process.stdout


@POSIX
def test_a_bar_on_a_terminal():
    import pty

    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    process = subprocess.run(
        driver("chatter", "info", "a.tif"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        check=True,
        timeout=30,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    assert b"\x1b[" in seen
    assert "━".encode() in seen
    assert b"2/2" in seen
    assert b"\x1b" not in process.stdout


@pytest.mark.parametrize("word", ['{"cancel":true}\n', '\n{"cancel":false}\nx\n{"cancel": true}\n'])
def test_cancel_by_a_line(word, tmp_path):
    half = tmp_path / "half"
    process = start("wait", "info", half, "--json", "--cancel-on-stdin")
    until_waiting(process)
    assert half.exists()
    process.stdin.write(word)
    process.stdin.flush()
    process.wait(timeout=5)
    assert_cancelled(process)
    assert not half.exists()


def test_cancel_by_the_end_of_standard_input(tmp_path):
    process = start("wait", "info", tmp_path / "half", "--json", "--cancel-on-stdin")
    until_waiting(process)
    process.stdin.close()
    process.stdin = None
    assert_cancelled(process)


def test_the_end_of_standard_input_after_the_job_is_no_cancel():
    process = start("chatter", "info", "a.tif", "--json", "--cancel-on-stdin")
    for line in process.stdout:
        if json.loads(line)["event"] == "done":
            process.stdin.close()
            process.stdin = None
            break
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "KeyboardInterrupt" not in err


def test_an_open_standard_input_does_not_hold_the_end_up():
    process = start("chatter", "info", "a.tif", "--json", "--cancel-on-stdin")
    assert process.wait(timeout=10) == 0
    process.communicate()


def test_standard_input_is_not_read_without_the_option(tmp_path):
    process = start("chatter", "info", "a.tif", "--json", stdin=subprocess.DEVNULL)
    out, _ = process.communicate(timeout=10)
    assert events(out)[-1]["event"] == "done"


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_cancel(number, tmp_path):
    half = tmp_path / "half"
    process = start("wait", "info", half, "--json")
    until_waiting(process)
    process.send_signal(number)
    process.send_signal(number)  # an impatient user does not disturb the cleaning up
    assert_cancelled(process)
    assert not half.exists()


@POSIX
@pytest.mark.parametrize("scenario", ["deaf", "odd"])
def test_a_lost_interrupt_still_cancels(scenario):
    process = start(scenario, "info", "a.tif", "--json")
    until_waiting(process)
    process.send_signal(signal.SIGINT)
    assert_cancelled(process)


@POSIX
def test_ctrl_c_for_people(tmp_path):
    half = tmp_path / "half"
    process = start("wait", "info", half)
    while not half.exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert err.startswith("error [cancelled]: Cancelled.\nhint: ")


@POSIX
def test_a_program_that_no_longer_reads_cancels():
    process = start("flood", "info", "a.tif", "--json")
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == ""


@POSIX
def test_head_is_no_error():
    process = start("long", "info", "a.tif")
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert err == ""


def test_isolated_module_from_another_folder(tmp_path):
    process = subprocess.run(
        [sys.executable, "-I", "-m", "m3amba_geo", "info", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 2
    assert events(process.stdout)[-1]["code"] == "usage"

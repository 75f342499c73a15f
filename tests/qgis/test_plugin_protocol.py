import json
import signal

import pytest

from qgis_plugin.protocol import Event, EventStream, describe_exit, parse_line

DONE = '{"v":1,"event":"done","results":{"map":"map.tif"}}'
FAILED = '{"v":1,"event":"failed","code":"data","message":"Bad.","hint":"Mend it."}'
CANCELLED = '{"v":1,"event":"failed","code":"cancelled","message":"Cancelled.","hint":""}'
NOTE = '{"v":1,"event":"note","message":"a note"}'


def ending(*lines, exit_code=0, cancelled=False):
    stream = EventStream()
    for line in lines:
        stream.feed(line)
    return stream.end(exit_code, cancelled)


@pytest.mark.parametrize(
    "line",
    ["", "chatter", "[1]", '"done"', "null", '{"event":"done"}', '{"v":1,"event":2}', '{"v":1'],
)
def test_foreign_lines_are_no_events(line):
    assert parse_line(line) is None


def test_fields_of_an_event():
    event = parse_line('{"v":1,"event":"metric","metric":"loss","value":0.5,"step":null}\n')
    assert event.name == "metric"
    assert event.number("value") == 0.5
    assert event.text("step") == ""
    assert event.text("absent") == ""
    assert event.number("metric") == 0


def test_events_come_in_order_and_unknown_ones_pass():
    stream = EventStream()
    assert stream.feed("chatter") is None
    assert stream.feed(NOTE).name == "note"
    assert stream.feed('{"v":1,"event":"later-kind"}') == Event(
        "later-kind", {"v": 1, "event": "later-kind"}
    )


def test_done():
    end = ending(NOTE, DONE)
    assert (end.status, end.results) == ("done", {"map": "map.tif"})


def test_failed_keeps_code_and_hint():
    end = ending(FAILED, exit_code=3)
    assert (end.status, end.code, end.message, end.hint) == ("failed", "data", "Bad.", "Mend it.")


@pytest.mark.parametrize(
    ("lines", "exit_code", "asked"),
    [([CANCELLED], 130, True), ([], 130, False), ([], -signal.SIGKILL, True), ([NOTE], 0, True)],
)
def test_cancelled(lines, exit_code, asked):
    assert ending(*lines, exit_code=exit_code, cancelled=asked).status == "cancelled"


def test_done_before_the_wish_to_cancel_arrived_is_done():
    assert ending(DONE, cancelled=True).status == "done"


@pytest.mark.parametrize("exit_code", [0, -9, 137, -signal.SIGTERM, 0xC0000017])
def test_killed_or_truncated_is_probably_out_of_memory(exit_code):
    end = ending(NOTE, '{"v":1,"event":"do', exit_code=exit_code)
    assert (end.status, end.code) == ("failed", "out-of-memory")
    assert "probably out of memory" in end.message
    assert "working memory" in end.hint


@pytest.mark.parametrize(("exit_code", "code"), [(1, "internal"), (2, "usage"), (3, "internal")])
def test_without_a_last_event_the_exit_code_speaks(exit_code, code):
    assert ending(NOTE, exit_code=exit_code).code == code


@pytest.mark.parametrize(
    "lines",
    [
        [DONE, NOTE],
        [DONE, DONE],
        [FAILED, DONE],
        [json.dumps({"v": 2, "event": "done"})],
    ],
)
def test_a_broken_protocol_is_never_a_success(lines):
    end = ending(*lines)
    assert (end.status, end.code) == ("failed", "protocol")


def test_done_with_a_bad_exit_code_is_a_failure():
    assert ending(DONE, exit_code=1).code == "protocol"


def test_exit_codes_in_words():
    assert describe_exit(3) == "exit code 3, error in the data or the environment"
    assert describe_exit(-9) == "signal SIGKILL"
    assert describe_exit(-250) == "signal 250"
    assert describe_exit(77) == "exit code 77, unknown"

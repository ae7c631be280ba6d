"""Progress: bars in a terminal, a line now and then in a file."""

import subprocess
import sys
import time

import pytest

from das.progress import Bars, Left, Lines, console


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def told(clock, total, moments, note="loss 0.5"):
    """Steps at given times: [(seconds, how far)]."""
    with Lines(30, clock).task("grid: 8 cells", total) as step:
        for clock.now, done in moments:
            step(done, note)


def test_a_line_every_thirty_seconds_with_what_is_left(clock, capsys):
    told(clock, 200, [(second, second // 2) for second in range(2, 96)])
    name, *lines = capsys.readouterr().out.splitlines()
    assert name == "grid: 8 cells"
    assert lines == [
        "grid: 8 cells  15/200  loss 0.5  left about 6 min",
        "grid: 8 cells  30/200  loss 0.5  left about 6 min",
        "grid: 8 cells  45/200  loss 0.5  left about 5 min",
    ]


def test_what_was_done_before_does_not_count_as_speed(clock, capsys):
    told(clock, 2000, [(0, 1000), (50, 1100)])
    assert capsys.readouterr().out.splitlines()[1:] == ["grid: 8 cells  1100/2000  loss 0.5  left about 8 min"]


def test_parts_of_a_unit_and_an_empty_note(clock, capsys):
    told(clock, 2, [(0, 0), (40, 1.25)], note="")
    assert capsys.readouterr().out.splitlines()[1:] == ["grid: 8 cells  1.25/2  left under a minute"]


@pytest.mark.parametrize("moments", [[], [(50, 3)], [(0, 1), (29, 2)], [(0, 1), (40, 1)]])
def test_nothing_is_said_of_what_is_short_or_has_not_moved(clock, capsys, moments):
    told(clock, 10, moments)
    assert capsys.readouterr().out == "grid: 8 cells\n"


def test_a_slow_spell_moves_what_is_left_by_half_of_what_it_would(clock):
    left = Left(100, 10, clock)
    assert left.step(0) is None
    clock.now = 10
    assert left.step(10) == pytest.approx(90)
    clock.now = 110  # a hundred seconds for as much as ten took before: the mean speed says 440
    assert left.step(20) == pytest.approx((440 + 0) / 2)
    clock.now = 115
    assert left.step(50) is None


def test_lines_reach_a_pipe_at_once():
    script = "import time; from das.progress import console; console().say('begun'); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    begun = time.monotonic()
    assert process.stdout.readline() == "begun\n"
    assert time.monotonic() - begun < 30
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bars), (False, Lines)])
def test_the_output_decides(monkeypatch, terminal, kind):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert type(console()) is kind


def test_bars_say_and_nest(capsys):
    bars = Bars()
    with bars.task("outer", 2) as outer, bars.task("inner", 2) as inner:
        outer(1, "half")
        inner(2, "whole")
        bars.say("[not markup]")
        assert bars.running == 2
    assert bars.running == 0
    assert "[not markup]" in capsys.readouterr().out

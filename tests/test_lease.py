"""The lease of a work directory: one holder at a time, and none of those that are gone."""

import json
import threading
import time

import pytest
from etils import epath

from natra_jax import lease, workdir
from natra_jax.lease import Lease, Machine
from natra_jax.types import UserError


class Fake(Machine):
    """A machine with processes {number: birth} and a clock that sleeping moves on."""

    def __init__(self, host="here", process=7, running=None, clock=1e9, asleep=lambda: None):
        super().__init__(host, process)
        self.running = {process: "100"} if running is None else running
        self.clock, self.asleep, self.slept = clock, asleep, 0.0

    def processes(self):
        return self.host

    def is_running(self, process):
        return process in self.running

    def born(self, process):
        return self.running.get(process, "")

    def now(self):
        return self.clock

    def sleep(self, seconds):
        self.clock += seconds
        self.slept += seconds
        self.asleep()


@pytest.fixture
def root(tmp_path):
    return epath.Path(tmp_path)


def names(root):
    return sorted(path.name for path in root.iterdir())


@pytest.fixture
def left(root):
    """Return left(machine, **changed), which leaves the lease of a run that did not end."""

    def left(machine, **changed):
        held = Lease(root, machine)
        held.renew()
        held.end = lambda: None
        path = root / workdir.LEASE
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        return held

    return left


def test_a_second_run_is_refused_by_the_name_of_the_first_and_the_end_frees(root):
    with Lease(root, Fake()):
        for attempt in (Lease(root, Fake(process=8, running={7: "100"})).require_free,):
            with pytest.raises(
                UserError, match=r"process 7 on here .* since 20\d\d-.*: wait until"
            ):
                attempt()
        with pytest.raises(UserError), Lease(root, Fake(process=8, running={7: "100"})):
            pass
        assert names(root) == [workdir.LEASE]
    assert names(root) == []
    with pytest.raises(KeyboardInterrupt), Lease(root, Fake()):
        raise KeyboardInterrupt
    assert names(root) == []


@pytest.mark.parametrize("running", [{8: "5"}, {8: "5", 7: "101"}], ids=["gone", "number reused"])
def test_a_dead_process_on_the_same_machine_holds_nothing(root, left, running):
    left(Fake())
    machine = Fake(process=8, running=running)
    with Lease(root, machine):
        assert machine.slept <= 1


def test_a_process_whose_birth_is_not_told_is_held_to_its_renewals(root, left):
    left(Fake(running={7: ""}))
    with pytest.raises(UserError):
        Lease(root, Fake(process=8, running={7: ""}, clock=1e9 + 59)).require_free()
    Lease(root, Fake(process=8, running={7: ""}, clock=1e9 + 61)).require_free()


@pytest.mark.parametrize("ahead", [-3600, -61, 3600])
def test_another_machines_lease_is_watched_whatever_its_clock_says(root, left, ahead):
    other = left(Fake("there", clock=1e9 + ahead))
    dead = Fake()
    Lease(root, dead).require_free()
    assert dead.slept == 30
    alive = Fake(asleep=other.renew)
    with pytest.raises(UserError, match="on there"):
        Lease(root, alive).require_free()


def test_another_machines_lease_that_was_renewed_just_now_is_held(root, left):
    left(Fake("there", clock=1e9 - 30))
    with pytest.raises(UserError, match="on there .* free after 60 seconds"):
        Lease(root, Fake()).require_free()


def test_a_copy_of_a_directory_that_is_written_into_goes_on(root):
    (root / "a").mkdir()
    with Lease(root / "a", Fake()):
        (root / "b").mkdir()
        (root / "b" / workdir.LEASE).write_text((root / "a" / workdir.LEASE).read_text())
        machine = Fake(process=8, running={7: "100", 8: "5"})
        with Lease(root / "b", machine) as held:
            assert machine.slept >= 30
            held.require_own()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "[" * 10_000, '"\\ud800"', "0" * 5000, "x" * 20_000]
)
def test_a_damaged_lease_is_watched_and_taken_over(root, content):
    (root / workdir.LEASE).write_text(content)
    with Lease(root, Fake()) as held:
        held.require_own()


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "\x1b[31m"},
        {"since": "a\nb"},
        {"process": "7"},
        {"time": None},
        {"process": 10**40},
    ],
)
def test_a_lease_of_odd_values_is_shown_to_nobody(root, left, changed):
    left(Fake(), **changed)
    Lease(root, Fake(process=8, running={7: "100"})).require_free()


def test_of_two_that_take_a_dead_ones_over_one_remains(root, left):
    left(Fake())
    first = Lease(root, Fake(process=8, running={8: "5", 9: "6"}))
    second = Lease(root, Fake(process=9, running={8: "5", 9: "6"}))
    # the second writes while the first waits to read its own
    first._machine.asleep = lambda: second.renew_over()
    second.renew_over = lambda: workdir.write(root / workdir.LEASE, second._text())
    with pytest.raises(UserError, match="process 9"), first:
        pass


def test_of_many_at_the_same_instant_one_wins(root):
    started, results = threading.Barrier(8), []

    def start(number):
        machine = Fake(process=number, running=dict.fromkeys(range(8), "1"))
        machine.asleep = lambda: time.sleep(0.01)  # in which another one can write its lease
        held = Lease(root, machine)
        started.wait()
        try:
            held.__enter__()
        except UserError as error:
            results.append(str(error))
        else:
            results.append(held)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [result for result in results if isinstance(result, Lease)]
    winner.end()


def test_a_run_that_was_taken_over_is_told_and_writes_no_more(root):
    with Lease(root, Fake()) as held:
        workdir.write(root / workdir.LEASE, Lease(root, Fake("there", 9))._text())
        assert not held.renew()
        with pytest.raises(UserError, match="process 9 on there"):
            held.require_own()
    assert names(root) == [workdir.LEASE], "which is the other one's"


def test_it_is_renewed_while_it_is_held(root, monkeypatch):
    monkeypatch.setattr(lease, "_BEAT", 0.01)
    path = root / workdir.LEASE
    with Lease(root):
        before = path.read_text()
        for _ in range(500):
            if path.read_text() != before:
                break
            threading.Event().wait(0.01)
        assert path.read_text() != before
    assert names(root) == []


def test_this_machine_tells_its_processes():
    machine = Machine()
    assert machine.is_running(machine.process) and not machine.is_running(2**22 + 1)
    assert machine.born(machine.process) == machine.born(machine.process)
    assert machine.born(2**22 + 1) == ""


def test_a_directory_in_its_place_is_one_line(root):
    (root / workdir.LEASE).mkdir()
    with pytest.raises(UserError, match=r"lease\.json cannot be written"), Lease(root, Fake()):
        pass


@pytest.mark.parametrize("name", ["a" * 300, "file/below", "\0"])
def test_a_directory_that_cannot_be_is_not_watched(root, name):
    (root / "file").write_text("")
    machine = Fake()
    Lease(root / name, machine).require_free()
    assert machine.slept == 0

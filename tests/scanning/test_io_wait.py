"""What threads wait for: storage, or each other."""

import os
import threading
import time
from contextlib import contextmanager

import pytest

from jwqlscan.scanning.io_wait import in_storage
from jwqlscan.scanning.pool import Pool
from jwqlscan.scanning.readers.base import Batch, OpenDirectory, Root

LIMIT_S = 30


@contextmanager
def waiting(calls):
    """Run each call, which waits, in a thread of its own; give the threads' numbers."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    numbers = [thread.native_id for thread in threads]
    yield numbers


def until(condition):
    """Look again until something is so; threads need a moment to get to where they wait."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.001)


@pytest.fixture
def storage():
    """A call that waits in the kernel, as for storage, until the test is over."""
    read_end, write_end = os.pipe()
    yield lambda: os.read(read_end, 1)
    os.close(write_end)
    os.close(read_end)


@pytest.fixture
def held():
    lock = threading.Lock()
    lock.acquire()
    yield lock
    lock.release()


def test_threads_that_wait_in_the_kernel_wait_for_storage(storage):
    with waiting([storage, storage]) as threads:
        until(lambda: in_storage(threads) == 1.0)


def test_threads_that_wait_for_a_lock_do_not(held):
    def wait():
        with held:
            pass

    with waiting([wait]) as threads:
        time.sleep(0.05)  # nothing tells that it waits but what is tested
        assert in_storage(threads) == 0.0


def test_the_part_of_them_that_storage_keeps_waiting_is_told(storage, held):
    def wait():
        with held:
            pass

    with waiting([storage, wait]) as threads:
        until(lambda: in_storage(threads) == 0.5)


def test_of_no_threads_and_of_ended_ones_nothing_is_told():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert in_storage([]) is None
    until(lambda: in_storage([thread.native_id]) is None)  # the kernel takes a moment to end it


class WaitingReader:
    """Its workers use up a processor, and are in a call of one kind when they are looked at."""

    name = "waiting"

    def __init__(self, wait):
        self._wait = wait

    def read(self, work, worker):
        self._wait()
        return Batch()


def busy_pool(wait, monkeypatch):
    """Return a pool of eight workers that wait, of whose processor all is in use."""
    opened = OpenDirectory(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    roots = [Root(number, f"{number}", opened) for number in range(8)]
    pool = Pool(WaitingReader(wait), roots, [0] * 8, 8, 1.0, slow=True, finished=lambda: None)
    pool.start()
    until(lambda: sum(worker.root >= 0 for worker in pool._worker_list) == 8)
    clock = pool._clock

    def fully_used():
        nonlocal clock
        clock = clock._replace(wall=clock.wall + 1, cpu=clock.cpu + 1, waits=clock.waits + 100)
        return clock

    monkeypatch.setattr("jwqlscan.scanning.pool._Clock.now", fully_used)
    return pool


def test_workers_that_storage_keeps_waiting_stay_active_though_the_processor_is_busy(
    storage, monkeypatch
):
    pool = busy_pool(storage, monkeypatch)
    until(lambda: in_storage([worker.thread for worker in pool._worker_list]) == 1.0)
    pool.adjust()
    assert pool._limit == 8


def test_workers_in_each_others_way_become_fewer(held, monkeypatch):
    def wait():
        with held:
            pass

    pool = busy_pool(wait, monkeypatch)
    until(lambda: in_storage([worker.thread for worker in pool._worker_list]) == 0.0)
    pool.adjust()
    assert pool._limit == 4
    for _ in range(5):
        pool.adjust()
    assert pool._limit == 1

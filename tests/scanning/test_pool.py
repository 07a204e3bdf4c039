"""The pool: it ends when nothing is left, never sooner, whatever its readers do."""

import os
import random
import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwqlscan.scanning.pool import Pool
from jwqlscan.scanning.readers.base import Batch, Link, OpenDirectory, Root

LIMIT_S = 30


@pytest.fixture(scope="module")
def opened():
    return OpenDirectory(os.open("/", os.O_RDONLY | os.O_DIRECTORY))


def roots(opened, count):
    return [Root(number, f"{number}", opened) for number in range(count)]


class ScriptedReader:
    """Reads a tree that is not there: what it leaves, gives away or goes on with is by chance."""

    name = "scripted"

    def __init__(self, children, seed):
        self._children = children
        self._random = random.Random(seed)
        self.read_paths = Counter()

    def read(self, work, worker):
        batch = Batch()
        root = work[0].root
        while work:
            item = work.pop(self._random.randrange(len(work)))
            assert item.root is root, "work of several roots at once"
            self.read_paths[item.path] += 1
            batch.tally.files += 1
            worker.files += 1
            below = [item._replace(path=path) for path in self._children.get(item.path, ())]
            chance = self._random.random()
            if below and chance < 0.3:
                worker.pool.share(below)
            elif chance < 0.5:
                batch.left += below
            else:
                work += below
            if chance > 0.9:
                time.sleep(0.0005)
            if worker.pool.wanted[0] or self._random.random() < 0.2:
                break
            if not work and chance < 0.8:
                work += worker.pool.more(root)
        batch.left += work
        return batch


def trees(parents, root_count):
    """Return who is below whom: every node's parent comes before it."""
    children = {}
    for number, parent in enumerate(parents):
        before = parent % (number + root_count)
        children.setdefault(f"{before}", []).append(f"{number + root_count}")
    return children


def run(pool, done, adjust=True):
    pool.start()
    end = time.monotonic() + LIMIT_S
    while not done.wait(0.005):
        assert time.monotonic() < end, "the pool did not end"
        if adjust:
            pool.adjust()


@settings(max_examples=100, deadline=None)
@given(
    parents=st.lists(st.integers(0, 1000), max_size=150),
    root_count=st.integers(1, 3),
    workers=st.integers(1, 16),
    cores=st.sampled_from([1.0, 2.0, 100.0]),
    slow=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_everything_is_read_once_and_then_it_ends(
    opened, parents, root_count, workers, cores, slow, seed
):
    children = trees(parents, root_count)
    reader = ScriptedReader(children, seed)
    ends = []
    done = threading.Event()

    def finished():
        ends.append(dict(reader.read_paths))
        done.set()

    pool = Pool(
        *(reader, roots(opened, root_count), [0] * root_count, workers, cores),
        slow=slow,
        finished=finished,
    )
    run(pool, done)
    everything = {f"{number}": 1 for number in range(root_count + len(parents))}
    assert ends == [everything]
    assert pool.failure is None
    assert sum(segment.tally.files for segment in pool.segments.values()) == len(everything)
    assert pool.progress.files == len(everything)
    assert pool.progress.waiting == 0


@pytest.mark.case("P22")
@settings(max_examples=50, deadline=None)
@given(
    parents=st.lists(st.integers(0, 1000), min_size=5, max_size=100),
    workers=st.integers(1, 8),
    bad=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_a_reader_that_raises_fails_the_scan_and_ends_it(opened, parents, workers, bad, seed):
    class Failing(ScriptedReader):
        def read(self, work, worker):
            if any(item.path == f"{bad}" for item in work):
                raise ZeroDivisionError("a bug")
            return super().read(work, worker)

    reader = Failing(trees(parents, 1), seed)
    done = threading.Event()
    pool = Pool(reader, roots(opened, 1), [0], workers, 1.0, slow=True, finished=done.set)
    run(pool, done)
    # read() of a batch may have taken the bad one in from its own work: then all went well
    assert pool.failure is not None or pool.segments[0].tally.files == len(parents) + 1


def test_shared_work_is_taken_by_another_worker(opened):
    both = threading.Barrier(2, timeout=LIMIT_S)

    class Meeting:
        name = "meeting"

        def read(self, work, worker):
            if work[0].path == "0":
                worker.pool.share([work[0]._replace(path="given")])
            both.wait()  # only two workers at the same time pass
            return Batch()

    done = threading.Event()
    pool = Pool(Meeting(), roots(opened, 1), [0], 2, 1.0, slow=True, finished=done.set)
    run(pool, done, adjust=False)
    assert pool.failure is None


def test_those_who_wait_are_told_to_those_who_work(opened):
    seen = []
    waiting = threading.Event()

    class Looking:
        name = "looking"

        def read(self, work, worker):
            end = time.monotonic() + LIMIT_S
            while worker.pool.wanted[0] < 3 and time.monotonic() < end:
                time.sleep(0.001)
            seen.append(worker.pool.wanted[0])
            waiting.set()
            return Batch()

    done = threading.Event()
    pool = Pool(Looking(), roots(opened, 1), [0], 4, 1.0, slow=True, finished=done.set)
    run(pool, done, adjust=False)
    assert seen == [3]


@pytest.mark.parametrize(("slow", "parts"), [(True, 8), (False, 0)])
def test_slow_storage_wants_a_directory_split_before_workers_run_dry(opened, slow, parts):
    seen = []

    class Listing:
        name = "listing"

        def read(self, work, worker):
            pool = worker.pool
            if work[0].path == "0":
                seen.append(pool.wanted[1])
                pool.share([work[0]._replace(path="waits")] * 20)
                seen.append(pool.wanted[1])  # enough waits
            return Batch()

    done = threading.Event()
    pool = Pool(Listing(), roots(opened, 1), [0], 8, 1.0, slow=slow, finished=done.set)
    run(pool, done, adjust=False)
    assert seen == [parts, 0]


def test_a_worker_goes_on_with_work_of_its_root_until_there_is_none(opened):
    taken = []

    class Asking:
        name = "asking"

        def read(self, work, worker):
            pool, root = worker.pool, work[0].root
            if not taken:
                own = [work[0]._replace(path=f"own {n}") for n in range(3)]
                pool.share([*own, work[0]._replace(root=others, path="other's"), *own])
                while more := pool.more(root):
                    taken.append([one.path for one in more])
            else:
                taken.append([one.path for one in work])
            return Batch()

    first, others = roots(opened, 2)
    done = threading.Event()
    pool = Pool(Asking(), [first, others], [0, 0], 1, 1.0, slow=True, finished=done.set)
    pool._stack.pop()  # the other root's own
    run(pool, done, adjust=False)
    own = ["own 0", "own 1", "own 2"]
    # What the other root has lies below that: this root is handed in first.
    assert taken[:2] == [own, ["other's"]]
    assert sorted(path for some in taken[2:] for path in some) == own


def test_no_more_workers_are_active_than_asked_for(opened):
    active = Counter()
    most = []
    lock = threading.Lock()

    class Counting(ScriptedReader):
        def read(self, work, worker):
            with lock:
                active["now"] += 1
                most.append(active["now"])
            try:
                time.sleep(0.0005)
                return super().read(work, worker)
            finally:
                with lock:
                    active["now"] -= 1

    done = threading.Event()
    reader = Counting(trees(range(300), 1), 1)
    pool = Pool(reader, roots(opened, 1), [0], 5, 1.0, slow=True, finished=done.set)
    run(pool, done)
    assert max(most) <= 5


def test_workers_that_only_wait_become_as_many_as_allowed(opened):
    arrived = []

    class Waiting:
        name = "waiting"

        def read(self, work, worker):
            batch = Batch()
            if work[0].path == "0":
                batch.left = [work[0]._replace(path="x") for _ in range(64)]
                return batch
            arrived.append(work.pop())
            batch.left = work
            end = time.monotonic() + LIMIT_S / 2
            while len(arrived) < 8 and time.monotonic() < end:
                time.sleep(0.002)  # as storage does: many short waits, hardly any work
            return batch

    done = threading.Event()
    pool = Pool(Waiting(), roots(opened, 1), [0], 8, 1.0, slow=False, finished=done.set)
    began = time.monotonic()
    run(pool, done)
    assert time.monotonic() - began < LIMIT_S / 2, "one by one, not all at the same time"
    assert pool.most_active == 8


def test_workers_that_a_busy_processor_keeps_waiting_become_no_more_than_four_a_core(
    opened, monkeypatch
):
    # What the kernel says of threads that are ready to run and do not get to: not in storage.
    monkeypatch.setattr("jwqlscan.scanning.pool.in_storage", lambda threads: 0.0)
    done = threading.Event()
    end = time.monotonic() + LIMIT_S / 2

    class Waiting(ScriptedReader):
        def read(self, work, worker):
            while pool.usual_workers != 8 and time.monotonic() < end:
                time.sleep(0.002)
            return super().read(work, worker)

    reader = Waiting(trees(range(150), 1), 1)
    pool = Pool(reader, roots(opened, 1), [0], 64, 2.0, slow=True, finished=done.set)
    run(pool, done)
    assert pool.most_active == 64, "all are tried where the first directory took long to open"
    assert pool.usual_workers == 8


# ---- hard links ----


class LinkReader:
    """Every root has some names of inode 5, which has four in all."""

    name = "links"

    def __init__(self, names):
        self._names = names

    def read(self, work, worker):
        batch = Batch()
        batch.links = [Link(1, 5, 4, 512)] * self._names[work[0].root.number]
        return batch


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((4,), {0b1: 512}),
        ((2,), {0b1: 512}),  # the others are elsewhere
        ((2, 2), {0b11: 512}),
        ((1, 0, 1), {0b101: 512}),
        ((0, 1, 3), {0b110: 512}),
        ((0,), {}),
    ],
)
def test_an_inode_counts_once_for_all_the_roots_its_names_are_in(opened, names, expected):
    done = threading.Event()
    pool = Pool(
        *(LinkReader(names), roots(opened, len(names)), [0] * len(names), 2, 1.0),
        slow=True,
        finished=done.set,
    )
    run(pool, done)
    assert pool.shared_link_bytes() == expected


@given(st.permutations([0] * 3 + [1] * 2 + [2]))
def test_the_order_of_names_does_not_matter(opened, order):
    pool = Pool(
        *(LinkReader(()), roots(opened, 3), [0] * 3, 1, 1.0), slow=True, finished=lambda: None
    )
    for root in order:
        pool._add_link(root, Link(1, 5, len(order), 4096))
    assert pool.shared_link_bytes() == {0b111: 4096}
    assert not pool._links, "an inode whose names were all seen is forgotten"


def test_a_system_that_has_no_more_threads_leaves_those_that_there_are(opened, monkeypatch):
    start, started = threading.Thread.start, []

    def start_a_few(thread):
        if len(started) == 4:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_a_few)
    done = threading.Event()
    reader = ScriptedReader(trees(range(100), 1), 1)
    pool = Pool(reader, roots(opened, 1), [0], 16, 16.0, slow=True, finished=done.set)
    run(pool, done)
    assert sum(reader.read_paths.values()) == 101
    assert pool.most_active == 4


def test_workers_that_are_done_before_another_fails_to_start_end_the_scan(opened, monkeypatch):
    start = threading.Thread.start

    def start_one(thread):
        if threads:
            threads[0].join(LIMIT_S)  # all is read
            raise RuntimeError("can't start new thread")
        threads.append(thread)
        start(thread)

    threads: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", start_one)
    done = threading.Event()
    reader = ScriptedReader(trees(range(10), 1), 1)
    pool = Pool(reader, roots(opened, 1), [0], 2, 16.0, slow=True, finished=done.set)
    run(pool, done, adjust=False)
    assert sum(reader.read_paths.values()) == 11


def test_a_system_without_any_thread_is_an_error(opened, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    reader = ScriptedReader({}, 1)
    pool = Pool(reader, roots(opened, 1), [0], 2, 1.0, slow=True, finished=lambda: None)
    with pytest.raises(RuntimeError):
        pool.start()

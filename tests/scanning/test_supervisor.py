"""The parent's end of the pipe: answers of a scanning process, as they come."""

import json
import os

import anyio

from jwqlscan.scanning.supervisor import Supervisor

RESULT = {"result": {"path": "/a\n\udcff", "numbers": list(range(5000))}}


class Pipe:
    """What a supervisor needs of its process, to be written to by the test."""

    def __init__(self):
        self.answers, self.end = os.pipe()

    def write(self, data):
        os.write(self.end, data)

    def close(self):
        os.close(self.answers)
        os.close(self.end)


def line(answer):
    return json.dumps(answer).encode() + b"\n"


async def cut_short(supervisor):
    """Wait for an answer that is not there, for a moment."""
    with anyio.move_on_after(0.01):
        return await supervisor.answer()
    return "none yet"


async def test_a_result_in_pieces_is_taken_whole_though_waiting_for_it_was_cut_short():
    pipe = Pipe()
    supervisor = Supervisor(pipe)
    try:
        data = line(RESULT)
        for start in range(0, len(data) - 1, 3000):
            pipe.write(data[start : min(start + 3000, len(data) - 1)])
            assert await cut_short(supervisor) == "none yet"
        pipe.write(data[-1:])
        assert await supervisor.answer() == RESULT
    finally:
        pipe.close()


async def test_answers_that_come_together_are_taken_one_by_one():
    pipe = Pipe()
    supervisor = Supervisor(pipe)
    try:
        answers = [*({"progress": [number]} for number in range(3)), RESULT]
        pipe.write(b"".join(map(line, answers)))
        assert [await supervisor.answer() for _ in answers] == answers
    finally:
        pipe.close()


async def test_a_process_that_ends_within_its_result_gave_none():
    pipe = Pipe()
    supervisor = Supervisor(pipe)
    try:
        pipe.write(line(RESULT)[:-1])
        os.close(pipe.end)
        assert await supervisor.answer() is None
    finally:
        os.close(pipe.answers)

"""Names and numbers of users and groups, from a name service that may not answer.

Notes
-----
getpwuid(3) may ask a server (LDAP, SSSD, NIS), wait for some seconds per name, or for ever, and
does not return when a signal arrives. Each question is therefore asked in a thread that can be left
behind, several at a time, and one time limit holds for all of them: after it numbers are shown.
"""

from __future__ import annotations

import grp
import math
import os
import pwd
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TypeVar

from jwqlscan.errors import ConfigError
from jwqlscan.text import escape_controls

# All questions of a command together wait this long: a resolver's usual timeout is 5 s.
LIMIT_S = 8.0
# A process that asks nothing for this long starts with the whole limit again.
RENEW_S = 60.0
MAX_THREADS = 8

# What HOME is set to for a user without an entry in the user database: the directory that Debian
# gives to accounts that have none.
NO_HOME = "/nonexistent"

Key = TypeVar("Key", int, str)
Answer = TypeVar("Answer")


class _Service:
    """Asks the name service, and waits for all answers together no longer than `LIMIT_S`."""

    def __init__(self) -> None:
        self._left_s = LIMIT_S
        self._asked_at = -math.inf

    def ask(
        self, function: Callable[[Key], Answer], keys: Iterable[Key]
    ) -> dict[Key, Answer | None]:
        """Return what a function answers for each key: None if it is not known.

        Keys without an answer in time are left out.
        """
        waiting = deque(keys)
        unanswered = len(waiting)
        results: SimpleQueue[tuple[Key, Answer | None]] = SimpleQueue()

        def work() -> None:
            while waiting:
                try:
                    key = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                try:
                    answer = function(key)
                except (KeyError, OverflowError):  # of another host, or removed
                    results.put((key, None))
                else:
                    results.put((key, answer))

        answers: dict[Key, Answer | None] = {}
        started = time.monotonic()
        if started - self._asked_at > RENEW_S:
            self._left_s = LIMIT_S
        deadline = started + self._left_s
        if self._left_s > 0 and _start_threads(work, min(MAX_THREADS, unanswered)):
            try:
                while len(answers) < unanswered:
                    key, answer = results.get(timeout=max(0.0, deadline - time.monotonic()))
                    answers[key] = answer
            except Empty:
                waiting.clear()  # what is not asked yet is not asked at all
        self._asked_at = time.monotonic()
        self._left_s = max(0.0, deadline - self._asked_at)
        return answers


def _start_threads(work: Callable[[], None], number: int) -> int:
    """Start at most `number` threads that nobody waits for, and return how many could be."""
    for started in range(number):
        try:
            threading.Thread(target=work, name="accounts", daemon=True).start()
        except RuntimeError:  # the limit of the user's processes
            return started
    return number


_service = _Service()
_user_names: dict[int, str] = {}
_group_names: dict[int, str] = {}
_group_ids: dict[str, int] = {}


def user_names(uids: Iterable[int]) -> dict[int, str]:
    """Return the name of each user; the number as text where it has none, or none is known."""
    return _names(uids, _user_names, lambda uid: pwd.getpwuid(uid).pw_name)


def group_names(gids: Iterable[int]) -> dict[int, str]:
    """Return the name of each group; the number as text where it has none, or none is known."""
    return _names(gids, _group_names, lambda gid: grp.getgrgid(gid).gr_name)


def user_name(uid: int) -> str:
    """Return a user's name, or the number as text."""
    return user_names((uid,))[uid]


def _names(
    numbers: Iterable[int], known: dict[int, str], function: Callable[[int], str]
) -> dict[int, str]:
    wanted = set(numbers)
    if missing := wanted - known.keys():
        for number, name in _service.ask(function, sorted(missing)).items():
            # Safe to print; a backslash stays one: a domain's users are called DOMAIN\user.
            known[number] = str(number) if name is None else escape_controls(name)
    return {number: known.get(number, str(number)) for number in wanted}


def group_id(name: str) -> int | None:
    """Return a group's number; None if there is no such group.

    Raises
    ------
    ConfigError
        If the name service does not answer.
    """
    if name not in _group_ids:
        number = _answer(lambda key: grp.getgrnam(key).gr_gid, name)
        if number is None:
            return None
        _group_ids[name] = number
    return _group_ids[name]


def own_entry() -> pwd.struct_passwd | None:
    """Return the entry of this process's user in the user database; None if there is none.

    Raises
    ------
    ConfigError
        If the name service does not answer.
    """
    return _answer(pwd.getpwuid, os.geteuid())


def _answer(function: Callable[[Key], Answer], key: Key) -> Answer | None:
    answers = _service.ask(function, (key,))
    if key not in answers:
        raise ConfigError(
            f"the name service gave no answer within {LIMIT_S:g} s: see nsswitch.conf(5), and"
            " whether its server (LDAP, SSSD) can be reached"
        )
    return answers[key]


def complete_environment() -> None:
    """Set HOME, and LOGNAME where no user is named, as libraries rely on them.

    Without HOME they ask for the user's entry themselves: without a time limit, and without
    expecting that there is none.
    """
    has_user = any(os.environ.get(key) for key in ("LOGNAME", "USER", "LNAME", "USERNAME"))
    if os.environ.get("HOME") and has_user:
        return
    try:
        entry = own_entry()
    except ConfigError:
        entry = None
    if not os.environ.get("HOME"):
        os.environ["HOME"] = (entry and entry.pw_dir) or NO_HOME
    if not has_user:
        os.environ["LOGNAME"] = entry.pw_name if entry else str(os.geteuid())

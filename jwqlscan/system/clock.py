"""The system clock: whether it can be right, and which dates it makes dates in the future."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from jwqlscan.errors import ClockError
from jwqlscan.units import counted, format_minute, format_time

# This version was released later: a clock that reads an earlier date was never set.
EARLIEST_CLOCK = datetime(2026, 1, 1, tzinfo=UTC)

# Clocks of hosts that run NTP differ by less; a run dated this far ahead is not yet in the future.
TOLERANCE = timedelta(minutes=10)

# The last date a store can hold.
LATEST = datetime(9999, 1, 1, tzinfo=UTC)

_MAX_LISTED = 3


def check_clock(now: datetime) -> None:
    """Refuse to date anything by a clock that was never set.

    Raises
    ------
    ClockError
    """
    if now < EARLIEST_CLOCK:
        raise ClockError(
            f"the system clock reads {format_time(now)}, before this version was released:"
            " set it or enable NTP, then run again"
        )


def latest_date(now: datetime | None = None) -> datetime:
    """Return the latest date that is not in the future.

    Parameters
    ----------
    now : datetime, optional
        Aware; default: what the system clock reads.
    """
    return min(now or datetime.now(UTC), LATEST - TOLERANCE) + TOLERANCE


def future_warning(dates: Sequence[datetime]) -> str:
    """Return one line about stored runs that are dated in the future; "" without any.

    Parameters
    ----------
    dates : sequence of datetime
        Newest first.
    """
    if not dates:
        return ""
    listed = ", ".join(format_minute(date) for date in dates[:_MAX_LISTED])
    more = ", ..." if len(dates) > _MAX_LISTED else ""
    verb = "is" if len(dates) == 1 else "are"
    them = "it" if len(dates) == 1 else "them"
    return (
        f"{counted(len(dates), 'run')} {verb} dated in the future ({listed}{more} UTC) and left out"
        f" of every comparison: if this host's clock is right, remove {them} with"
        " `jwqlscan db prune --future`; else set the clock"
    )

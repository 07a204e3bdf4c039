"""What commands print on terminals that are narrow, wide, or none."""

from datetime import timedelta

import pytest
from rich.text import Text

from jwqlscan.operations.bench import Benchmark, Rate
from jwqlscan.operations.views import series, status
from jwqlscan.output.console import PIPE_WIDTH, Listing, Terminal
from jwqlscan.output.tables import print_bench, print_series, print_status
from jwqlscan.store import open_store
from tests.support.snapshots import START, make_area, make_snapshot, make_tally

PATH = "/archive/public/" + "/".join(f"jw{number:05}" for number in range(12))
NUMBERS = ("123,456,789", "+1,234,567", "1,023.99 TiB")


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def sample_table():
    table = Listing("directory", ">files", ">change", ">size", folded=True)
    table.add_row(Text(PATH), *NUMBERS)
    return table


@pytest.mark.parametrize("room", [47, 60, 80, 120, 199, 300])
def test_a_table_fits_its_terminal_and_loses_no_digit(capsys, room):
    Terminal(room).show(sample_table(), expendable=(2,))
    printed = lines(capsys)
    assert max(map(len, printed)) <= room
    there = [number for number in NUMBERS if number in printed[1]]
    assert there == [NUMBERS[0], NUMBERS[2]] if room < 60 else list(NUMBERS)
    rest = "".join(printed[1:])
    for number in there:
        rest = rest.replace(number, "")
    assert rest.replace(" ", "") == PATH


def test_what_can_not_fit_is_printed_whole(capsys):
    Terminal(20).show(sample_table(), expendable=(2,))
    printed = lines(capsys)
    assert printed[0].split() == ["directory", "files", "size"]
    assert PATH in printed[1] and printed[1].endswith("123,456,789  1,023.99 TiB")


def test_in_a_pipe_nothing_is_left_out(capsys):
    terminal = Terminal()
    assert terminal.room == PIPE_WIDTH
    terminal.show(sample_table(), expendable=(1, 2, 3))
    assert lines(capsys)[1] == f"{PATH}  123,456,789  +1,234,567  1,023.99 TiB"


@pytest.mark.parametrize("room", [60, 80, 100, 132])
async def test_status_and_history_fit_a_common_terminal(tmp_path, capsys, room):
    url = f"sqlite:///{tmp_path}/s.db"
    async with open_store(url) as store:
        for day, files in enumerate((123_456_789, 234_567_890)):
            tally = make_tally(files, apparent_bytes=files * 2**24)
            area = make_area(tally=tally, state="complete" if day else "stalled")
            await store.record(make_snapshot(day, area, make_area("central", "all")))
    print_status(await status(url, 5, START + timedelta(days=3)), Terminal(room))
    printed = lines(capsys)
    assert max(map(len, printed)) <= room
    assert "234,567,890" in printed[1] and "3.50 PiB" in printed[1]
    print_series(await series(url), Terminal(room))
    printed = lines(capsys)
    assert max(map(len, printed)) <= room
    assert len(printed) == 3 and "234,567,890" in printed[2]


@pytest.mark.parametrize("room", [40, 60, 80])
def test_rates_fit_a_narrow_terminal(capsys, room):
    rate = Rate("scandir", 64, 1_234_567.0, 1_000_000.0, 1_300_000.0)
    print_bench(Benchmark(1_000, 3, (rate,), rate), Terminal(room))
    printed = lines(capsys)
    assert max(map(len, printed[:2])) <= room
    assert "1,234,567" in printed[1]

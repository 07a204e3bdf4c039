"""Time the report: rendered from a made-up history, then opened in a headless Chromium.

    python bench/report.py [--years 10] [--runs 5] [--json FILE]

A history of daily runs, 41 filetypes, 5 instruments, 6 areas, 10,000 programs and 30,000
directories. Rendering is measured in this process after an import and a warm-up (a run imports
Bokeh while it scans); the browser is given a fresh page each time. One JSON line with the medians,
and the sizes of what was written.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import bokeh  # noqa: E402

from jwqlscan.model.history import History  # noqa: E402
from jwqlscan.reporting.page import PAGE, render  # noqa: E402
from tests.support.browser import running_browser, visit  # noqa: E402
from tests.support.histories import history_of, insight_of  # noqa: E402

TABS = ("Archive", "Products", "Insight", "Central storage", "Capacity", "Quality")
# The bars: a page of ten years in three seconds, and in eight megabytes.
PROGRAMS = 10_000  # with three directories each
MAX_SECONDS, MAX_BYTES = 3.0, 8_000_000


def opened(browser, page):
    """Return seconds until the first tab is drawn, and those each other tab took."""
    times = {}
    with visit(browser, page, width=1280) as one:
        start = time.perf_counter()
        one.page.reload()
        one.wait_until_drawn()
        times["open"] = time.perf_counter() - start
        for tab in TABS[1:]:
            start = time.perf_counter()
            one.page.get_by_role("tab", name=tab).click()
            one.wait_until_drawn()
            times[tab] = time.perf_counter() - start
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    history = history_of(round(options.years * 365), filetypes=41)
    insight = insight_of(history, PROGRAMS)
    render(History())
    wall, cpu = [], []
    for _ in range(options.runs):
        start, start_cpu = time.perf_counter(), time.process_time()
        files = render(history, insight, host="archive1")
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    with tempfile.TemporaryDirectory() as directory, running_browser() as browser:
        page = Path(directory) / PAGE
        page.write_text(files[PAGE])
        visits = [opened(browser, page) for _ in range(options.runs)]
    result = {
        "work": "report",
        "history_runs": len(history.general.date),
        "series": len(history.products),
        "render_s": round(statistics.median(wall), 2),
        "render_cpu_s": round(statistics.median(cpu), 2),
        "page_bytes": len(files[PAGE].encode()),
        "all_files_bytes": sum(len(text.encode()) for text in files.values()),
        "files": len(files),
        "browser_s": {
            name: round(statistics.median(one[name] for one in visits), 2) for name in visits[0]
        },
        "python": platform.python_version(),
        "bokeh": bokeh.__version__,
    }
    line = json.dumps(result)
    print(line)
    if options.json:
        with options.json.open("a") as file:
            file.write(line + "\n")
    kept = result["render_s"] < MAX_SECONDS and result["page_bytes"] < MAX_BYTES
    print(f"bars (under {MAX_SECONDS:.0f} s, under 8 MB): {'kept' if kept else 'NOT KEPT'}")


if __name__ == "__main__":
    main()

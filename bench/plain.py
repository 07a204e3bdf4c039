"""Count files and sum their sizes in plain Python: what a script would do.

    python bench/plain.py walk|walk_terse|scandir|scandir_rs DIR
    python bench/plain.py stat DIR THREADS

Prints files, bytes and directories as JSON. ``walk`` is os.walk and one os.stat a file, as the
manual has it; ``walk_terse`` is the same with paths put together by hand. ``scandir`` is os.scandir
in one thread, ``scandir_rs`` is the class Count of that package.

``stat`` tells what the interpreter itself allows: names known beforehand, threads that do nothing
but os.stat them in open directories, and the seconds of that alone. No reader in pure Python can
gain more from its workers than this does.
"""

import json
import os
import sys
import threading
import time


def walk(top):
    files = size = directories = 0
    for path, _, names in os.walk(top):
        directories += 1
        for name in names:
            st = os.stat(os.path.join(path, name), follow_symlinks=False)
            if st.st_mode & 0o170000 == 0o100000:
                files += 1
                size += st.st_size
    return files, size, directories


def walk_terse(top):
    files = size = directories = 0
    for path, _, names in os.walk(top):
        directories += 1
        for name in names:
            st = os.stat(f"{path}/{name}", follow_symlinks=False)
            if st.st_mode & 0o170000 == 0o100000:
                files += 1
                size += st.st_size
    return files, size, directories


def scandir(top):
    files = size = directories = 0
    waiting = [top]
    while waiting:
        directories += 1
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return files, size, directories


def scandir_rs(top):
    from scandir_rs import Count

    count = Count(top, skip_hidden=False)
    count.extended(True)
    count.start()
    count.join()
    found = count.as_dict()
    return found["files"], found["size"], found["dirs"]


def stat(top, threads):
    known = []
    for path, _, names in os.walk(top):
        fd = os.open(path, os.O_RDONLY)
        known += [(fd, name) for name in names]

    def work(first):
        for fd, name in known[first::threads]:
            os.stat(name, dir_fd=fd, follow_symlinks=False)

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"files": len(known), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    way, top, *threads = sys.argv[1:]
    if way == "stat":
        print(json.dumps(stat(top, int(threads[0]))))
        sys.exit()
    ways = {"walk": walk, "walk_terse": walk_terse, "scandir": scandir, "scandir_rs": scandir_rs}
    found = ways[way](top)
    print(json.dumps(dict(zip(("files", "apparent_bytes", "directories"), found, strict=True))))

"""Count files and sum their sizes in plain Python: what a script would do.

    python bench/plain.py walk|scandir|scandir_rs DIR

Prints files, bytes and directories as JSON. ``walk`` is os.walk and one os.stat a file,
``scandir`` is os.scandir in one thread, ``scandir_rs`` is the class Count of that package.
"""

import json
import os
import sys


def walk(top):
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


if __name__ == "__main__":
    way, top = sys.argv[1:]
    found = {"walk": walk, "scandir": scandir, "scandir_rs": scandir_rs}[way](top)
    print(json.dumps(dict(zip(("files", "apparent_bytes", "directories"), found, strict=True))))

"""The scan: readers, the pool that drives them, and the processes they run in."""

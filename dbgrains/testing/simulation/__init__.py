"""Whole clusters in virtual time, under faults that one seed decides; for dbgrains itself and for users' grains.

    timeline    processes, each with its own event loop and clock, in one thread and in virtual time
    network     streams between them
    database    the database behind the members' storage, and everything that can be wrong with it
    states      what grains have written into it, and on top of what
    membership  the registry in which members find each other
    simulation  members and clients in all this: the product's own classes
    faults      what may happen, as values that a seed decides
    history     what did happen
    checkers    what must be true of it
    storm       all of it together: run a seed, replay it, cut a failing schedule down, tell the story

`dbgrains.testing.pytest_plugin` is the way to use it in a test suite; `docs/testing.md` shows how.
"""

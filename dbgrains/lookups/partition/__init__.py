"""The partition lookup: each member keeps the directory of its share of the identities, in memory.

Start with `lookup`, which puts the parts together; `directory` is what an owner knows and grants, `claims` how other
members ask it, `placement` what a member tells the new owners when members change.
"""

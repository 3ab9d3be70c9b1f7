"""How fast it is, next to how fast it could be: `python -m benchmarks [NAME...] [--json FILE]`.

One question per file, each named after the question. Next to every figure of ours stands a *floor*: the same work by
the bare parts underneath (a dict and a deque, a gRPC stream, plain redis-py), measured in the same run, in turns with
ours. The neighbours of a machine change its speed from minute to minute; a ratio of two interleaved figures stays.

Start with `runner` (how something is measured), `report` (what is printed), then `local_request`.
"""

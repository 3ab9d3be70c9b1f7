"""Talking to a Redis server: where it is, how commands get there in time, and what its errors mean.

Used by `storage` and `providers.redis`, which know nothing of each other. Start with `opening`, then `client`; `lane`
has the connections, `errors` turns the client library's exceptions into ours, `checks` looks at the server
before anything depends on it, `lookout` finds servers that move.
"""

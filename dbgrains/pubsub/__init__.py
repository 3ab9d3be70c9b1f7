"""Topics are grains: publish to one, and all who subscribed receive it.

Start with `topics` (the extension that a cluster is given), then `topic` (the grain), `fan_out` (from the topic to
the processes of its subscribers) and `delivery` (from there to the subscribers). `publisher` and `producer` are the
other end; `subscriber_store` is what a database must do for durable subscriptions.
"""

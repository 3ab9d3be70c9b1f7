"""Choose one: how the activation of an identity is found, and who may start it.

`db` keeps placement records and leases in a database (`identity_storage` is what it asks of one);
`single_node` is for one process without any.
"""

"""What a member decides, with no I/O: values in, values out.

No module here touches a clock, the network, an event loop or randomness; `now` and random numbers are
arguments. Start with `lease` (may this member still act?) and `identity` (what is a name?).
"""

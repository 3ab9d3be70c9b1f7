"""Who may touch a cluster's keys: the rules of a user for one cluster, and nothing else."""

from __future__ import annotations

from typing import Final

ACL_COMMANDS: Final = (
    "+eval +evalsha +eval_ro +evalsha_ro +hget +hmget +hgetall +hset +hdel +hincrby +exists +type +del +sadd +srem "
    "+scard +srandmember +sscan +time +info +ping +hello +auth +select +wait +asking +cluster|nodes +client|setname "
    "+client|setinfo"
)
"""What storage and provider run, inside scripts and outside."""


def acl_rules(cluster: str) -> str:
    """Rules of a user that may do what `cluster` needs; for ACL SETUSER or an ACL file."""
    return f"~{{dg:{cluster}:* ~dg:{cluster}:cfg resetchannels -@all {ACL_COMMANDS}"


def grant_hint(cluster: str, username: str | None) -> str:
    """The command that grants it, for an error text."""
    return f"ACL SETUSER {username or 'USER'} {acl_rules(cluster)}"

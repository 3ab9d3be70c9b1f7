"""A network of its own for each member: namespaces on one bridge, and rules of the kernel's packet filter in them.

The bridge stands in a namespace too, so nothing is forwarded in the host's own, whatever the rules are there; the host
has one address on it, where Redis, the clients and whoever tests are. Rules are added in a member's namespace and
reach nobody else. All of it is gone when the context ends. It takes root, `ip` and `iptables`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

CHAINS = ("INPUT", "OUTPUT")


class NetworkError(RuntimeError):
    """A command that builds or changes the network failed."""


def what_is_missing() -> str | None:
    """What this machine or user lacks for such a network."""
    if os.geteuid() != 0:
        return "not root"
    missing = [command for command in ("ip", "iptables") if shutil.which(command) is None]
    return f"no {' and no '.join(missing)}" if missing else None


class Network:
    """One namespace per node. Names and addresses hold the process id, so that several runs don't meet."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self._name = f"dg{os.getpid()}"
        self._subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self._hub = f"{self._name}-hub"
        self._nodes = {node: number for number, node in enumerate(nodes, 2)}

    @property
    def host(self) -> str:
        """The address of what isn't in a namespace."""
        return f"{self._subnet}.1"

    def address(self, node: str) -> str:
        return f"{self._subnet}.{self._nodes[node]}"

    def launcher(self, node: str) -> list[str]:
        """What a process is started by to live in the node's network."""
        return ["ip", "netns", "exec", self._space(node)]

    async def drop(self, node: str, *others: str) -> None:
        """Whatever goes between the node and these addresses vanishes, both ways."""
        for other in others:
            await self.rule(node, "INPUT", "-s", other, "-j", "DROP")
            await self.rule(node, "OUTPUT", "-d", other, "-j", "DROP")

    async def split(self, one: Iterable[str], rest: Iterable[str]) -> None:
        """Nothing passes between nodes of two groups; what isn't in a namespace reaches both."""
        others = [self.address(node) for node in rest]
        for node in one:
            await self.drop(node, *others)

    async def rule(self, node: str, chain: str, *words: str) -> None:
        """Append a rule of iptables."""
        await self._run("ip", "netns", "exec", self._space(node), "iptables", "-w", "-A", chain, *words)

    async def hit(self) -> int:
        """How many packets met a rule since it was made."""
        packets = 0
        for node in self._nodes:
            for chain in CHAINS:
                listed = await self._run(
                    "ip", "netns", "exec", self._space(node), "iptables", "-w", "-L", chain, "-n", "-v", "-x"
                )
                packets += sum(int(line.split()[0]) for line in listed.splitlines()[2:])
        return packets

    async def heal(self) -> None:
        """Take all rules away."""
        for node in self._nodes:
            for chain in CHAINS:
                await self._run("ip", "netns", "exec", self._space(node), "iptables", "-w", "-F", chain)

    async def __aenter__(self) -> Self:
        try:
            await self._build()
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._remove()

    async def _build(self) -> None:
        hub, link = self._hub, self._name
        await self._run("ip", "netns", "add", hub)
        await self._run("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
        await self._run("ip", "-n", hub, "link", "set", "bridge", "up")
        await self._run("ip", "link", "add", link, "type", "veth", "peer", "name", "host", "netns", hub)
        await self._run("ip", "-n", hub, "link", "set", "host", "master", "bridge", "up")
        await self._run("ip", "addr", "add", f"{self.host}/24", "dev", link)
        await self._run("ip", "link", "set", link, "up")
        for node in self._nodes:
            space = self._space(node)
            await self._run("ip", "netns", "add", space)
            await self._run(
                "ip", "-n", hub, "link", "add", f"to-{node}", "type", "veth", "peer", "name", "eth0", "netns", space
            )
            await self._run("ip", "-n", hub, "link", "set", f"to-{node}", "master", "bridge", "up")
            await self._run("ip", "-n", space, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
            await self._run("ip", "-n", space, "link", "set", "eth0", "up")
            await self._run("ip", "-n", space, "link", "set", "lo", "up")

    async def _remove(self) -> None:
        with contextlib.suppress(NetworkError):  # it goes with the hub, if that came to be
            await self._run("ip", "link", "del", self._name)
        for space in (*map(self._space, self._nodes), self._hub):
            with contextlib.suppress(NetworkError):
                await self._run("ip", "netns", "del", space)

    def _space(self, node: str) -> str:
        return f"{self._name}-{node}"

    async def _run(self, *words: str) -> str:
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NetworkError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

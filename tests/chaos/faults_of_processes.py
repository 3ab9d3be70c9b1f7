"""What happens inside a member's process: it dies at a bad moment, does not want to end, or lacks something."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from dbgrains import ActorFailedError, Outcome, OverloadedError, RequestError
from dbgrains.testing.member_process import MemberProcess, ProcessFailedError
from tests.chaos.driver import TIMEOUT_S
from tests.chaos.judge import CallLog, failures, longest_s, p99_s, recovery_s
from tests.chaos.member import CLAIMED, SERVANT, STARTING, Allocate, Hold, Usage, now
from tests.chaos.row import Outcome as Seen
from tests.chaos.row import Row
from tests.chaos.world import World
from tests.waiting import until

LEAVING_S = 15.0
"""The longest that a member may take to go."""

AT_ONCE_S = 1.0
"""For a process that ends without further ado, on a machine that has something else to do."""


async def killed_while_starting(world: World, seen: Seen) -> None:
    await _killed_at(world, seen, STARTING, "a")


async def killed_when_granted(world: World, seen: Seen) -> None:
    await _killed_at(world, seen, CLAIMED, "b")


async def _killed_at(world: World, seen: Seen, point: str, node: str) -> None:
    """The node's process dies at `point` of an identity's first activation; one call goes on through it all."""
    identity, dead = f"{node}/{point}", world.id_of(node)
    hit = world.owned_by(node)
    world.hooks.arm(point)
    at = now()
    call = asyncio.create_task(_answer(world, identity))
    code = await world.members[node].wait(20)
    died = now()
    seen.is_so("the process died there", code == -signal.SIGKILL, f"exit code {code}")
    answered_by = await call
    seen.at_most("the identity answers elsewhere", now() - died, world.lease.ttl_s + 1)
    seen.is_so("by another member", answered_by != dead)
    await world.answers(died)
    recovered_s = recovery_s([call for call in world.calls() if call.identity in hit], died)
    seen.at_most("its grains are back (p99)", recovered_s, world.lease.ttl_s + 1)
    others = set(world.identities) - hit
    seen.none_of("failed calls of other members' grains", failures(world.calls(), at, died + recovered_s, others))
    owner = world.record_of(SERVANT, identity)
    seen.is_so("its record names who answered", owner == answered_by, owner)
    await world.restart(node)


async def _answer(world: World, identity: str) -> str:
    """Who answers, errors that say that nothing ran included."""
    deadline = now() + TIMEOUT_S
    while True:
        with contextlib.suppress(RequestError):
            used = await world.client.request(identity, SERVANT, Usage(), timeout=TIMEOUT_S)
            return str(used.member)
        if now() > deadline:
            raise TimeoutError(f"{identity} does not answer")
        await asyncio.sleep(0.05)


async def left_with_endless_turns(world: World, seen: Seen) -> None:
    hit = world.owned_by("b")
    held = [asyncio.create_task(_held(world, "b", deaf=deaf)) for deaf in (False, True)]
    await _turns_run(world, "b", 2)
    at = now()
    world.members["b"].send_signal(signal.SIGTERM)
    code = await world.members["b"].wait(2 * LEAVING_S)
    seen.at_most("gone", now() - at, LEAVING_S)
    seen.is_so("exit code 0", code == 0, str(code))
    told = await asyncio.gather(*held)
    seen.is_so("both callers were told that it may have run", told == [Outcome.MAY_HAVE_RUN] * 2, _names(told))
    await world.answers(at)
    seen.none_of("failed calls to its other grains", failures(world.calls(), at, now(), hit))
    await world.start("b")


async def _held(world: World, node: str, *, deaf: bool) -> Outcome | None:
    try:
        await world.client.request(
            f"{node}/{'deaf' if deaf else 'endless'}",
            SERVANT,
            Hold(str(world.folder / f"{node}-holds-{deaf}"), deaf),
            timeout=60,
        )
    except RequestError as error:
        return error.outcome
    return None


async def _turns_run(world: World, node: str, count: int) -> None:
    """Until so many turns of that node have begun to hold."""
    await until(lambda: len(list(world.folder.glob(f"{node}-holds-*.begun"))) >= count, timeout=30)


def _names(outcomes: list[Outcome | None]) -> str:
    return ", ".join("answered" if one is None else one.value for one in outcomes)


async def signalled_twice(world: World, seen: Seen) -> None:
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        held = asyncio.create_task(_held(world, "c", deaf=True))
        await _turns_run(world, "c", 1)
        process = world.members["c"]
        process.send_signal(signal.SIGTERM)
        await until(lambda process=process: "leaving the cluster" in process.output, timeout=30)  # type: ignore[misc]
        at = now()
        process.send_signal(number)
        found = await process.wait(20)
        seen.at_most(f"gone after a second signal ({number.name})", now() - at, AT_ONCE_S)
        seen.is_so(f"exit code {code}", found == code, str(found))
        seen.is_so("no traceback", "Traceback" not in process.output)
        await held
        for file in world.folder.glob("c-holds-*"):
            file.unlink()
        await world.start("c")
        await world.answers()


async def starved_of_processor(world: World, seen: Seen) -> None:
    """One member at a tenth of the others' share, and a program per processor that takes what it gets."""
    ids = {node: world.id_of(node) for node in world.members}
    mine = {f"c/starved-{number}" for number in range(10)}
    path, log = world.folder / "starved", CallLog()
    async with await world.drive(path.name, sorted(mine)):
        await until(lambda: _read(log, path), timeout=60)
        before = now()
        await world.quiet(STARVED_S / 4)
        at = now()
        for task in Path(f"/proc/{world.members['c'].pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(task.name), 10)
        async with _busy_processors():
            await world.quiet(STARVED_S)
        over = now()
        await world.answers(over)
    _read(log, path)
    seen.is_so("nobody was given up", not world.blocked() & set(ids.values()) and not _gone(world))
    seen.none_of("calls to it that another one answered", [c for c in log.calls if c.ok and c.member != ids["c"]])
    seen.none_of("failed calls to it", failures(log.calls, at, over))
    calm_s, starved_s = p99_s(log.calls, before, at, mine), p99_s(log.calls, at, over, mine)
    seen.saw("p99 of calls to it before", f"{calm_s * 1000:.1f} ms")
    seen.at_most("p99 of calls to it, times that", starved_s / calm_s, 10, "")
    await _replaced(world, "c")


STARVED_S = 60.0


@asynccontextmanager
async def _busy_processors() -> AsyncIterator[None]:
    spinning = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
        await asyncio.gather(*(process.wait() for process in spinning))


def _gone(world: World) -> list[str]:
    return [node for node, process in world.members.items() if process.exit_code is not None]


async def _replaced(world: World, node: str) -> None:
    """What was done to its process can't be undone: let it leave, and start another."""
    world.members[node].send_signal(signal.SIGTERM)
    await world.restart(node)
    await world.answers()


async def out_of_memory(world: World, seen: Seen) -> None:
    process = world.members["d"]
    before = world.id_of("d")
    at = now()
    used_bytes = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    with _limited(process, resource.RLIMIT_AS, used_bytes + SPARE_BYTES):
        try:
            answer = await world.client.request("d/greedy", SERVANT, Allocate(4 * SPARE_BYTES // 2**20), timeout=20)
        except ActorFailedError as error:
            said = error.type_name
        else:
            said = str(answer)
        seen.is_so("its caller gets the MemoryError", said == "MemoryError", said)
        again = await world.client.request("d/greedy", SERVANT, Usage(), timeout=20)
        seen.is_so("the grain answers, and its member lives", again.member == before)
    await world.answers(at)
    pulses = world.of_kind("p")
    seen.none_of("failed calls of other grains", failures(world.calls(), at, now(), pulses))
    seen.at_most("longest call of those", longest_s(world.calls(), at, now(), pulses), 1.0)


SPARE_BYTES = 512 * 2**20


async def out_of_descriptors(world: World, seen: Seen) -> None:
    process = world.members["e"]
    mine = world.owned_by("e") & world.of_kind("p")
    before = world.id_of("e")
    at = now()
    taken = {int(file.name) for file in Path(f"/proc/{process.pid}/fd").iterdir()}
    lowest_free = next(number for number in range(len(taken) + 1) if number not in taken)
    log = CallLog()
    async with AsyncExitStack() as stack:
        with _limited(process, resource.RLIMIT_NOFILE, lowest_free):
            await stack.enter_async_context(await world.drive("newcomer", ["e/usage"]))
            await world.quiet(5)
            log.read([world.folder / "newcomer"])
            early = [call for call in log.calls if call.ok]
            seen.none_of("calls of a new client that got to it", early)
            await world.answers(now())
        released = now()
        await until(lambda: _read(log, world.folder / "newcomer"), timeout=60)
    seen.at_most("they do when there are descriptors again", next(c for c in log.calls if c.ok).ended - released, 5)
    seen.none_of("failed calls of who was connected", failures(world.calls(), at, now(), mine))
    seen.is_so("the member lives", process.exit_code is None and world.id_of("e") == before)


def _read(log: CallLog, path: Path) -> bool:
    """Whether a call was answered."""
    log.read([path])
    return any(call.ok for call in log.calls)


@contextmanager
def _limited(process: MemberProcess, what: int, limit: int) -> Iterator[None]:
    """While the context lasts."""
    before = resource.prlimit(process.pid, what)
    resource.prlimit(process.pid, what, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, what, before)


async def stormed(world: World, seen: Seen) -> None:
    before = await world.usage("a")
    at = now()
    file = world.folder / "a-holds-storm"
    holding = asyncio.create_task(world.client.request("a/busy", SERVANT, Hold(str(file)), timeout=60))
    await _turns_run(world, "a", 1)
    calls = [asyncio.create_task(world.client.request("a/busy", SERVANT, Usage(), timeout=30)) for _ in range(STORM)]
    await until(lambda: sum(call.done() for call in calls) >= STORM - MAILBOX, timeout=30)
    used = await world.usage("a")
    file.touch()
    await holding
    ended = await asyncio.gather(*calls, return_exceptions=True)
    counts = Counter(type(one).__name__ if isinstance(one, BaseException) else "answered" for one in ended)
    overloaded = [one for one in ended if isinstance(one, OverloadedError) and one.outcome is Outcome.NOT_STARTED]
    seen.is_so(f"answered of {STORM:,}", counts["answered"] == MAILBOX, f"{counts['answered']:,}")
    seen.is_so("refused at once, and not started", len(overloaded) == STORM - MAILBOX, f"{dict(counts)}")
    seen.at_most("memory more meanwhile", (used.kib - before.kib) / 1024, 200, "MiB")
    pulses = world.of_kind("p")
    seen.none_of("failed calls of other grains", failures(world.calls(), at, now(), pulses))


STORM = 10_000
MAILBOX = 1_000


async def copied(world: World, seen: Seen) -> None:
    """A process with the identity of a living one, as from a copied image or state folder."""
    at = now()
    arguments = [*world.arguments("a"), "--ulid", world.id_of("a").partition(".")[2]]
    said = "it joined"
    try:
        async with await MemberProcess.start("tests.chaos.member", *arguments, ready_timeout_s=60):
            pass
    except ProcessFailedError as error:
        said = str(error)
    seen.is_so("refused with exit code 78", "ended with 78" in said, said[said.find(") ended") :][:60])
    seen.is_so("and the reason", world.id_of("a") in said and "DUP" in said, said[-200:])
    await world.answers(now())
    seen.is_so("the first one goes on", world.members["a"].exit_code is None)
    seen.none_of("failed calls", failures(world.calls(), at, now(), world.of_kind("p")))


ROWS = [
    Row("2", "a member is killed while it starts a grain", "redis", killed_while_starting),
    Row("3", "a member is killed between a grant and its use", "redis", killed_when_granted),
    Row("5", "a member leaves (SIGTERM) with turns that never end", "redis", left_with_endless_turns),
    Row("6", "a second signal while a member leaves", "redis", signalled_twice),
    Row("13", f"a member gets little of the processor for {STARVED_S:g} s", "redis", starved_of_processor),
    Row("14", "a turn wants more memory than there is", "redis", out_of_memory),
    Row("15", "a member has no file descriptor left", "redis", out_of_descriptors),
    Row("16", f"{STORM:,} calls at once to one grain", "redis", stormed),
    Row("56", "a process with the identity of another one", "redis", copied),
]

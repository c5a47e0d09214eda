"""From a name to a connection: lookups are shared, and a dead address doesn't hide a living one."""

import asyncio
import gc
import socket

import pytest

from shipper.destination.dial import STAGGER_SECONDS, _alternating, reach
from shipper.destination.faults import fault
from shipper.destination.resolve import CACHE_SECONDS, CachingResolver, SocketAddress
from tests.daemon.processes import until
from tests.destination.servers import full_backlog, unused_port
from tests.laps import laps


class Names:
    """A name service on a switch, which counts its questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = asyncio.Event()
        self.known = True

    async def __call__(self, host: str, port: int) -> list[SocketAddress]:
        """Answer once the switch is on."""
        assert host == "api.example"
        self.asked += 1
        await self.open.wait()
        if not self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, ("192.0.2.1", port))]


async def test_many_lookups_are_one_question() -> None:
    """Who asks for the same name at the same time shares the answer, and so does who comes next."""
    names = Names()
    resolver = CachingResolver(names)
    lookups = [asyncio.create_task(resolver.resolve("api.example", 443)) for _ in range(64)]
    names.open.set()
    assert {(await lookup)[0][1] for lookup in lookups} == {("192.0.2.1", 443)}
    await resolver.resolve("api.example", 443)
    assert names.asked == 1
    await resolver.close()


async def test_a_failed_lookup_is_asked_again() -> None:
    """Only what was found is kept."""
    names = Names()
    names.open.set()
    names.known = False
    resolver = CachingResolver(names)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("api.example", 443)
    names.known = True
    assert await resolver.resolve("api.example", 443)
    await resolver.close()


async def test_an_answer_is_kept_for_a_while_and_no_longer() -> None:
    """Up to the limit the name isn't asked for again; after it, and after a failure, it is."""
    now = 1000.0
    names = Names()
    names.open.set()
    resolver = CachingResolver(names, clock=lambda: now)
    await resolver.resolve("api.example", 443)
    now += CACHE_SECONDS - 1
    await resolver.resolve("api.example", 443)
    assert names.asked == 1
    now += 1
    await resolver.resolve("api.example", 443)
    assert names.asked == 2
    resolver.forget()
    await resolver.resolve("api.example", 443)
    assert names.asked == 3
    await resolver.close()


async def test_who_gives_up_takes_the_lookup_from_nobody() -> None:
    """A hung name service gets one question, however many tries come and go."""
    names = Names()
    resolver = CachingResolver(names)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolver.resolve("api.example", 443), 0.02)
        resolver.forget()
    waiting = asyncio.create_task(resolver.resolve("api.example", 443))
    names.open.set()
    assert await asyncio.wait_for(waiting, 5)
    assert names.asked == 1
    await resolver.close()


async def test_closing_ends_a_lookup_with_an_error() -> None:
    """And not with a cancellation, which would look like its caller's."""
    resolver = CachingResolver(Names())
    waiting = asyncio.create_task(resolver.resolve("api.example", 443))
    await asyncio.wait_for(_begun(resolver), 5)
    await resolver.close()
    with pytest.raises(OSError, match="closed"):
        await asyncio.wait_for(waiting, 5)


async def _begun(resolver: CachingResolver) -> None:
    await until(lambda: resolver._lookups)


def test_families_take_turns() -> None:
    """RFC 8305, 4: a broken IPv6 costs one wait, not one for each of its addresses."""
    six: list[SocketAddress] = [(socket.AF_INET6, (f"2001:db8::{n}", 443, 0, 0)) for n in range(3)]
    four: list[SocketAddress] = [(socket.AF_INET, ("192.0.2.1", 443))]
    assert list(_alternating([*six, *four])) == [six[0], four[0], six[1], six[2]]
    assert list(_alternating([*four, *six])) == [four[0], *six]


def _local(port: int) -> SocketAddress:
    return socket.AF_INET, ("127.0.0.1", port)


async def test_the_address_behind_a_dead_one_is_reached() -> None:
    """And at once, because the first said no."""
    with unused_port() as dead, socket.create_server(("127.0.0.1", 0)) as listener:
        alive = listener.getsockname()[1]
        clock = asyncio.get_running_loop().time
        begun = clock()
        with await reach([_local(dead), _local(dead), _local(alive)]) as reached:
            assert reached.getpeername()[1] == alive
        assert clock() - begun < STAGGER_SECONDS


async def test_the_address_behind_a_silent_one_is_reached() -> None:
    """After the head start, because the first may still answer; its socket is closed."""
    with full_backlog() as silent, socket.create_server(("127.0.0.1", 0)) as listener:
        alive = listener.getsockname()[1]
        with await asyncio.wait_for(reach([_local(silent), _local(alive)]), 5) as reached:
            assert reached.getpeername()[1] == alive


async def test_the_first_one_to_answer_is_taken() -> None:
    """Also when it is an earlier one than the last that was tried."""
    with socket.socket() as listener, socket.socket() as filler, unused_port() as dead:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        slow = listener.getsockname()[1]
        filler.connect(listener.getsockname())
        reaching = asyncio.create_task(reach([_local(slow), _local(dead)]))
        await asyncio.wait([reaching], timeout=2 * STAGGER_SECONDS)
        assert not reaching.done()
        listener.accept()[0].close()
        with await asyncio.wait_for(reaching, 10) as reached:
            assert reached.getpeername()[1] == slow


async def test_who_gives_up_leaves_no_socket_behind() -> None:
    """At whatever moment: an unclosed socket is a warning, and a warning fails this test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for moment in range(12):
            reaching = asyncio.create_task(reach([_local(listener.getsockname()[1])]))
            await laps(moment)
            reaching.cancel()
            (reached,) = await asyncio.gather(reaching, return_exceptions=True)
            if isinstance(reached, socket.socket):
                reached.close()
    gc.collect()


async def test_no_address_at_all_is_named_by_what_is_known() -> None:
    """Of one dead address its own error is raised, of several one that holds them all."""
    with unused_port() as dead:
        for addresses in ([_local(dead)], [_local(dead), _local(dead)]):
            with pytest.raises(OSError, match=r"Connect call failed|no address answers") as caught:
                await reach(addresses)
            assert fault(caught.value, begun=False, proxied=False).kind == "refused"

"""Run work in a thread that doesn't keep the process from ending.

A stop never waits for a long query of the database: unlike an executor's thread, each thread here
ends with the process. It must never be used for data that has to be written completely.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Start `work` in a new thread; return a future for its result or exception.

    Cancelling the future ends the wait, but not the work.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - every exception belongs to the caller
            answer(future.set_exception, error)
        else:
            answer(future.set_result, result)

    def answer(give: Callable[[Any], None], value: object) -> None:
        def deliver() -> None:
            if not future.done():
                give(value)

        with suppress(RuntimeError):  # the loop is closed: no caller waits any more
            loop.call_soon_threadsafe(deliver)

    Thread(target=run, name=name, daemon=True).start()
    return future

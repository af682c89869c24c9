"""How much the server takes on: one queue in front of the model, with a length, a time limit and a way out.

The model's calls are synchronous, so they run on worker threads: one, unless the model is remote. A call that
nobody waits for any more (client gone, time over, server stopping) is dropped where it has not begun and told
to stop where it has; work that yields piece by piece stops at its next piece.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypedDict, TypeVar

from steelyard.contracts import ModelCard
from steelyard.errors import CapabilityError, EndpointError, InputError, UsageError
from steelyard.serving.protocol import ApiError

log = logging.getLogger("steelyard.serving")

T = TypeVar("T")

REMOTE_CONCURRENCY = 8
DEFAULT_MAX_REQUEST_BYTES = 1_000_000
DEFAULT_MAX_WAITING = 64
DEFAULT_TIMEOUT = 300.0


class Limits(TypedDict, total=False):
    """The limits that :func:`~steelyard.serving.app.create_app` and ``serve`` take as keywords."""

    max_request_bytes: int
    max_concurrent: int | None
    max_waiting: int
    timeout: float


def concurrency_for(card: ModelCard) -> int:
    """How many calls a model takes at once: one where its weights are in this process, several when remote."""
    return 1 if card.verified else REMOTE_CONCURRENCY


class ClientGone(Exception):
    """The client closed its connection; there is nobody to answer."""


class ModelQueue:
    """Runs model calls on worker threads, at most ``max_concurrent`` at once and ``max_waiting`` behind them."""

    def __init__(self, *, max_concurrent: int, max_waiting: int, timeout: float) -> None:
        self._room = max_concurrent + max_waiting
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(max_concurrent, thread_name_prefix="steelyard-model")
        self._lock = threading.Lock()
        self._taken: dict[Future[Any], threading.Event] = {}
        self._closing = False

    def _submit(self, work: Callable[[threading.Event], T]) -> Future[T]:
        cancelled = threading.Event()
        with self._lock:
            if self._closing:
                raise ApiError(503, "the server is stopping", code="stopping")
            if len(self._taken) >= self._room:
                message = f"{len(self._taken)} requests are already waiting or running; try again later"
                raise ApiError(429, message, code="queue_full")
            future = self._threads.submit(_translating_errors, work, cancelled)
            self._taken[future] = cancelled
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[T]) -> None:
        with self._lock:
            self._taken.pop(future, None)

    def _abandon(self, future: Future[T]) -> None:
        future.cancel()
        with self._lock:
            cancelled = self._taken.get(future)
        if cancelled is not None:
            cancelled.set()

    async def run(self, work: Callable[[threading.Event], T], gone: Callable[[], Awaitable[None]]) -> T:
        """The result of ``work(cancelled)`` on a worker thread.

        Raises :class:`ApiError` (429 when the queue is full, 503 when time is over) and :class:`ClientGone`
        when ``gone()`` completes first.
        """
        future = self._submit(work)
        waiter = asyncio.wrap_future(future)
        watch = asyncio.ensure_future(gone())
        try:
            either: set[asyncio.Future[Any]] = {waiter, watch}
            await asyncio.wait(either, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if waiter.done():
                return waiter.result()
            raise ClientGone if watch.done() else self._over()
        finally:
            watch.cancel()
            waiter.cancel()
            self._abandon(future)

    async def stream(
        self, produce: Callable[[threading.Event], Iterator[T]], gone: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[T]:
        """The items of ``produce(cancelled)`` as they appear; errors as in :meth:`run`."""
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[T] = asyncio.Queue()

        def work(cancelled: threading.Event) -> None:
            for item in produce(cancelled):
                if cancelled.is_set():
                    return
                loop.call_soon_threadsafe(items.put_nowait, item)

        future = self._submit(work)
        waiter = asyncio.wrap_future(future)
        watch = asyncio.ensure_future(gone())
        deadline = loop.time() + self._timeout
        item = asyncio.ensure_future(items.get())
        try:
            while True:
                left = max(0.0, deadline - loop.time())
                any_of: set[asyncio.Future[Any]] = {item, waiter, watch}
                await asyncio.wait(any_of, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if item.done():
                    yield item.result()
                    item = asyncio.ensure_future(items.get())
                elif waiter.done():
                    # Every item was handed over before the future was: what is left lies in the queue.
                    while not items.empty():
                        yield items.get_nowait()
                    waiter.result()
                    return
                else:
                    raise ClientGone if watch.done() else self._over()
        finally:
            item.cancel()
            watch.cancel()
            waiter.cancel()
            self._abandon(future)

    def _over(self) -> ApiError:
        message = (
            f"no answer within {self._timeout:g} seconds; ask for fewer tokens or raise the server's time limit"
        )
        return ApiError(503, message, code="timeout")

    def close(self) -> None:
        """Refuse new work, drop what waits and tell what runs to stop; returns at once."""
        with self._lock:
            self._closing = True
            events = list(self._taken.values())
        for cancelled in events:
            cancelled.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _translating_errors(work: Callable[[threading.Event], T], cancelled: threading.Event) -> T:
    """Run ``work``; what a user can mend becomes a 400, the rest is logged here and told without internals."""
    try:
        return work(cancelled)
    except ApiError:
        raise
    except CapabilityError as error:
        raise ApiError(400, str(error), code="unsupported_capability") from error
    except (UsageError, InputError) as error:
        raise ApiError(400, str(error), code="invalid_value") from error
    except EndpointError as error:
        log.error("the remote model failed: %s", error)
        raise ApiError(502, "the remote model behind this server did not answer", code="upstream_error") from error
    except Exception as error:
        log.exception("the model failed on a request")
        raise ApiError(500, "the model failed on this request; the server's log says why") from error

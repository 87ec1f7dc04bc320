"""An engine that follows its bundle: a new one is taken into use while calls go on, and none is lost.

A thread looks at the folder now and then. Where it was replaced, or a person's pins and blocks were edited, the new
engine is opened and warmed up beside the old one, and then put in its place at once. Calls under way end on the old
engine, whose files stay mapped until the last of them is done. A bundle that cannot be used leaves the old one serving.

Calls of an event loop are answered by threads of a small pool, so that the loop goes on meanwhile. A forked process has
threads of its own from its first call on.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, Self

from dialogue.turn import Turn
from rewrite.bundle import MANIFEST, Bundle
from rewrite.call import Asked, arguments
from rewrite.decision import Action, Decision, Reason
from rewrite.engine import EngineConfig, RewriteEngine
from rewrite.errors import BundleError
from rewrite.overrides import FILE as OVERRIDES

_LOG = logging.getLogger(__name__)

#: Requests that a new engine answers before it serves, so that no user waits for what only the first call has to do.
WARM_UP = ("play some music", "turn on the light in the kitchen", "what is the weather like tomorrow")
#: A bundle that cannot be used is tried again after this many seconds at the latest.
LONGEST_WAIT_S = 60.0

#: What tells one state of a folder or file from another, None where there is none.
Mark = tuple[int, ...] | None


class ReloadingEngine:
    """The calls of a RewriteEngine, answered from whatever bundle is at `path`.

    `warm_up` are requests, best some of the assistant's own. `workers` threads answer the calls of event loops; while
    `max_waiting` of them are not answered yet, a further one passes unchanged, with Reason.DEADLINE.

    `reloads` counts the engines that took the place of another, and `last_error` says why what is at `path` now does
    not serve; None: it does. Raises BundleError where there is no usable bundle to begin with.

    >>> with ReloadingEngine("bundle") as engine:  # doctest: +SKIP
    ...     engine.rewrite("play maj and dragons").text
    'play imagine dragons'
    """

    def __init__(
        self,
        path: str | Path,
        config: EngineConfig | None = None,
        *,
        check_every_s: float = 1.0,
        verify: bool | None = None,
        warm_up: Iterable[str] = WARM_UP,
        workers: int = 1,
        max_waiting: int = 32,
    ) -> None:
        if not check_every_s > 0 or workers < 1 or max_waiting < 1:
            raise ValueError(f"{check_every_s=} above 0, {workers=} and {max_waiting=} of 1 or more are wanted")
        self.path, self.config, self.check_every_s = Path(path), config, check_every_s
        self.workers, self.max_waiting = workers, max_waiting
        self.reloads = 0
        self.last_error: str | None = None
        self._verify, self._warm_up = verify, tuple(warm_up)
        self._closed = False
        self._old: list[weakref.ref[RewriteEngine]] = []
        self._in_this_process()
        self._seen = self._tried = self._marks()
        self._engine = self._opened(verify)
        _ALL.add(self)
        self._watch()

    def _in_this_process(self) -> None:
        """What a fork has to have of its own: threads, and locks that no thread of its parent holds."""
        self._watching = False
        self._stop = threading.Event()
        self._loading, self._starting = threading.Lock(), threading.Lock()
        self._failures, self._retry = 0, 0.0
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = 0

    @property
    def engine(self) -> RewriteEngine:
        """The engine that answers now. Whoever holds it keeps its bundle, whatever is at `path` by then."""
        return self._engine

    @property
    def bundle(self) -> Bundle:
        """The bundle that answers now."""
        return self._engine.bundle

    # Calls

    def rewrite(
        self,
        text: str,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        deadline_s: float | None = None,
        **more: Any,
    ) -> Decision:
        """`RewriteEngine.rewrite` by the latest bundle; `more` is whatever else that takes.

        `deadline_s` is that of this one call, in place of the configured one; 0 or less: what the tables know only.
        """
        if not self._watching:
            self._watch()
        return self._engine.rewrite(text, user_id, context, deadline_s=deadline_s, **more)

    def rewrite_batch(
        self, texts: Iterable[str], user_ids: Iterable[str | None] | None = None, **more: Any
    ) -> list[Decision]:
        """`RewriteEngine.rewrite_batch`: one bundle answers all of it."""
        if not self._watching:
            self._watch()
        return self._engine.rewrite_batch(texts, user_ids, **more)

    def pipe(self, requests: Iterable[Asked]) -> Iterator[Decision]:
        """`rewrite` of a stream, as `RewriteEngine.pipe` takes it, each by what is the latest bundle then."""
        for each in requests:
            yield self.rewrite(**arguments(each))

    def observe(self, turn: Turn | Mapping[str, Any]) -> None:
        """`RewriteEngine.observe`: what is kept of it outlives the bundle."""
        self._engine.observe(turn)

    async def rewrite_async(
        self,
        text: str,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        deadline_s: float | None = None,
        **more: Any,
    ) -> Decision:
        """`rewrite` without holding up the event loop. The time that a call waits for a thread is part of its deadline.

        A call that is cancelled before its turn costs nothing; one that is cancelled later is worked out for nobody.
        """
        if self._closed or not isinstance(text, str):
            return self.rewrite(text, user_id, context, deadline_s=deadline_s, **more)
        answer = self._submit(perf_counter(), text, user_id, context, deadline_s, more)
        if answer is None:
            return Decision(Action.PASS, text, text, Reason.DEADLINE, evidence={"waiting": self._waiting})
        return await asyncio.wrap_future(answer)

    async def pipe_async(self, requests: Iterable[Asked] | AsyncIterable[Asked]) -> AsyncIterator[Decision]:
        """`rewrite_async` of a stream, as `pipe` takes it, one after the other."""
        if isinstance(requests, AsyncIterable):
            async for each in requests:
                yield await self.rewrite_async(**arguments(each))
        else:
            for each in requests:
                yield await self.rewrite_async(**arguments(each))

    def _submit(self, *call: Any) -> Future[Decision] | None:
        """A call handed to the pool, or None where too many wait."""
        with self._starting:
            if self._waiting >= self.max_waiting or self._closed:
                return None
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.workers, "rewrite")
            answer = self._pool.submit(self._waited, *call)
            self._waiting += 1
        answer.add_done_callback(self._done)  # of those that are cancelled as well
        return answer

    def _waited(
        self,
        begun: float,
        text: str,
        user_id: str | None,
        context: Mapping[str, Any] | None,
        deadline_s: float | None,
        more: Mapping[str, Any],
    ) -> Decision:
        limit = self._engine.config.deadline_s if deadline_s is None else deadline_s
        return self.rewrite(text, user_id, context, deadline_s=limit - (perf_counter() - begun), **more)

    def _done(self, answer: Future[Decision]) -> None:
        with self._starting:
            self._waiting -= 1

    def close(self) -> None:
        """Ends the threads once they are done. Calls are still answered, by the bundle that was the latest."""
        with self._starting:
            self._closed = self._watching = True  # nothing is left to be started
            self._stop.set()
            if self._pool is not None:
                self._pool.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    # The bundle on disk

    def check(self) -> bool:
        """Looks at the folder now instead of waiting for the thread; whether another engine was taken into use."""
        with self._loading:
            marks = self._marks()
            if marks != self._seen or self._failures:
                return self._replaced(marks)
            self._tidy()
            return False

    def _marks(self) -> tuple[Mark, Mark, Mark]:
        """Of the folder, the manifest and the overrides. The folder's own times change with every edit in it."""
        folder = _mark(self.path)
        return folder and folder[:2], _mark(self.path / MANIFEST), _mark(self.path / OVERRIDES)

    def _replaced(self, marks: tuple[Mark, Mark, Mark]) -> bool:
        same_bundle = marks[:2] == self._seen[:2] and not self._failures
        self._tried = marks
        try:
            engine = self._opened(False if same_bundle else self._verify)
        except Exception as error:
            self._failed(f"{type(error).__name__}: {error}")
            return False
        _hand_over(self._engine, engine)
        self._old.append(weakref.ref(self._engine))
        self._engine = engine
        self._seen, self._failures, self.last_error = marks, 0, None
        self.reloads += 1
        what = "other pins and blocks" if same_bundle else f"the bundle of {engine.bundle.manifest.created}"
        _LOG.info("%s: %s came into use", self.path, what)
        return True

    def _opened(self, verify: bool | None) -> RewriteEngine:
        """The bundle at `path`, ready to serve. Raises BundleError."""
        engine = RewriteEngine.load(self.path, config=self.config, verify=verify)
        for text in self._warm_up:
            if (decision := engine.rewrite(text)).reason is Reason.FAULT:
                raise BundleError(f"{self.path} cannot answer {text!r}: {decision.evidence.get('fault')}")
        return engine

    def _failed(self, why: str) -> None:
        if why != self.last_error:
            _LOG.warning("%s cannot be used, the bundle before it goes on serving: %s", self.path, why)
        self.last_error = why
        self._failures += 1
        self._retry = monotonic() + min(self.check_every_s * 2 ** min(self._failures - 1, 10), LONGEST_WAIT_S)

    def _tidy(self) -> None:
        """Old engines go by themselves after their last call; one that is part of a cycle is collected, once."""
        if self._old:
            if any(each() is not None for each in self._old):
                gc.collect()
            _give_back()
            self._old.clear()
        self.last_error = None

    # The thread

    def _watch(self) -> None:
        with self._starting:
            if not self._watching:
                self._watching = True
                arguments = (weakref.ref(self), self._stop, self.check_every_s)
                threading.Thread(target=_follow, args=arguments, name="rewrite-reloading", daemon=True).start()

    def _look(self) -> None:
        if not self._failures or monotonic() >= self._retry or self._marks() != self._tried:
            self.check()


#: Those that a forked process has inherited.
_ALL: weakref.WeakSet[ReloadingEngine] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_ALL):
        each._in_this_process()
        each._watching = each._closed


os.register_at_fork(after_in_child=_forked)


def _give_back() -> None:
    """Has the C library hand freed memory back, where it can: models leave holes as large as they are, one a reload."""
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _follow(following: weakref.ref[ReloadingEngine], stop: threading.Event, every_s: float) -> None:
    """The thread: until the engine is closed, or nobody holds it any more."""
    while not stop.wait(every_s):
        engine = following()
        if engine is None:
            return
        try:
            engine._look()
        except Exception:  # a thread that ends would go unnoticed, and the bundle would grow old
            _LOG.exception("%s could not be looked at", engine.path)
        del engine


def _mark(path: Path) -> Mark:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _hand_over(old: RewriteEngine, new: RewriteEngine) -> None:
    """The live history goes on with its open connections, which each thread would have to make anew."""
    if old.live is None or new.live is None:
        return
    if (old.live.path, old.canonical) == (new.live.path, new.canonical):
        new.live = old.live

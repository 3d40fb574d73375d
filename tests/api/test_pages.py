"""Clients that catch up share what is read for them and leave the event loop to those who follow."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from api.pages import AT_ONCE, PAGE_BYTES, Page, Pages
from benchmarks.talk import Crowd
from eventlog.base import LogRecord, NewRecord
from eventlog.inmemory import InMemoryLog
from schemas.errors import LogUnavailable, OffsetGone
from schemas.topics import SHOWN_TOPICS


class CountingLog(InMemoryLog):
    """A log that knows how often a session was read, and may be out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.away = False

    def read_key(self, key: str, topics: Sequence[str], cursor: str, limit: int) -> list[LogRecord]:
        self.reads += 1
        if self.away:
            raise LogUnavailable("away")
        return super().read_key(key, topics, cursor, limit)


def talked(captions: int, sessions: int = 1) -> tuple[CountingLog, Crowd]:
    log, crowd = CountingLog(), Crowd("p", sessions, time.time() - 3600)
    log.append([crowd.opened(place) for place in range(sessions)])
    log.append(list(crowd.captions(0, captions * sessions)))
    return log, crowd


async def followed(pages: Pages, session: str, cursor: str, *, behind: bool = True) -> list[Page]:
    found = []
    while (page := await pages.after(session, cursor, behind=behind)) is not None:
        found.append(page)
        cursor, behind = page.cursor, page.full
    return found


def test_pages_hold_every_record_once_and_in_order_from_any_place() -> None:
    log, crowd = talked(900)
    lying = log.read_key(crowd.session(0), SHOWN_TOPICS, log.cursor_start(), 10_000)

    async def run() -> None:
        pages = Pages(log, 200)
        for start in (-1, 0, 17, 450, 899, 900):
            cursor = log.cursor_start() if start < 0 else lying[start].cursor
            for behind in (True, False):
                found = await followed(pages, crowd.session(0), cursor, behind=behind)
                cursors = [piece.cursor for page in found for piece in page.pieces]
                assert cursors == [one.cursor for one in lying[start + 1 :]]
                assert all(len(page.whole) < 2 * PAGE_BYTES for page in found)
                assert b"".join(page.whole for page in found).count(b"\r\n\r\n") == len(cursors)

    asyncio.run(run())


def test_clients_that_catch_up_at_the_same_place_share_one_read() -> None:
    log, crowd = talked(900)

    async def run() -> None:
        pages = Pages(log, 200)
        alone = await followed(pages, crowd.session(0), log.cursor_start())
        pages.forget()
        log.reads = 0
        many = await asyncio.gather(*(followed(pages, crowd.session(0), log.cursor_start()) for _ in range(50)))
        assert all(found == alone for found in many)
        # A client at the end finds that nothing more is there; that is nobody else's page.
        assert log.reads <= len(alone) + 50

    asyncio.run(run())


def test_a_client_that_follows_is_served_between_any_two_pages_of_those_that_catch_up() -> None:
    log, crowd = talked(600, sessions=2)

    async def run() -> None:
        pages, given = Pages(log, 200), 0

        async def catch_up() -> None:
            nonlocal given
            cursor = log.cursor_start()
            while (page := await pages.after(crowd.session(0), cursor, behind=True)) is not None:
                cursor, given = page.cursor, given + 1

        busy = [asyncio.ensure_future(catch_up()) for _ in range(40)]
        cursor, live, most, number = log.cursor_now(crowd.session(1)), 0, 0, 600
        while not all(task.done() for task in busy):
            before = given
            log.append([crowd.caption(1, number)])
            page = await pages.after(crowd.session(1), cursor, behind=False)
            assert page is not None
            assert len(page.pieces) == 1
            assert given == before, "it did not have to wait"
            cursor, number, live = page.cursor, number + 1, live + 1
            await asyncio.sleep(0)
            most = max(most, given - before)
        assert given >= 160
        assert most <= 1
        assert live >= given

    asyncio.run(run())


def test_a_long_page_is_made_a_few_records_at_a_time() -> None:
    log, crowd = talked(AT_ONCE * 3)

    async def run() -> None:
        pages, turns = Pages(log, 200), 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        reading = asyncio.ensure_future(pages.after(crowd.session(0), log.cursor_start(), behind=True))
        counting = asyncio.ensure_future(others())
        page = await reading
        counting.cancel()
        assert page is not None
        assert len(page.pieces) > AT_ONCE
        assert turns > len(page.pieces) / AT_ONCE

    asyncio.run(run())


def test_who_hangs_up_takes_no_page_from_the_others_and_an_error_reaches_all() -> None:
    log, crowd = talked(300)

    async def run() -> None:
        pages = Pages(log, 200)
        first = asyncio.ensure_future(pages.after(crowd.session(0), log.cursor_start(), behind=True))
        second = asyncio.ensure_future(pages.after(crowd.session(0), log.cursor_start(), behind=True))
        while not pages._making:
            await asyncio.sleep(0)
        first.cancel()
        assert (await second) is not None
        log.away = True
        for behind in (True, False):
            with pytest.raises(LogUnavailable):
                await pages.after(crowd.session(0), "7", behind=behind)
        log.away = False
        with pytest.raises(OffsetGone):
            await pages.after(crowd.session(0), "999999999", behind=True)

    asyncio.run(run())


def test_pages_are_kept_within_their_bound_and_not_at_all_once_forgotten() -> None:
    log, crowd = talked(600, sessions=4)
    log.append([NewRecord("captions", crowd.session(0), "bad", b"{}", time.time())])

    async def run() -> None:
        pages = Pages(log, 50, most_bytes=100_000)
        for place in range(4):
            await followed(pages, crowd.session(place), log.cursor_start())
            assert 0 < pages._held <= 100_000
        assert (await pages.after(crowd.session(0), "0", behind=True)) is not None
        pages.forget()
        assert not pages._known
        assert pages._held == 0

    asyncio.run(run())

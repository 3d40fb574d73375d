"""What streams send, a page at a time: made once for all clients at the same place, and never at others' cost."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.shown import Shown, ShownRecords
from eventlog.base import EventLog, LogRecord
from schemas.topics import SHOWN_TOPICS

__all__ = ["Page", "Pages", "Piece"]

PAGE_BYTES = 64 * 1024
"""A page ends with the record that reaches this: as much as the server holds for a client that is slow to read."""
AT_ONCE = 32
"""Records read and made in one go; reading and making so many takes about as long as one request."""
TURN_S = 0.002
"""All clients that catch up together get one turn of the event loop in so much time, and everybody else the rest."""
READS = 2
"""Pages of clients that catch up read at the same time; the other threads are left to everybody else."""
MOST_BYTES = 8_000_000
COST = 300


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of a page: when its first record was made and in which trace, where to go on, and its bytes."""

    at_s: float
    trace: str
    cursor: str
    shown: Shown
    event: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What comes after a cursor, the same for everybody and for ever.

    Attributes:
        pieces: The events; none when no record of the page can be read.
        whole: Their bytes, one after the other.
        cursor: Where to go on.
        full: Whether more was there when it was made.
    """

    pieces: tuple[Piece, ...]
    whole: bytes
    cursor: str
    full: bool


class Pages:
    """The pages of all sessions; used in the event loop only.

    A client that has seen everything is served at once. One that catches up waits for its turn, reads in a thread
    and shares what it read, so that a thousand of them are slower themselves and slow down nobody else.
    """

    def __init__(self, log: EventLog, most_records: int, most_bytes: int = MOST_BYTES) -> None:
        """Make pages of up to `most_records` records of `log`; keep about `most_bytes` of them."""
        self._log, self._most_records, self._most = log, most_records, most_bytes
        self._shown = ShownRecords()
        self._known: OrderedDict[tuple[str, str], Page] = OrderedDict()
        self._held = 0
        self._making: dict[tuple[str, str], asyncio.Task[Page | None]] = {}
        self._turn = asyncio.Lock()
        self._reads = asyncio.Semaphore(READS)

    async def after(self, session_id: str, cursor: str, *, behind: bool) -> Page | None:
        """Give the page after a cursor, None when nothing is there.

        Args:
            session_id: Whose records.
            cursor: After which.
            behind: Whether more than a few records are to be expected, so that the client has to wait its turn.

        Raises:
            OffsetGone: The cursor is of no use any more.
            LogError: The log cannot be read.
        """
        key = session_id, cursor
        if not behind:
            return self._at_hand(key) or self._now(key)
        page = self._at_hand(key) or await self._shared(key)
        # Those who waited for the same page must not all send it at once.
        await self.next_turn()
        return page

    async def apart(self, session_id: str, cursor: str) -> Page | None:
        """Give a page in which every record is an event of its own, as a replay at a pace needs it; see `after`."""
        return await self._made((session_id, cursor), joined=False)

    async def any_after(self, session_id: str, cursor: str) -> bool:
        """Say whether a session has records after a cursor; see `after`."""
        return bool(await asyncio.to_thread(self._log.read_key, session_id, SHOWN_TOPICS, cursor, 1))

    def forget(self) -> None:
        """Forget everything, as when a session is erased."""
        self._shown.forget()
        self._known.clear()
        self._held = 0

    def _at_hand(self, key: tuple[str, str]) -> Page | None:
        page = self._known.get(key)
        if page is not None:
            self._known.move_to_end(key)
        return page

    def _now(self, key: tuple[str, str]) -> Page | None:
        lying = self._log.read_key(key[0], SHOWN_TOPICS, key[1], AT_ONCE)
        if not lying:
            return None
        making = _Making(lying, AT_ONCE)
        making.add(self._shown, AT_ONCE)
        return self._keep(key, making.page())

    async def _shared(self, key: tuple[str, str]) -> Page | None:
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.ensure_future(self._made(key))
            making.add_done_callback(lambda done: self._end(key, done))
        # Whoever asked first may hang up while others wait.
        return await asyncio.shield(making)

    def _end(self, key: tuple[str, str], done: "asyncio.Task[Page | None]") -> None:
        del self._making[key]
        if not done.cancelled():
            done.exception()  # told to those who wait; there may be none left

    async def _made(self, key: tuple[str, str], *, joined: bool = True) -> Page | None:
        async with self._reads:
            lying = await asyncio.to_thread(self._log.read_key, key[0], SHOWN_TOPICS, key[1], self._most_records)
        if not lying:
            return None
        making = _Making(lying, self._most_records, joined=joined)
        while making.add(self._shown, AT_ONCE):
            await self.next_turn()
        page = making.page()
        if self._log.erased(key[0]):
            self._shown.forget()  # what was taken in after the erasure was told of
            return page
        return self._keep(key, page) if joined else page

    async def next_turn(self) -> None:
        """Wait until it is the caller's turn; whatever takes long and can wait asks for one."""
        async with self._turn:
            await asyncio.sleep(TURN_S)

    def _keep(self, key: tuple[str, str], page: Page) -> Page:
        if key not in self._known:
            self._known[key] = page
            self._held += COST + len(page.whole)
            while self._held > self._most:
                self._held -= COST + len(self._known.popitem(last=False)[1].whole)
        return page


class _Making:
    """A page in the making, some records at a time."""

    def __init__(self, lying: Sequence[LogRecord], limit: int, *, joined: bool = True) -> None:
        self._lying, self._full, self._joined = iter(lying), len(lying) >= limit, joined
        self._cursor = ""
        self._bytes = 0
        self._found: list[tuple[LogRecord, str, Shown, list[str]]] = []

    def add(self, known: ShownRecords, records: int) -> bool:
        """Take in so many records; gives whether any are left for the page."""
        for _ in range(records):
            lying = next(self._lying, None)
            if lying is None:
                return False
            self._take(lying, known.of(lying))
            if self._bytes >= PAGE_BYTES:
                self._full = True
                return False
        return True

    def _take(self, lying: LogRecord, shown: Shown | None) -> None:
        self._cursor = lying.cursor
        if shown is None:
            return
        before = self._found[-1] if self._found else None
        if self._joined and before is not None and shown.type == "answer_delta" and shown.continues(before[2]):
            # Pieces of one answer that lie side by side are sent as one.
            before[3].append(shown.text)
            self._found[-1] = before[0], lying.cursor, before[2], before[3]
        else:
            self._found.append((lying, lying.cursor, shown, [shown.text]))
        self._bytes += len(shown.data)

    def page(self) -> Page:
        """Give the page."""
        pieces = tuple(self._pieces())
        return Page(pieces, b"".join(piece.event for piece in pieces), self._cursor, self._full)

    def _pieces(self) -> Iterator[Piece]:
        for lying, cursor, shown, texts in self._found:
            yield Piece(lying.at_s, lying.trace, cursor, shown, shown.event(cursor, "".join(texts)))

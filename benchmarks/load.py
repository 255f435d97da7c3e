"""How the app holds when many people use it at once, and how soon its first answer stands on the screen.

    python -m benchmarks.load [--sessions 50] [--seconds 120] [--pause 8] [--all-own] [--no-browser]

Each session speaks to the running app as a browser does: a WebSocket of its own, Streamlit's messages, a page's
address, a click that changes a select box. It opens Choose, waits for the script to end, pauses as a person who reads,
and goes on to the next page, through all thirteen. A pause is drawn anew each time, exponentially about `--pause`
seconds: with 8 of them, fifty sessions that are answered at once come to six interactions a second. The first page of a
session, with its connection, is told apart from the others and counted once. The sessions share ten cards and two
contexts, as people do who keep to the common ones; `--all-own` gives each a card and a context nobody else has, which
nothing kept from before can answer. The cards are of sizes nobody sells, and every page a session is sent is read for
the cards of others: a mixed-up state would show there. What a browser itself takes to draw is not in these times; the
cold start is measured in a real one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import urlencode

import psutil
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tools.running_app import RunningApp, open_browser, start_app

FIRST_CONTEXT, CONTEXT_STEP = 5_003, 37
"""Contexts nobody else would ask for: no default of the app, no power of two."""

CONTEXTS = (8192, 32768)
N_SHARED_CARDS = 10
FIRST_GIB, GIB_STEP = 23.03, 0.07
"""Sizes of cards nobody sells."""

PAGES = (
    *("", "size", "hardware", "compare", "licenses", "evaluate", "cost", "finetune", "catalog"),
    *("imports", "guide", "accuracy", "sources"),
)
CACHE_TYPES = ("q8_0", "f16", "q4_0")
FIRST_ANSWER_S = 60.0
MAX_MESSAGE_BYTES = 64 * 2**20


@dataclass(slots=True)
class Told:
    """What all sessions saw: seconds by kind of interaction, and what went wrong, in words."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    n_shown_own: int = 0

    def note(self, kind: str, seconds: float) -> None:
        """One interaction that ended."""
        self.seconds.setdefault(kind, []).append(seconds)


@dataclass(slots=True)
class Run:
    """One run of the script as a session receives it: its texts, its select boxes by label, and its errors."""

    texts: list[str] = field(default_factory=list)
    boxes: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


class Session:
    """One person's tab. `number` sets its card, its context and the order of its pages."""

    def __init__(self, url: str, number: int, told: Told, all_own: bool) -> None:
        self.address = url.replace("http://", "ws://") + "/_stcore/stream"
        self.card = name_card(number if all_own else number % N_SHARED_CARDS)
        shared = CONTEXTS[number // N_SHARED_CARDS % len(CONTEXTS)]
        context = FIRST_CONTEXT + CONTEXT_STEP * number if all_own else shared
        self.query = urlencode({"machine": f"{self.card} at 936 GB/s", "context": context})
        self.told, self.number = told, number
        self.page_hashes: dict[str, str] = {}
        self.chance = random.Random(number)

    async def use(self, until: float, pause_s: float, others: re.Pattern[str]) -> None:
        """Click through the pages until the clock says stop."""
        try:
            async with websockets.connect(self.address, max_size=MAX_MESSAGE_BYTES, open_timeout=30) as socket:
                await asyncio.sleep(self.chance.uniform(0, pause_s))
                first = 1 + self.number % (len(PAGES) - 1)  # not the page that is open already
                pages = cycle(PAGES[first:] + PAGES[:first])
                await self.visit(socket, "", others, "first page")
                while time.monotonic() < until:
                    await asyncio.sleep(self.chance.expovariate(1 / pause_s))
                    await self.step(socket, next(pages), pause_s, others)
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            self.told.problems.append(f"session {self.number}: {type(error).__name__}: {error}")

    async def step(
        self, socket: websockets.ClientConnection, page: str, pause_s: float, others: re.Pattern[str]
    ) -> None:
        """One page, and on Size a change of the cache's type after it."""
        seen = await self.visit(socket, page, others, "page")
        if page == "size" and "K cache" in seen.boxes:
            await asyncio.sleep(self.chance.expovariate(1 / pause_s))
            await self.visit(
                socket, page, others, "select box", {seen.boxes["K cache"]: self.chance.choice(CACHE_TYPES)}
            )

    async def visit(
        self,
        socket: websockets.ClientConnection,
        page: str,
        others: re.Pattern[str],
        kind: str,
        boxes: dict[str, str] | None = None,
    ) -> Run:
        """Ask for a page as its address says, or with select boxes changed, and read all that comes of it."""
        asked = BackMsg()
        asked.rerun_script.query_string = self.query
        asked.rerun_script.page_script_hash = self.page_hashes.get(page, "")
        asked.rerun_script.page_name = page
        for key, value in (boxes or {}).items():
            state = asked.rerun_script.widget_states.widgets.add()
            state.id, state.string_value = key, value
        begun = time.perf_counter()
        await socket.send(asked.SerializeToString())
        seen = Run()
        async with asyncio.timeout(FIRST_ANSWER_S):
            while not self.read(ForwardMsg.FromString(await _receive(socket)), seen):
                pass
        self.told.note(kind, time.perf_counter() - begun)
        self.judge(seen, page, others)
        return seen

    def read(self, message: ForwardMsg, seen: Run) -> bool:
        """Take one message in; whether the script ended with it."""
        kind = message.WhichOneof("type")
        if kind == "navigation":
            self.page_hashes.update({p.url_pathname: p.page_script_hash for p in message.navigation.app_pages})
            self.page_hashes[""] = next(p.page_script_hash for p in message.navigation.app_pages if p.is_default)
        if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            part = element.WhichOneof("type")
            if part == "exception":
                seen.errors.append(f"{element.exception.type}: {element.exception.message[:200]}")
            elif part == "selectbox":
                seen.boxes[element.selectbox.label] = element.selectbox.id
            elif part in ("markdown", "html"):
                seen.texts.append(element.markdown.body if part == "markdown" else element.html.body)
        return kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN

    def judge(self, seen: Run, page: str, others: re.Pattern[str]) -> None:
        """Note errors, cards of other sessions, and whether the session's own stood there."""
        self.told.problems += [f"session {self.number} on {page or 'choose'}: {error}" for error in seen.errors]
        found = {" ".join(card.split()) for card in others.findall(" ".join(seen.texts))}
        self.told.n_shown_own += self.card in found
        strange = found - {self.card}
        if strange:
            self.told.problems.append(
                f"session {self.number} on {page or 'choose'} was shown {sorted(strange)} of others"
            )


async def _receive(socket: websockets.ClientConnection) -> bytes:
    data = await socket.recv()
    return data.encode() if isinstance(data, str) else data


def name_card(number: int) -> str:
    """The card of a session, as the app writes it."""
    return f"{FIRST_GIB + GIB_STEP * number:.2f} GiB card"


def match_cards(n_sessions: int) -> re.Pattern[str]:
    """What finds any session's card in a text, with whatever space stands before its unit."""
    return re.compile(r"(?<![\d.])(?:" + "|".join(name_card(i).replace(" ", r"\s") for i in range(n_sessions)) + ")")


async def use_all(url: str, args: argparse.Namespace, watch: Callable[[], None]) -> Told:
    """All sessions at once, while memory is watched every second."""
    told, others, until = Told(), match_cards(args.sessions), time.monotonic() + args.seconds
    sessions = [Session(url, i, told, args.all_own).use(until, args.pause, others) for i in range(args.sessions)]
    whole = asyncio.ensure_future(asyncio.gather(*sessions))
    while not whole.done():
        watch()
        await asyncio.wait({whole}, timeout=1.0)
    await whole
    return told


def find_server(app: RunningApp) -> psutil.Process:
    """The process that listens on the app's port. Raises RuntimeError where it cannot be found."""
    port = int(app.url.rsplit(":", 1)[1])
    for process in psutil.Process().children(recursive=True):
        if any(c.laddr and c.laddr.port == port and c.status == "LISTEN" for c in process.net_connections("tcp")):
            return process
    raise RuntimeError(f"no child of this process listens on port {port}")


@dataclass(slots=True)
class Watch:
    """The app's process and those it started, looked at now and then."""

    server: psutil.Process
    mib: list[float] = field(default_factory=list)
    children_mib: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Note what memory they hold now."""
        self.mib.append(self.server.memory_info().rss / 2**20)
        self.children_mib.append(sum(_rss_mib(child) for child in self.server.children(recursive=True)))

    def read_cpu_s(self) -> float:
        """Seconds that the app's own process has computed so far."""
        times = self.server.cpu_times()
        return float(times.user + times.system)


def _rss_mib(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def measure_cold_start() -> tuple[float, float]:
    """Seconds from the start command to a healthy app, and on to the first answer drawn in a real browser."""
    with open_browser() as browser:
        begun = time.perf_counter()
        with start_app() as app:
            healthy_s = time.perf_counter() - begun
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(app.url)
            page.wait_for_selector(".wb-answer", timeout=60_000)
            return healthy_s, time.perf_counter() - begun


def print_told(told: Told, n_sessions: int, seconds: float, watch: Watch, cpu_s: float) -> None:
    """The figures, a line each."""
    everything = sorted(s for times in told.seconds.values() for s in times)
    print(f"{n_sessions} sessions for {seconds:.0f} s: {len(everything):,} interactions")
    for kind, times in told.seconds.items():
        ordered = sorted(times)
        high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        print(f"  {kind}: median {statistics.median(ordered):.2f} s, 95 of 100 within {high:.2f} s, {len(ordered):,}")
    if everything:
        print(f"  all: median {statistics.median(everything):.2f} s; {cpu_s / len(everything):.3f} s of CPU each")
    mib, beside = watch.mib, watch.children_mib
    print(f"  memory of the app: {mib[0]:,.0f} MiB before, {max(mib):,.0f} at most, {mib[-1]:,.0f} at the end")
    print(f"  memory of what it started: {max(beside):,.0f} MiB at most, {beside[-1]:,.0f} at the end")
    print(f"  pages that named the session's own card: {told.n_shown_own:,}; problems: {len(told.problems)}")
    for problem in told.problems[:20]:
        print(f"    {problem}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load; 1 where a session saw an error, another's card, or the app printed a traceback."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--pause", type=float, default=8.0, help="seconds a person reads, in the mean")
    parser.add_argument("--all-own", action="store_true", help="a card and a context of its own for each session")
    parser.add_argument("--no-browser", action="store_true", help="leave the cold start out")
    args = parser.parse_args(arguments)
    if not args.no_browser:
        healthy_s, drawn_s = measure_cold_start()
        print(f"cold start: healthy after {healthy_s:.1f} s, first answer drawn after {drawn_s:.1f} s")
    with start_app() as app:
        watch = Watch(find_server(app))
        before_s = watch.read_cpu_s()
        told = asyncio.run(use_all(app.url, args, watch.look))
        cpu_s, tracebacks = watch.read_cpu_s() - before_s, app.read_tracebacks()
    print_told(told, args.sessions, args.seconds, watch, cpu_s)
    if tracebacks:
        print(f"the app printed:\n{tracebacks[:4000]}", file=sys.stderr)
    return 1 if told.problems or tracebacks else 0


if __name__ == "__main__":
    sys.exit(main())

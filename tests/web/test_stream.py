"""Tests of what is shown while it happens: viewers that read at their own pace."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET, Request

from integralgit.background import Background
from integralgit.journal.events import (
    ConfigRead,
    DeployChanged,
    OutboxChanged,
    RepositoryChanged,
    State,
    StepChanged,
    StepState,
)
from integralgit.journal.hub import Hub
from integralgit.journal.logs import CHUNK, Logs
from integralgit.web.stream import (
    HEARTBEAT,
    TICK,
    Changes,
    LogEvents,
    LogText,
    Streaming,
    Ticker,
    event,
)
from tests.fakes import FakeRequest

DEPLOY, REPO = 7, "github.com/acme/site"
BEAT = b": heartbeat\n\n"


def events(body: bytes) -> list[tuple[str, Any, int | None]]:
    """Name, data and id of every event of a stream; fails for anything that is none."""
    found = []
    for block in body.decode("utf-8").split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        number = fields.pop("id", None)
        name, data = fields.pop("event"), json.loads(fields.pop("data"))
        if fields:
            raise AssertionError(f"odd fields {fields}")
        found.append((name, data, None if number is None else int(number)))
    return found


class Watching(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.hub, self.background = Clock(), Hub(), Background()
        self.ticker = Ticker(self.clock)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.logs = Logs(self.folder)
        self.request = FakeRequest()
        #: The deploy's JSON, as far as a viewer looks at it.
        self.deploy: dict[str, Any] = {"state": "running", "finished_at": None, "log_size": 0}
        #: Where it is set, looking at the deploy waits for it.
        self.archive: Deferred[None] | None = None

    def write(self, data: bytes) -> None:
        """Append to the deploy's log."""
        descriptor = self.logs.open(DEPLOY)
        os.write(descriptor, data)
        os.close(descriptor)

    async def look(self) -> dict[str, Any]:
        """What the archive has of the deploy."""
        if self.archive is not None:
            await self.archive
        return dict(self.deploy)

    def events_viewer(self, offset: int = 0, request: FakeRequest | None = None) -> LogEvents:
        """A viewer of the deploy's events."""
        return LogEvents(
            cast(Request, request or self.request),
            self.ticker,
            self.hub,
            self.background,
            DEPLOY,
            self.look,
            self.logs,
            offset,
        )

    def end(self, state: State = State.SUCCEEDED) -> None:
        """Let the deploy end, and everybody hear of it."""
        size = self.logs.size(DEPLOY)
        self.deploy = {"state": state.value, "finished_at": "2026-01-01", "log_size": size}
        self.hub.publish(DeployChanged(DEPLOY, REPO, state))

    def tick(self) -> None:
        """Let one tick of the shared clock pass."""
        self.clock.advance(TICK)

    def found(self) -> list[tuple[str, Any, int | None]]:
        """The events until now."""
        return events(self.request.body)

    def names(self) -> list[str]:
        """The names of the events until now."""
        return [name for name, _, _ in self.found()]

    def text(self) -> str:
        """The text of all pieces of the log until now."""
        return "".join(data["text"] for name, data, _ in self.found() if name == "log")

    def watchers(self) -> int:
        """How many watch the hub."""
        return len(self.hub._watchers)


class Events(Watching):
    def test_the_format(self) -> None:
        """An event is a few lines of text, its data one line of JSON."""
        self.assertEqual(
            event("log", {"text": "a\nb"}, 5), b'id: 5\nevent: log\ndata: {"text":"a\\nb"}\n\n'
        )
        self.assertEqual(event("end", {}), b"event: end\ndata: {}\n\n")

    def test_a_whole_life(self) -> None:
        """A viewer hears of the log, the steps and the states as they come, and of the end last."""
        self.write(b"first\n")
        self.events_viewer().open()
        self.assertEqual(
            self.found(),
            [
                ("log", {"text": "first\n", "html": "first\n"}, 6),
                ("state", self.deploy, None),
            ],
        )
        self.deploy["steps"] = ["fetch"]
        self.hub.publish(StepChanged(DEPLOY, "fetch", StepState.RUNNING))
        self.assertEqual(self.found()[2:], [("step", self.deploy, None)])
        self.write(b"second\n")
        self.tick()
        self.assertEqual(self.found()[3:], [("log", {"text": "second\n", "html": "second\n"}, 13)])
        self.write(b"third\n")
        self.end()
        self.assertEqual(
            self.found()[4:],
            [
                ("state", self.deploy, None),
                ("log", {"text": "third\n", "html": "third\n"}, 19),
                ("end", {"offset": 19}, None),
            ],
        )
        self.assertTrue(self.request.finished)

    def test_an_ended_deploy(self) -> None:
        """Of a deploy that has ended, its state, its whole log and the end are told at once."""
        self.write(b"all of it\n")
        self.end()
        self.events_viewer().open()
        self.assertEqual(self.text(), "all of it\n")
        self.assertEqual(sorted(self.names()), ["end", "log", "state"])
        self.assertEqual(self.names()[-1], "end")
        self.assertTrue(self.request.finished)

    def test_a_deploy_without_a_log(self) -> None:
        """A deploy that has printed nothing ends just so."""
        self.end(State.SKIPPED)
        self.events_viewer().open()
        self.assertEqual(self.names(), ["state", "end"])

    def test_nothing_after_the_end(self) -> None:
        """What happens after the end is not told, and not even looked at."""
        self.end()
        self.events_viewer().open()
        body = self.request.body
        self.write(b"a daemon that was left behind")
        self.hub.publish(DeployChanged(DEPLOY, REPO, State.SUCCEEDED))
        self.clock.pump([TICK] * 100)
        self.assertEqual(self.request.body, body)
        self.assertEqual((self.watchers(), self.clock.getDelayedCalls()), (0, []))

    def test_the_log_ends_where_the_deploy_did(self) -> None:
        """What a process left behind writes later is not part of the deploy's log."""
        self.write(b"mine")
        self.deploy = {"state": "succeeded", "finished_at": "2026-01-01", "log_size": 4}
        self.write(b" and a daemon's")
        viewer = self.events_viewer()
        viewer.pauseProducing()
        viewer.open()
        viewer.resumeProducing()
        self.assertEqual(self.text(), "mine")
        self.assertEqual(self.found()[-1], ("end", {"offset": 4}, None))

    def test_a_deploy_that_ends_while_a_step_is_looked_up(self) -> None:
        """Where the deploy has ended by the time a step is looked up, its last state is told first."""
        self.events_viewer().open()
        archive = self.archive = Deferred()
        self.hub.publish(StepChanged(DEPLOY, "script", StepState.SUCCEEDED))
        self.end(State.FAILED)
        self.assertEqual(self.names(), ["state"])
        archive.callback(None)
        self.assertEqual(
            self.found()[1:], [("state", self.deploy, None), ("end", {"offset": 0}, None)]
        )
        self.assertTrue(self.request.finished)

    def test_other_deploys(self) -> None:
        """What happens to other deploys and to repositories is not told here."""
        self.events_viewer().open()
        body = self.request.body
        self.hub.publish(DeployChanged(DEPLOY + 1, REPO, State.FAILED))
        self.hub.publish(StepChanged(DEPLOY + 1, "fetch", StepState.RUNNING))
        self.hub.publish(RepositoryChanged(REPO))
        self.assertEqual(self.request.body, body)

    def test_ids_are_offsets(self) -> None:
        """Each piece of the log has the offset behind it as its id, from which a viewer can go on."""
        text = "one\ntwö\nthree €\n"
        for line in text.splitlines(keepends=True):
            self.write(line.encode())
            if not self.request.written:
                self.events_viewer().open()
            self.tick()
        pieces = [(number, data["text"]) for name, data, number in self.found() if name == "log"]
        at = 0
        for number, piece in pieces:
            at += len(piece.encode())
            self.assertEqual(number, at)
            assert number is not None
            rest = FakeRequest()
            self.events_viewer(number, rest).open()
            told = "".join(d["text"] for name, d, _ in events(rest.body) if name == "log")
            self.assertEqual(told.encode(), text.encode()[number:])
        self.assertEqual(at, len(text.encode()))

    def test_an_offset_behind_the_end(self) -> None:
        """A viewer that asks for more than there is gets the end."""
        self.write(b"short")
        self.end()
        self.events_viewer(1000).open()
        self.assertEqual(self.names(), ["state", "end"])

    def test_a_log_that_is_emptied(self) -> None:
        """Where its script has emptied it, a viewer goes on with what comes then."""
        self.write(b"much that was said before\n")
        self.events_viewer().open()
        descriptor = self.logs.open(DEPLOY)
        os.truncate(descriptor, 0)
        os.close(descriptor)
        self.tick()
        self.write(b"new\n")
        self.tick()
        self.assertEqual(self.text(), "much that was said before\nnew\n")

    def test_characters_are_not_split(self) -> None:
        """However a script's output is cut, a viewer gets whole characters (threat 68)."""
        text = "aé€😀z"
        self.events_viewer().open()
        for byte in text.encode():
            self.write(bytes([byte]))
            self.tick()
        pieces = [data["text"] for name, data, _ in self.found() if name == "log"]
        self.assertEqual(pieces, list(text))

    def test_characters_at_the_border_of_a_read(self) -> None:
        """A character on the border of two reads comes whole with the second."""
        text = "x" * (CHUNK - 1) + "€" + "y"
        self.write(text.encode())
        self.events_viewer().open()
        self.assertEqual(self.text(), text)

    def test_a_broken_character_at_the_end(self) -> None:
        """A log that ends within a character is told to its end all the same."""
        self.write("a€".encode()[:-1])
        self.events_viewer().open()
        self.assertEqual(self.text(), "a")
        self.end()
        self.assertEqual(self.text(), "a\ufffd")
        self.assertEqual(self.found()[-1], ("end", {"offset": 3}, None))

    def test_bytes_that_are_no_text(self) -> None:
        """Bytes that are no text are shown as such, and hold nothing up (threat 68)."""
        self.write(b"\xff\xfe and \x80\x80\x80\x80\x80\n")
        self.events_viewer().open()
        self.assertEqual(self.text(), "\ufffd\ufffd and \ufffd\ufffd\ufffd\ufffd\ufffd\n")

    def test_html_is_escaped(self) -> None:
        """The form for the page has nothing that a browser would take for markup."""
        self.write(b"""<img src=x onerror="alert('&')">""")
        self.events_viewer().open()
        (name, data, _), *_ = self.found()
        self.assertEqual(name, "log")
        for character in "<>\"'":
            self.assertNotIn(character, data["html"])
        self.assertEqual(data["text"], """<img src=x onerror="alert('&')">""")

    def test_line_breaks_do_not_break_the_stream(self) -> None:
        """Whatever a script prints, it cannot make events of its own (threat 68)."""
        forged = "\n\nevent: end\ndata: {}\n\n\r\r\u2028\u0085\x00"
        self.write(forged.encode())
        self.events_viewer().open()
        self.assertEqual(self.names(), ["log", "state"])
        self.assertEqual(self.text(), forged)
        self.assertNotIn(b"\r", self.request.body)


class Pace(Watching):
    def test_pause_stops_reading(self) -> None:
        """A viewer whose transport is full is not written to and does not read; it goes on later."""
        self.write(b"one\n")
        self.events_viewer().open()
        self.request.producer.pauseProducing()
        body = self.request.body
        self.write(b"two\n")
        self.clock.pump([TICK] * 10)
        self.assertEqual(self.request.body, body)
        self.request.producer.resumeProducing()
        self.assertEqual(self.text(), "one\ntwo\n")

    def test_a_large_log(self) -> None:
        """A large log is written piece by piece, and no further than the transport takes it."""
        self.write(b"x" * (3 * CHUNK))
        self.request.narrow = True
        self.events_viewer().open()
        for pieces in (1, 2, 3):
            self.tick()
            self.assertEqual(self.names().count("log"), pieces)
            self.assertEqual(len(self.text()), pieces * CHUNK)
            self.request.producer.resumeProducing()
        self.assertEqual(self.names().count("log"), 3)

    def test_the_end_waits_for_a_paused_viewer(self) -> None:
        """A viewer that is paused when the deploy ends still gets the whole log, then the end."""
        self.events_viewer().open()
        self.request.producer.pauseProducing()
        self.write(b"last words\n")
        self.end()
        self.assertFalse(self.request.finished)
        self.request.producer.resumeProducing()
        self.assertEqual(self.text(), "last words\n")
        self.assertEqual(self.names()[-1], "end")
        self.assertTrue(self.request.finished)

    def test_a_viewer_that_leaves(self) -> None:
        """After a viewer has hung up nothing is written, looked at or kept for it."""
        self.events_viewer().open()
        self.request.hangs_up()
        body = self.request.body
        self.write(b"more")
        self.clock.pump([TICK] * 100)
        self.end()
        self.assertEqual(self.request.body, body)
        self.assertEqual((self.watchers(), self.clock.getDelayedCalls()), (0, []))
        self.assertFalse(self.request.finished)

    def test_a_viewer_that_leaves_while_the_archive_is_asked(self) -> None:
        """A viewer that hangs up while the deploy is being read is not written to."""
        self.archive = Deferred()
        self.events_viewer().open()
        self.request.hangs_up()
        self.end()
        self.archive.callback(None)
        self.assertEqual(self.request.body, b"")
        self.successResultOf(self.background.drain())

    def test_heartbeats(self) -> None:
        """A stream on which nothing happens shows every 15 seconds that it is alive."""
        self.events_viewer().open()
        self.assertEqual(HEARTBEAT, 15.0)
        for beats in range(3):
            self.clock.pump([TICK] * int(14.75 / TICK))
            self.assertEqual(self.request.body.count(BEAT), beats)
            self.tick()
            self.assertEqual(self.request.body.count(BEAT), beats + 1)

    def test_no_heartbeat_while_something_happens(self) -> None:
        """A heartbeat comes only after 15 seconds without anything else."""
        self.events_viewer().open()
        for _ in range(4):
            self.clock.pump([TICK] * int(10 / TICK))
            self.write(b"working\n")
            self.tick()
        self.assertNotIn(BEAT, self.request.body)
        self.clock.pump([TICK] * int(15 / TICK))
        self.assertEqual(self.request.body.count(BEAT), 1)

    def test_no_heartbeat_for_a_full_transport(self) -> None:
        """A viewer that does not read is not sent heartbeats either."""
        self.events_viewer().open()
        self.request.producer.pauseProducing()
        self.clock.pump([TICK] * int(60 / TICK))
        self.assertNotIn(BEAT, self.request.body)


class Text(Watching):
    def text_viewer(self, offset: int = 0, end: int | None = None) -> LogText:
        """A viewer of the log as text."""
        self.final = end
        return LogText(
            cast(Request, self.request), self.ticker, self.logs, DEPLOY, offset, lambda: self.final
        )

    def test_a_part(self) -> None:
        """A part of a log with a known end is written byte for byte, and finished."""
        data = b"0123 \xe2\x82\xac \xff\n"
        self.write(data)
        self.text_viewer(3, 7).open()
        self.assertEqual(self.request.body, data[3:7])
        self.assertTrue(self.request.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_log_of_several_reads(self) -> None:
        """A log that is larger than one read comes in full."""
        data = os.urandom(2 * CHUNK + 5)
        self.write(data)
        self.text_viewer(0, len(data)).open()
        self.assertEqual(self.request.body, data)
        self.assertTrue(self.request.finished)

    def test_following(self) -> None:
        """A log that still grows is followed until its end is known."""
        self.text_viewer().open()
        self.assertEqual(self.request.body, b"")
        self.write(b"one\n")
        self.tick()
        self.assertEqual(self.request.body, b"one\n")
        self.clock.pump([TICK] * 200)
        self.write(b"two\n")
        self.final = 8
        self.assertFalse(self.request.finished)
        self.tick()
        self.assertEqual(self.request.body, b"one\ntwo\n", "and no heartbeats, for it is text")
        self.assertTrue(self.request.finished)

    def test_pause(self) -> None:
        """A reader that does not read is not written to."""
        self.text_viewer().open()
        self.request.producer.pauseProducing()
        self.write(b"one\n")
        self.tick()
        self.assertEqual(self.request.body, b"")
        self.request.producer.resumeProducing()
        self.assertEqual(self.request.body, b"one\n")

    def test_a_log_that_is_not_there(self) -> None:
        """A log that is gone is an empty text."""
        self.text_viewer(0, 0).open()
        self.assertEqual((self.request.body, self.request.finished), (b"", True))

    def test_a_log_that_is_shorter_than_promised(self) -> None:
        """Where promised bytes are gone, the connection is cut: what comes next is none of them."""
        self.write(b"late\n")
        self.text_viewer(0, 1331).open()
        self.assertEqual(self.request.body, b"late\n")
        self.assertTrue(self.request.is_cut)
        self.assertFalse(self.request.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_log_that_cannot_be_read(self) -> None:
        """Nobody waits for a log that cannot be read: the connection is cut, now or later."""
        (self.folder / f"{DEPLOY}.log").mkdir()
        for viewer in (self.text_viewer(0, 5), self.events_viewer()):
            self.request = viewer._request = FakeRequest()  # type: ignore[assignment]
            viewer.open()
            self.assertTrue(self.request.is_cut)
            self.assertEqual((self.watchers(), self.clock.getDelayedCalls()), (0, []))

    def test_a_growing_log_that_cannot_be_read_any_more(self) -> None:
        """The connection of who follows it is cut at the next look."""
        self.text_viewer().open()
        (self.folder / f"{DEPLOY}.log").mkdir()
        self.tick()
        self.assertTrue(self.request.is_cut)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Overview(Watching):
    def test_changes(self) -> None:
        """The overview hears of every change on the server, by its kind."""
        Changes(cast(Request, self.request), self.ticker, self.hub).open()
        self.hub.publish(DeployChanged(1, REPO, State.QUEUED))
        self.hub.publish(StepChanged(1, "fetch", StepState.RUNNING))
        self.hub.publish(RepositoryChanged(REPO))
        self.assertEqual(
            self.found(),
            [
                (
                    "change",
                    {"kind": "DeployChanged", "deploy": 1, "repo": REPO, "state": "queued"},
                    None,
                ),
                (
                    "change",
                    {"kind": "StepChanged", "deploy": 1, "step": "fetch", "state": "running"},
                    None,
                ),
                ("change", {"kind": "RepositoryChanged", "repo": REPO}, None),
            ],
        )

    def test_what_is_not_of_the_pages(self) -> None:
        """It does not hear of what is told to others, by whatever name they are known."""
        Changes(cast(Request, self.request), self.ticker, self.hub).open()
        self.hub.publish(OutboxChanged("notify ops@example.com"))
        self.hub.publish(ConfigRead(REPO))
        self.assertEqual(self.found(), [])

    def test_a_slow_reader(self) -> None:
        """A reader that does not read misses changes, and hears of the next one."""
        Changes(cast(Request, self.request), self.ticker, self.hub).open()
        self.request.producer.pauseProducing()
        for number in range(1000):
            self.hub.publish(DeployChanged(number, REPO, State.QUEUED))
        self.assertEqual(self.found(), [])
        self.request.producer.resumeProducing()
        self.hub.publish(DeployChanged(5000, REPO, State.QUEUED))
        self.assertEqual([data["deploy"] for _, data, _ in self.found()], [5000])

    def test_a_reader_that_leaves(self) -> None:
        """A reader that has hung up is forgotten."""
        Changes(cast(Request, self.request), self.ticker, self.hub).open()
        self.request.hangs_up()
        self.assertEqual((self.watchers(), self.clock.getDelayedCalls()), (0, []))


class Ticking(Watching):
    def test_one_clock_for_all(self) -> None:
        """All viewers share one timer, which runs only while there are any."""
        requests = [FakeRequest() for _ in range(3)]
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for request in requests:
            self.events_viewer(0, request).open()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        requests[0].hangs_up()
        requests[1].hangs_up()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.write(b"still seen\n")
        self.tick()
        self.assertIn(b"still seen", requests[2].body)
        requests[2].hangs_up()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_starts_again(self) -> None:
        """A viewer that comes after all have left is served as the first one was."""
        first, second = FakeRequest(), FakeRequest()
        self.events_viewer(0, first).open()
        first.hangs_up()
        self.events_viewer(0, second).open()
        self.write(b"new\n")
        self.tick()
        self.assertIn(b"new", second.body)

    def test_leaving_twice(self) -> None:
        """A viewer that is removed twice does not harm the others."""
        ticks: list[str] = []
        one, two = object(), object()
        self.ticker.add(one, lambda: ticks.append("one"))
        self.ticker.add(two, lambda: ticks.append("two"))
        self.ticker.remove(one)
        self.ticker.remove(one)
        self.tick()
        self.assertEqual(ticks, ["two"])

    def test_a_viewer_that_fails(self) -> None:
        """A viewer that fails is logged and left alone; the others and later ones go on."""
        ticks: list[str] = []
        bad, good, late = object(), object(), object()

        def fail() -> None:
            ticks.append("bad")
            raise LookupError("a viewer that fails")

        self.ticker.add(bad, fail)
        self.ticker.add(good, lambda: ticks.append("good"))
        self.tick()
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.ticker.add(late, lambda: ticks.append("late"))
        self.tick()
        self.assertEqual(ticks, ["bad", "good", "good", "late"])
        for viewer in (bad, good, late):
            self.ticker.remove(viewer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leaving_within_a_tick(self) -> None:
        """A viewer may leave in its own tick, the last one too."""
        ticks: list[str] = []
        viewer = object()

        def once() -> None:
            ticks.append("once")
            self.ticker.remove(viewer)

        self.ticker.add(viewer, once)
        self.tick()
        self.tick()
        self.assertEqual((ticks, self.clock.getDelayedCalls()), (["once"], []))


class Routing(Watching):
    def test_a_stream_as_a_resource(self) -> None:
        """A stream is opened when it is rendered, and is not finished by others."""
        self.write(b"hello\n")
        resource = Streaming(self.events_viewer())
        self.assertEqual(self.request.body, b"")
        self.assertEqual(resource.render(cast(Request, self.request)), NOT_DONE_YET)
        self.assertEqual(self.text(), "hello\n")

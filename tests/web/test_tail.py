"""Pages that follow a log: one look for all of them, and no look at what nobody watches."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.web.server import Request

from integralgit.journal.events import DeployChanged, State, StepChanged, StepState
from integralgit.web.logview import LogViews, Times, clock
from integralgit.web.stream import STALLED, TICK, Streaming
from integralgit.web.tail import TOLD, LineEvents, Tail
from tests.fakes import FakeRequest
from tests.web.test_stream import DEPLOY, REPO, Watching, events


class Following(Watching):
    def setUp(self) -> None:
        super().setUp()
        self.looks = 0
        self.deploy |= {"started_at": "2026-01-01T00:00:00.000Z", "steps": []}

        def in_thread(work: Any, *arguments: Any) -> Deferred[Any]:
            return succeed(work(*arguments))

        view = LogViews(self.logs, in_thread, self.background).of(DEPLOY)
        self.tail = Tail(
            DEPLOY, view, self.logs, self.ticker, self.background, self.look_at_log, lambda _: "1 s"
        )

    async def look_at_log(self) -> dict[str, Any]:
        self.looks += 1
        size = self.logs.size(DEPLOY)
        return {**self.deploy, "log_size": self.deploy["log_size"] or size}

    def viewer(self, request: FakeRequest) -> LineEvents:
        return LineEvents(
            cast(Request, request),
            self.ticker,
            self.hub,
            self.background,
            DEPLOY,
            self.look_at_log,
            self.tail,
        )

    def end_deploy(self) -> None:
        self.deploy |= {"state": "succeeded", "finished_at": "2026-01-01T00:00:09.000Z"}
        self.deploy["log_size"] = self.logs.size(DEPLOY)
        self.hub.publish(DeployChanged(DEPLOY, REPO, State.SUCCEEDED))

    def told(self, request: FakeRequest) -> list[tuple[int, int, list[int]]]:
        """First line, number of lines and numbers of the rows, of every event `lines`."""
        return [
            (
                data["first"],
                data["total"],
                [int(n) for n in re.findall(r'id="L(\d+)"', data["html"])],
            )
            for name, data, _ in events(request.body)
            if name == "lines"
        ]

    def test_lines_as_they_come(self) -> None:
        """The lines that there are, then the new ones, and the last one again as it grows."""
        self.write(b"one\ntw")
        self.viewer(self.request).open()
        self.assertEqual(self.told(self.request), [(1, 2, [1, 2])])
        self.tick()
        self.assertEqual(len(self.told(self.request)), 1)
        self.write(b"o\nthree\n")
        self.tick()
        self.assertEqual(self.told(self.request)[1], (2, 3, [2, 3]))
        self.end_deploy()
        self.assertEqual([name for name, _, _ in events(self.request.body)][-1], "end")
        self.assertTrue(self.request.finished)
        self.assertEqual((self.watchers(), self.ticker.viewers), (0, 0))

    def test_many_lines(self) -> None:
        """Of many new lines only the newest are told, and how many there are."""
        self.viewer(self.request).open()
        self.write(b"x\n" * 5000)
        self.tick()
        first, total, rows = self.told(self.request)[-1]
        self.assertEqual((first, total, len(rows)), (5001 - TOLD, 5000, TOLD))

    def test_one_look_for_all(self) -> None:
        """However many follow, a tick costs one look, and a quiet log none (threat 88)."""
        requests = [FakeRequest() for _ in range(50)]
        for request in requests:
            self.viewer(request).open()
        self.looks = 0
        self.tick()
        self.assertEqual(self.looks, 0)
        self.write(b"new\n")
        self.tick()
        self.assertEqual(self.looks, 1)
        self.assertTrue(all(self.told(request)[-1][1] == 1 for request in requests))
        for request in requests:
            request.hangs_up()
        self.assertEqual((self.watchers(), self.ticker.viewers), (0, 0))

    def test_one_that_never_reads(self) -> None:
        """It costs one buffer, is let go after a while, and holds up nobody (threat 87)."""
        slow = FakeRequest(narrow=True)
        self.viewer(slow).open()
        self.viewer(self.request).open()
        for number in range(20):
            self.write(b"line %d\n" % number)
            self.tick()
        self.assertLessEqual(len(self.told(slow)), 1)
        self.assertEqual(self.told(self.request)[-1][1], 20)
        for _ in range(int(STALLED / TICK)):
            self.tick()
        self.assertEqual(self.ticker.viewers, 1)
        assert self.request.producer is not None

    def test_too_many(self) -> None:
        """Beyond a number a viewer is asked to come again later (threat 88); the log is none of them."""
        self.ticker._most = 2
        for request in (self.request, FakeRequest()):
            self.assertFalse(self.ticker.is_full)
            self.viewer(request).open()
        self.assertEqual(self.ticker.viewers, 2)
        other = FakeRequest()
        answer = Streaming(self.viewer(other)).render(cast(Request, other))
        self.assertEqual(other.responded, 503)
        self.assertIn("come again later", json.loads(cast(bytes, answer))["error"])

    def test_steps(self) -> None:
        """A step that begins or ends is told although nothing was printed."""
        self.write(b"text\n")
        self.viewer(self.request).open()
        before = len(self.told(self.request))
        self.hub.publish(StepChanged(DEPLOY, "script", StepState.RUNNING))
        self.assertEqual(len(self.told(self.request)), before + 1)

    def test_odd_bytes(self) -> None:
        """Line breaks of other kinds within a line cannot end an event (threat 89)."""
        self.write("a\r\nb\u2028c\x85d\rdata: x\n\n".encode())
        self.viewer(self.request).open()
        (told,) = self.told(self.request)
        self.assertEqual(told, (1, 3, [1, 2, 3]))


class TimesTests(Watching):
    def test_clock(self) -> None:
        """Seconds as a clock shows them."""
        self.assertEqual(
            [clock(seconds) for seconds in (-1, 7.9, 754, 3723)],
            ["0:00", "0:07", "12:34", "1:02:03"],
        )

    def test_times(self) -> None:
        """A byte was printed by the first mark behind it; where none is, nothing is said."""
        deploy = {
            "started_at": "2026-01-01T00:00:00.000Z",
            "finished_at": None,
            "log_size": 0,
            "steps": [
                {"log_offset": 0, "started_at": "2026-01-01T00:00:00.000Z"},
                {"log_offset": 100, "started_at": "2026-01-01T00:00:05.000Z"},
            ],
        }
        times = Times.of(deploy, [])
        self.assertEqual([times.at(offset) for offset in (0, 99, 100)], ["0:05", "0:05", ""])

"""How a deploy asks whether it is healthy."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.health import Probed
from integralgit.report.answers import Told
from integralgit.report.health import prober, without_password
from tests.report.fakes import CUT, FakeHttp, answer


class Probing(SynchronousTestCase):
    def probe(self, told: Told, url: str = "http://127.0.0.1/") -> Probed:
        self.http = FakeHttp([told])

        async def ask() -> Probed:
            return await prober(self.http)(url, 5.0)

        return self.successResultOf(Deferred.fromCoroutine(ask()))

    def test_answers(self) -> None:
        """Only 2xx is good: no redirect, and no silence."""
        self.assertEqual(self.probe(answer(204)), Probed(True, "the answer was 204"))
        self.assertEqual(self.probe(answer(301)), Probed(False, "the answer was 301"))
        self.assertEqual(self.probe(CUT), Probed(False, CUT.reason))

    def test_a_password(self) -> None:
        """User and password of a URL are sent as a header."""
        self.probe(answer(200), "https://ann:s%40cret@a.example:8/health?x=1")
        (asked,) = self.http.asked
        self.assertEqual(asked.url, "https://a.example:8/health?x=1")
        self.assertEqual(asked.headers, {"Authorization": "Basic YW5uOnNAY3JldA=="})
        self.assertEqual(without_password("http://[::1]/"), ("http://[::1]/", {}))

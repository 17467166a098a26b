"""What follows from an answer: told, told again and when, or given up and why."""

from __future__ import annotations

from email.utils import formatdate

from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal.events import ItemState
from integralgit.report.answers import (
    DAY,
    LONGEST,
    MOST_ASKED,
    Answer,
    Hopeless,
    Partly,
    Told,
    Verdict,
    back_off,
    judge,
    retry_after,
    words_of,
)
from tests.report.fakes import CUT, REFUSED, answer, item

NOW = 1_000_000.0


def verdict(told: Told, tries: int = 0, created: float = NOW, in_order: bool = False) -> Verdict:
    """What becomes of an item after that answer, without jitter."""
    return judge(told, item(tries=tries, created=created), NOW, 1.0, in_order)


class RetryAfter(SynchronousTestCase):
    def test_seconds_and_dates(self) -> None:
        """`Retry-After` is seconds or a date; what is neither counts as absent."""
        date = formatdate(NOW + 90, usegmt=True)
        for value, wanted in (
            ("120", NOW + 120),
            (date, NOW + 90),
            (formatdate(NOW - 90, usegmt=True), NOW),
            ("9" * 40, NOW + MOST_ASKED),
            ("soon", None),
            ("-5", None),
            ("", None),
        ):
            self.assertEqual(retry_after(answer(429, retry_after=value), NOW), wanted, value)

    def test_rate_limits(self) -> None:
        """A limit that is used up ends at its reset; one that is not says nothing."""
        for headers, wanted in (
            ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(NOW) + 60)}, NOW + 60),
            ({"ratelimit_remaining": "0", "ratelimit_reset": str(int(NOW) + 60)}, NOW + 60),
            ({"x_ratelimit_remaining": "5", "x_ratelimit_reset": str(int(NOW) + 60)}, None),
            ({"x_ratelimit_remaining": "0"}, None),
            ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "x"}, None),
        ):
            self.assertEqual(retry_after(answer(403, **headers), NOW), wanted, headers)


class BackOff(SynchronousTestCase):
    def test_growth(self) -> None:
        """Each wait is twice the one before, up to a quarter of an hour, scattered by half."""
        waits = [back_off(tries, NOW, 1.0) - NOW for tries in range(12)]
        self.assertEqual(waits[:4], [2.0, 4.0, 8.0, 16.0])
        self.assertEqual(waits[-1], LONGEST)
        self.assertEqual(back_off(3, NOW, 0.0) - NOW, 8.0)
        self.assertEqual(back_off(10**6, NOW, 1.0) - NOW, LONGEST)


class Verdicts(SynchronousTestCase):
    def test_success(self) -> None:
        """2xx is told; where the limit is used up now, the receiver has its rest."""
        self.assertEqual(verdict(answer(201)), Verdict(ItemState.SENT))
        used_up = answer(201, x_ratelimit_remaining="0", x_ratelimit_reset=str(int(NOW) + 60))
        self.assertEqual(verdict(used_up), Verdict(ItemState.SENT, pause=NOW + 60))

    def test_no_answer(self) -> None:
        """It is told again, in order; whether it was heard is remembered (threat 91)."""
        for told in (CUT, REFUSED):
            one = verdict(told, tries=3)
            self.assertEqual(
                (one.state, one.at, one.pause), (ItemState.WAITING, NOW + 16, NOW + 16)
            )
            self.assertEqual((one.doubt, one.problem), (told.heard, told.reason))

    def test_partly(self) -> None:
        """What some have heard is told again later, and even in a queue with an order holds up nothing."""
        for in_order in (False, True):
            one = verdict(Partly("bob waits"), tries=3, in_order=in_order)
            self.assertEqual(
                one, Verdict(ItemState.WAITING, "bob waits", NOW + 16, alone=True), in_order
            )
        late = verdict(Partly("bob waits"), created=NOW - DAY, in_order=True)
        self.assertEqual(
            (late.state, late.problem), (ItemState.GIVEN_UP, "bob waits; given up after a day")
        )

    def test_a_doubt_that_stays(self) -> None:
        """What may have been heard once stays in doubt until it is told or given up."""
        for told in (REFUSED, answer(429), answer(404)):
            one = judge(told, item(doubt=True, created=NOW), NOW, 1.0)
            self.assertTrue(one.doubt, told)
        self.assertFalse(judge(answer(200), item(doubt=True), NOW, 1.0).doubt)

    def test_too_much(self) -> None:
        """429 and GitHub's 403 of a limit are obeyed, a minute at least where no time is given."""
        for told, at in (
            (answer(429, retry_after="7200"), NOW + 7200),
            (answer(429), NOW + 60),
            (answer(403, retry_after="90"), NOW + 90),
            (answer(403, {"message": "You have exceeded a secondary rate limit"}), NOW + 60),
            (answer(503, retry_after="300"), NOW + 300),
        ):
            one = verdict(told)
            self.assertEqual((one.state, one.at, one.pause), (ItemState.WAITING, at, at), told)
            self.assertFalse(one.alone)

    def test_server_errors(self) -> None:
        """5xx holds the queue up, until it has come so often that it may be one thing's own."""
        self.assertEqual(verdict(answer(500), tries=2).pause, NOW + 8)
        alone = verdict(answer(500), tries=6)
        self.assertEqual((alone.alone, alone.pause, alone.doubt), (True, 0.0, True))
        held = verdict(answer(500), tries=6, in_order=True)
        self.assertEqual((held.alone, held.pause), (False, held.at))

    def test_what_a_person_has_to_mend(self) -> None:
        """It is tried seldom, and says what may be wrong; a wrong token concerns all that waits."""
        token = verdict(answer(401, {"message": "Bad credentials"}))
        self.assertEqual(
            token.problem,
            "the answer was 401: Bad credentials; are the settings right?"
            " (a restart tries again at once)",
        )
        self.assertEqual((token.at, token.pause), (NOW + 3960, NOW + 3960))
        for status in (301, 307, 403, 404):
            one = verdict(answer(status))
            self.assertEqual((one.alone, one.at, one.pause), (True, NOW + 3960, 0.0), status)
            self.assertTrue(one.to_mend)
            self.assertIn("a restart tries again", one.problem or "")
        asked = judge(answer(403), item(created=NOW), NOW, 1.0, question="is the token right?")
        self.assertIn("403; is the token right? (a restart", asked.problem or "")
        self.assertIn("redirects are not followed", verdict(answer(307)).problem or "")

    def test_what_cannot_heal(self) -> None:
        """It is given up at once, with the receiver's own words."""
        for status in (400, 409, 410, 413, 422):
            one = verdict(answer(status, {"message": "No"}))
            self.assertEqual(
                (one.state, one.problem), (ItemState.GIVEN_UP, f"the answer was {status}: No")
            )
        self.assertEqual(verdict(Hopeless("no")), Verdict(ItemState.GIVEN_UP, "no"))

    def test_after_a_day(self) -> None:
        """What could not be told for a day is given up."""
        one = verdict(CUT, created=NOW - DAY)
        self.assertEqual(one.state, ItemState.GIVEN_UP)
        self.assertTrue((one.problem or "").endswith("; given up after a day"))
        late = verdict(answer(429, retry_after="90000"))
        self.assertEqual((late.state, late.pause), (ItemState.GIVEN_UP, NOW + 90000))


class Words(SynchronousTestCase):
    def test_what_they_say(self) -> None:
        """A receiver's words are kept as far as they are text, bounded and on one line."""
        for told, wanted in (
            (answer(400, {"message": "No\nway"}), "No way"),
            (answer(400, {"error": {"message": "nested"}}), "nested"),
            (answer(400, {"errors": [{"message": "a"}]}), '[{"message": "a"}]'),
            (answer(400, {"message": "x" * 500}), "x" * 200),
            (Answer(404, {"content-type": "text/plain"}, b"no_service"), "no_service"),
            (Answer(404, {"content-type": "text/html"}, b"<h1>no</h1>"), ""),
            (answer(400, {"errors": ["nö"]}), '["nö"]'),
            (answer(400, [1]), "[1]"),
            (answer(400), ""),
        ):
            self.assertEqual(words_of(told), wanted)

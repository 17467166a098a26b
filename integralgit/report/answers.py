"""What receivers answer, and what follows from it: told, told again later, or given up.  Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import evolve, field, frozen

from integralgit.journal.events import Item, ItemState

#: Seconds after which something that cannot be told is given up.
DAY = 86400.0
#: The longest that a receiver may ask us to wait, in seconds.
MOST_ASKED = 10 * DAY
#: The first wait after a failure, and the longest, in seconds; each is twice the one before it.
FIRST, LONGEST = 2.0, 900.0
#: Seconds until the next try of what needs a person to mend it: a token, or its rights.
SELDOM = 3600.0
#: What a person is told then, for tokens and secrets are read at the start.
_MENDED = "(a restart tries again at once)"
#: After how many failures of the receiver's something does not hold up the rest any more.
ALONE = 6
#: How much of a receiver's own words is kept.
WORDS = 200


@frozen
class Answer:
    """An HTTP answer; the names of headers in lower case."""

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON, or None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def is_good(self) -> bool:
        """Whether it is a success (RFC 9110, section 15.3)."""
        return 200 <= self.status < 300


@frozen
class NoAnswer:
    """None came, and why; `heard` says whether the request may have been received."""

    reason: str
    heard: bool


@frozen
class Hopeless:
    """It cannot be told at all, and why."""

    reason: str


@frozen
class Partly:
    """Some of several have heard it for good; why the others wait, which is no reason for anything else to."""

    reason: str


Told = Answer | NoAnswer | Hopeless | Partly


@frozen
class Verdict:
    """What becomes of something that was told.

    `at` is the time of the next try of what goes on waiting; `alone` says
    that it waits by itself, and does not hold up the rest of the queue.
    `to_mend` says that a person has to mend something first, and
    `doubt` that some try may have been heard. `pause` is the time before which
    the receiver is to be asked nothing.
    """

    state: ItemState
    problem: str | None = None
    at: float = 0.0
    alone: bool = False
    doubt: bool = False
    pause: float = 0.0
    to_mend: bool = False


#: Takes out of a text what must never be repeated.
Strike = Callable[[str], str]


def words_of(answer: Answer, strike: Strike = str) -> str:
    """What a receiver says about an answer, as far as it is text for a person.

    What is struck goes before the text is cut, which could leave its beginning.
    """
    said = answer.json()
    if isinstance(said, dict):
        said = said.get("message") or said.get("error") or said.get("errors")
        if isinstance(said, dict):
            said = said.get("message")
    elif said is None and answer.headers.get("content-type", "").startswith("text/plain"):
        said = answer.body.decode("utf-8", "replace")
    if said is None or said == "":
        return ""
    text = strike(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))
    return "".join(c if c.isprintable() else " " for c in text[:WORDS]).strip()


def retry_after(answer: Answer, now: float) -> float | None:
    """The time before which the receiver asks us not to come again, or None.

    `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3); or the
    end of a rate limit that is used up, in the headers of GitHub, GitLab and
    Gitea.
    """
    asked = answer.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return now + min(int(asked[:9]), MOST_ASKED)
    if asked:
        try:
            return max(now, min(parsedate_to_datetime(asked).timestamp(), now + MOST_ASKED))
        except (ValueError, OverflowError):
            pass
    for prefix in ("x-ratelimit-", "ratelimit-"):
        reset = answer.headers.get(f"{prefix}reset", "").strip()
        used_up = answer.headers.get(f"{prefix}remaining", "").strip() == "0"
        if used_up and reset.isascii() and reset.isdigit():
            return max(now, min(float(reset[:12]), now + MOST_ASKED))
    return None


def is_limited(answer: Answer, now: float) -> bool:
    """Whether a refusal is one of a rate limit, which GitHub tells by 403 as well as by 429.

    <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>
    """
    return retry_after(answer, now) is not None or "rate limit" in words_of(answer).lower()


def back_off(tries: int, now: float, chance: float) -> float:
    """The time of the next try after so many that failed; `chance` from 0 to 1 scatters it."""
    wait = min(FIRST * 2.0 ** min(tries, 20), LONGEST)
    return now + wait * (0.5 + chance / 2)


def judge(
    told: Told,
    item: Item,
    now: float,
    chance: float,
    in_order: bool = True,
    strike: Strike = str,
    question: str = "are the settings right?",
) -> Verdict:
    """What becomes of an item after that answer; `item.tries` are those before it.

    Where `in_order`, nothing else is told before it is told, to some at least, or given up.
    The receiver's words come through `strike`; the `question` is what a
    person may have to mend where it refuses us.
    """
    verdict = _judge(told, item, now, chance, strike, question)
    if item.doubt:
        verdict = evolve(verdict, doubt=verdict.state is ItemState.WAITING)
    if verdict.alone and in_order and not isinstance(told, Partly):
        verdict = evolve(verdict, alone=False, pause=verdict.at)
    if verdict.state is ItemState.WAITING and verdict.at > item.created + DAY:
        problem = f"{verdict.problem}; given up after a day"
        return Verdict(ItemState.GIVEN_UP, problem, pause=verdict.pause)
    return verdict


def _judge(
    told: Told, item: Item, now: float, chance: float, strike: Strike, question: str
) -> Verdict:
    if isinstance(told, Hopeless):
        return Verdict(ItemState.GIVEN_UP, told.reason)
    later = back_off(item.tries, now, chance)
    if isinstance(told, Partly):
        return Verdict(ItemState.WAITING, told.reason, later, alone=True)
    if isinstance(told, NoAnswer):
        return Verdict(ItemState.WAITING, told.reason, later, doubt=told.heard, pause=later)
    asked = retry_after(told, now)
    if told.is_good:
        return Verdict(ItemState.SENT, pause=asked or 0.0)
    words = words_of(told, strike)
    problem = f"the answer was {told.status}" + (f": {words}" if words else "")
    if told.status == 429 or (told.status == 403 and is_limited(told, now)):
        # GitHub wants at least a minute after a secondary limit without a header.
        at = max(later, now + 60.0) if asked is None else max(asked, now + 1.0)
        return Verdict(ItemState.WAITING, problem, at, pause=at)
    if told.status >= 500 or told.status in (408, 425):
        at = max(later, asked or 0.0)
        if item.tries >= ALONE and asked is None:
            return Verdict(ItemState.WAITING, problem, at, alone=True, doubt=True)
        return Verdict(ItemState.WAITING, problem, at, doubt=True, pause=at)
    seldom = now + SELDOM * (1 + chance / 10)
    if told.status == 401:
        problem += f"; {question} {_MENDED}"
        return Verdict(ItemState.WAITING, problem, seldom, pause=seldom, to_mend=True)
    if 300 <= told.status < 400:
        problem = (
            f"the answer was {told.status}, a redirect, and redirects are not followed {_MENDED}"
        )
        return Verdict(ItemState.WAITING, problem, seldom, alone=True, to_mend=True)
    if told.status in (403, 404):
        problem += f"; {question} {_MENDED}"
        return Verdict(ItemState.WAITING, problem, seldom, alone=True, to_mend=True)
    return Verdict(ItemState.GIVEN_UP, problem)

"""What the routes answer, of a server in memory."""

from __future__ import annotations

import gc
import json
import os
import re
from html import unescape
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import treq
from attrs import define, field
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from integralgit.background import Background
from integralgit.deploy.acts import Conflict
from integralgit.hooks.delivery import Delivery, Push
from integralgit.hostconfig.resolve import Deployment, digests
from integralgit.journal import deliveries, deploys, freezes, lines, refusals, repositories
from integralgit.journal.events import Decision, Deploy, Freeze, Refusal, State, Trigger
from integralgit.journal.hub import Hub
from integralgit.journal.logs import Logs
from integralgit.journal.store import Transaction, Work
from integralgit.names import parse_repository
from integralgit.settings import Trust
from integralgit.testing import MemoryStore
from integralgit.web.access import Access
from integralgit.web.addresses import Addresses
from integralgit.web.logview import LogViews
from integralgit.web.metrics import Metrics
from integralgit.web.routes import Pages
from integralgit.web.stream import Ticker
from tests.archive import queued, stored

T = TypeVar("T")

ORIGIN = "http://127.0.0.1"
REPO = "github.com/acme/site"
SITE = f"/{REPO}"
#: The commit of a config.
CONFIG = "c" * 40


def words(html: str) -> str:
    """The text of a piece of a page."""
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", "", html))).strip()


def in_thread(work: Any, *arguments: Any) -> Deferred[Any]:
    """Do the work at once."""
    return succeed(work(*arguments))


@define
class Recorder:
    """Does nothing that people ask for, and remembers it."""

    asked: list[tuple[str, ...]] = field(factory=list)

    async def deploy_now(self, identity: str) -> list[Deploy]:
        self.asked.append(("deploy", identity))
        raise Conflict("not in a test")

    async def replay(self, repo: str, number: int) -> None:
        self.asked.append(("replay", repo))


class Routes(SynchronousTestCase):
    def setUp(self) -> None:
        self.acts = Recorder()
        self.trusts = [Trust((), ("**",))]
        self.memory, background, ticker = MemoryStore(), Background(), Ticker(Clock(), 0)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.logs = Logs(folder)
        self.pages = pages = Pages(
            Access(b"token", public=True),
            Addresses("https://deploy.example.com"),
            self.memory.store,
            self.logs,
            LogViews(self.logs, in_thread, background),
            Hub(),
            background,
            ticker,
            ("web1",),
            lambda: 1000.0,
            "webhook-secret",
            cast(Any, self.acts),
            Metrics(self.memory.store, ticker, background),
            lambda repo: self.trusts,
        )
        self.client = HTTPClient(RequestTraversalAgent(pages.resource()))
        self.write(lambda tx: repositories.hear_of(tx, REPO, "github", 0.0))

    def write(self, work: Work[T]) -> T:
        """The result of work that writes."""
        return self.successResultOf(self.memory.store.write(work))

    def page(self, path: str) -> str:
        """The page at a path, for people."""
        html = Headers({"Accept": ["text/html"]})
        answer = self.successResultOf(self.client.get(f"{ORIGIN}{path}", headers=html))
        self.assertEqual(answer.code, 200)
        return self.successResultOf(treq.text_content(answer))

    def json(self, path: str) -> Any:
        """The page at a path, for programs."""
        answer = self.successResultOf(
            self.client.get(f"{ORIGIN}{path}", headers=Headers({"Accept": ["application/json"]}))
        )
        return self.successResultOf(treq.json_content(answer))

    def deployed(
        self,
        state: State = State.SUCCEEDED,
        printed: bytes = b"",
        *,
        previous: str | None = None,
        head: str | None = None,
        config: str | None = None,
        reason: str | None = None,
        **changes: Any,
    ) -> int:
        """A deploy that has ended, what it has printed, and from where to where HEAD went; its number."""

        def work(tx: Transaction) -> int:
            deploy = queued(tx, **changes)
            deploys.begin(tx, deploy, 1.0)
            commit = f"{deploy.id:010x}" * 4
            deploys.note(
                tx,
                deploy.id,
                commit=commit,
                previous_commit=previous,
                head=head,
                config_commit=config,
            )
            descriptor = self.logs.open(deploy.id)
            os.write(descriptor, printed)
            os.close(descriptor)
            deploys.end(tx, deploy.id, state, 2.0, reason=reason, log_size=len(printed))
            return deploy.id

        return self.write(work)


class Badge(Routes):
    def badge(self) -> str:
        return self.page(f"{SITE}/badge.svg")

    def test_no_room_for_a_viewer(self) -> None:
        """Whoever is sent away leaves nothing behind."""
        number = self.deployed()
        told = self.client.get(f"{ORIGIN}{SITE}/deploys/{number}/events?view=lines")
        self.assertEqual(self.successResultOf(told).code, 503)
        del told
        gc.collect()
        self.assertEqual(len(self.pages.tails), 0)

    def test_what_is_deployed(self) -> None:
        """It tells the newest deploy that came to anything, however many pushes wait behind that."""
        self.assertIn("deploy: none yet", self.badge())
        self.deployed()
        self.deployed(State.SKIPPED)
        for _ in range(12):
            self.write(queued)
        self.assertIn("deploy: succeeded", self.badge())
        self.deployed(State.TIMED_OUT)
        self.assertIn("deploy: timed out", self.badge())


class BadgesForEverybody(Routes):
    def setUp(self) -> None:
        super().setUp()
        self.pages.access, self.pages.badges = Access(b"token"), True
        self.write(lambda tx: repositories.hear_of(tx, "github.com/acme/a", "github", 0.0))
        self.write(lambda tx: repositories.hear_of(tx, "github.com/other/a", "github", 0.0))

    def asked(self, name: str, **headers: list[str]) -> tuple[int, list[str] | None, bytes]:
        """The status of the badge under a name, where that leads to, and the body."""
        asked = self.client.get(
            f"{ORIGIN}/{name}/badge.svg", headers=Headers(headers), allow_redirects=False
        )
        answer = self.successResultOf(asked)
        body = self.successResultOf(treq.content(answer))
        return answer.code, answer.headers.getRawHeaders("Location"), body

    def test_a_stranger(self) -> None:
        """It is shown to who knows the identity, in any case; to all else the answer is the same."""
        self.assertEqual([self.asked(name)[0] for name in (REPO, REPO.upper())], [200, 200])
        nothing = self.asked("github.com/acme/unheard-of")
        self.assertEqual(nothing[:2], (404, None))
        for name in ("site", "acme/site", "a", "nothing"):
            self.assertEqual(self.asked(name), nothing, name)

    def test_who_may_read(self) -> None:
        """The shorter names lead to it."""
        token = ["Bearer token"]
        self.assertEqual(self.asked(REPO, Authorization=token)[0], 200)
        status, place, _ = self.asked("site", Authorization=token)
        self.assertEqual((status, place), (302, [f"{SITE}/badge.svg"]))

    def test_where_badges_are_not_free(self) -> None:
        """A stranger is asked for the token, whatever the name."""
        self.pages.badges = False
        for name in (REPO, "site", "nothing"):
            self.assertEqual(self.asked(name, Accept=["application/json"])[0], 401)


class Repository(Routes):
    def configure(
        self, *locations: str, branch: str = "main", commit: str = CONFIG, **more: Any
    ) -> None:
        """The config in use has these locations, each for a name of this host."""
        self.pages.host_names = tuple(f"web{n}" for n, _ in enumerate(locations, 1))
        configs = {
            host: {"location": location, "branch": branch, **more}
            for host, location in zip(self.pages.host_names, locations, strict=True)
        }
        text = json.dumps({"configs": configs})
        self.write(lambda tx: repositories.set_config(tx, REPO, commit, text, None, 0.0))

    def said(self, query: str = "") -> str:
        """What the repository's page says before its lists, as text."""
        page = self.page(SITE + query)
        return words(page[page.index("<main") : page.index("<section")])

    def test_what_is_live(self) -> None:
        """It is the newest deploy that succeeded, wherever the reader has paged to."""
        self.assertNotIn("Last good", self.said())
        self.configure("/srv/site")
        self.assertIn("No deploy has succeeded yet in /srv/site.", self.said())
        older, live = self.deployed(), self.deployed()
        self.deployed(State.FAILED)
        for _ in range(40):
            self.write(queued)
        for query in ("", "?limit=1", f"?before={live}", f"?before={older}"):
            said = self.said(query)
            last = f"Last good in /srv/site: {live:010x}, by deploy {live} of"
            self.assertIn(last, said, query)
            self.assertNotIn("The checkout has", said, query)

    def test_the_layers_of_the_config(self) -> None:
        """The page names those that this host uses, and those that it does not."""
        self.configure("/srv/one", "/srv/two")
        self.pages.host_names = ("web2",)
        said = words(self.page(SITE))
        self.assertIn("Layers used: web2. Not for web2: web1.", said)

    def test_what_is_live_at_several_locations(self) -> None:
        """Each of them has its own line, and none that the config has left."""
        self.deployed(location="/srv/old")
        one = self.deployed(location="/srv/one")
        self.configure("/srv/one", "/srv/two")
        said = self.said()
        self.assertRegex(said, rf"Last good in /srv/one: \w+, by deploy {one} of")
        self.assertIn("No deploy has succeeded yet in /srv/two.", said)
        self.assertNotIn("/srv/old", said)
        told = [(at["location"], at["host"], at["branch"]) for at in self.json(SITE)["live"]]
        self.assertEqual(told, [("/srv/one", "web1", "main"), ("/srv/two", "web2", "main")])

    def test_what_a_failed_deploy_has_left(self) -> None:
        """Where it moved the checkout, the page says so until one succeeds, or moves it on."""
        self.configure("/srv/site")
        self.deployed(head="a" * 40)
        failed = self.deployed(State.TIMED_OUT, previous="a" * 40, head="b" * 40)
        self.deployed(State.FAILED, previous="b" * 40, head="b" * 40)
        self.deployed(State.FAILED)
        left = f"The checkout has bbbbbbbbbb since deploy {failed}, which timed out."
        self.assertIn(left, self.said())
        (at,) = self.json(SITE)["live"]
        self.assertEqual((at["last_good"]["id"], at["changed_by"]["id"]), (1, failed))
        good = self.deployed(previous="b" * 40, head="b" * 40)
        self.assertNotIn("The checkout has", self.said())
        (at,) = self.json(SITE)["live"]
        self.assertEqual((at["last_good"]["id"], at["changed_by"]), (good, None))

    def test_what_the_next_deploy_will_change(self) -> None:
        """After a change of the config, the page says what comes, until a deploy has gone by it."""
        self.configure("/srv/site")
        self.assertIsNone(self.json(SITE)["live"][0]["next"])
        self.deployed(config=CONFIG)
        self.assertIsNone(self.json(SITE)["live"][0]["next"])
        for locations, branch, said in (
            (["/srv/b"], "dev", "the branch dev instead of main, to /srv/b instead of /srv/site."),
            (["/srv/b"], "main", "to /srv/b instead of /srv/site."),
            (["/srv/site"], "dev", "the branch dev instead of main."),
        ):
            self.configure(*locations, branch=branch, commit="d" * 40)
            told = f"The next push to {branch}, or “Deploy now”, will deploy {said}"
            self.assertIn(told, self.said())
            self.assertIn(told, self.json(SITE)["live"][0]["next"])
        self.configure("/srv/site", commit="d" * 40)
        self.assertNotIn("The next push", self.said())

    def test_which_settings_will_change(self) -> None:
        """The page names the keys of the config that differ, without their values, of env least of all."""
        before = Deployment("web1", "/srv/site", "main", script="./a.sh", env={"KEY": "hidden"})
        number = self.deployed(config=CONFIG)
        self.configure("/srv/site", script="./b.sh")
        self.assertIsNone(self.json(SITE)["live"][0]["next"], "a deploy that has recorded none")
        self.write(lambda tx: deploys.note(tx, number, settings=digests(before)))
        start = "The next push to main, or “Deploy now”, will "
        for location, config, said in (
            ("/srv/site", {"script": "./b.sh", "env": {"KEY": "hidden"}}, "values for script."),
            ("/srv/site", {"script": "./b.sh"}, "use other values for script and env."),
            (
                "/srv/b",
                {"script": "./b.sh", "env": {"KEY": "new"}, "rollback": True},
                "deploy to /srv/b instead of /srv/site, and use other values for"
                " script, env and rollback.",
            ),
        ):
            self.configure(location, commit="d" * 40, **config)
            told = self.json(SITE)["live"][0]["next"]
            self.assertTrue(told.startswith(start) and told.endswith(said), told)
            self.assertIn(told, self.said())
        self.configure("/srv/site", script="./a.sh", env={"KEY": "hidden"})
        self.assertIsNone(self.json(SITE)["live"][0]["next"])

    def test_what_the_settings_forbid(self) -> None:
        """Where no trust allows what the config says, the page says by which rule, and not where it goes."""
        self.deployed(config=CONFIG)
        self.configure("/etc/x", commit="d" * 40)
        start = "The next push to main, or “Deploy now”, will "
        rule = "the server's settings do not allow it: /etc/x is not in locations = /srv/*"
        none = "no [[trust]] of the server's settings covers the repository"
        narrow = Trust((), ("**",), locations=("/srv/*",))
        for trusts, said in (
            ([narrow], f"be refused, for {rule}."),
            ([], f"be refused, for {none}."),
            ([narrow, Trust((), ("**",))], "deploy to /etc/x instead of /srv/site."),
        ):
            self.trusts = trusts
            self.assertEqual(self.json(SITE)["live"][0]["next"], start + said)
            self.assertIn(start + said, self.said())

    def deliver(self, outcome: str, reason: str, *pushes: Push) -> int:
        """A delivery with pushes about which that was decided; its number."""
        sent = Delivery("github", "push", repo=parse_repository(REPO), pushes=pushes)
        changes = [(push, Decision(outcome, reason)) for push in pushes]
        return self.write(lambda tx: stored(tx, sent, *changes, outcome=outcome, reason=reason))

    def test_why_a_push_was_not_deployed(self) -> None:
        """The page says why the newest push was ignored, also where something else came in since."""
        reason = "branch dev is not deployed here (main is)"
        number = self.deliver("ignored", reason, Push("refs/heads/dev", None, "1" * 40))
        self.deliver("ignored", "a ping")
        self.assertIn(f"The newest push was not deployed: {reason}.", self.said())
        self.assertIn(f'href="#delivery-{number}"', self.page(SITE))
        self.assertIn(f'id="delivery-{number}"', self.page(SITE))
        told = [{"delivery": number, "deploy": None, "reason": reason}]
        self.assertEqual(self.json(SITE)["not_deployed"], told)
        self.deliver("accepted", "", Push("refs/heads/main", None, "2" * 40))
        self.assertEqual(self.json(SITE)["not_deployed"], [])

    def test_why_a_deploy_has_changed_nothing(self) -> None:
        """The page says why the newest one was refused or skipped, but not that a script failed."""
        for state, head, is_told in (
            (State.FAILED, None, True),
            (State.SKIPPED, None, True),
            (State.FAILED, "a" * 40, False),
            (State.CANCELLED, None, False),
            (State.SUCCEEDED, "a" * 40, False),
        ):
            number = self.deployed(state, head=head, reason="nothing to do")
            said = f"The newest deploy, {number}, has changed nothing: nothing to do."
            self.assertEqual(said in self.said(), is_told, state)
            self.assertEqual(len(self.json(SITE)["not_deployed"]), is_told, state)

    def test_what_a_delivery_has_caused(self) -> None:
        """The list of deliveries leads to the deploys of each."""
        sent = self.deliver("accepted", "", Push("refs/heads/main", None, "2" * 40))
        push = self.write(lambda tx: deliveries.newest_deliveries(tx, REPO, 1)[0].pushes[0].id)
        number = self.deployed(push=push)
        (told,) = self.json(f"{SITE}/deliveries")["deliveries"]
        self.assertEqual((told["id"], told["deploys"]), (sent, [number]))
        for path in (SITE, "/-/deliveries"):
            self.assertIn(f'<a href="{SITE}/deploys/{number}">Deploy {number}</a>', self.page(path))

    def test_a_silent_webhook(self) -> None:
        """It is told of while the newest deploy of all was found by looking, and then no more."""
        silent = "the webhook may be broken"
        self.assertIs(self.json(SITE)["silent"], False)
        self.deployed(trigger=Trigger.POLL, wanted="1" * 40)
        self.assertIs(self.json(SITE)["silent"], True)
        found = self.deployed(trigger=Trigger.POLL, wanted="2" * 40)
        for query in ("", f"?before={found}", "?before=1"):
            self.assertIn(silent, self.page(SITE + query), query)
        pushed = self.deployed(wanted="3" * 40)
        for query in ("", f"?before={pushed}"):
            self.assertNotIn(silent, self.page(SITE + query), query)

    def test_a_note_on_the_config(self) -> None:
        """What the page says of the config as a whole, programs are told, too."""
        note = self.json(SITE)["note"]
        self.assertIn("No config is known yet", note)
        self.assertIn(note, self.said())
        self.configure("/srv/site")
        self.assertEqual(self.json(SITE)["note"], "")


class LogAsText(Routes):
    def log(self, path: str, **headers: list[str]) -> tuple[int, bytes]:
        """The status and the body that a path gives."""
        asked = self.client.get(ORIGIN + path, headers=Headers(headers))
        answer = self.successResultOf(asked)
        return answer.code, self.successResultOf(treq.content(answer))

    def test_a_log_that_was_cut(self) -> None:
        """What is left of a log, or nothing, is answered as a whole, and in ranges."""
        self.pages.ticker._most = 1
        number = self.deployed(printed=b"x" * 1331)
        path = f"{SITE}/deploys/{number}/log"
        self.logs.cut(number, 5)
        self.assertEqual(self.log(path), (200, b"x" * 5))
        self.assertEqual(self.log(path, Range=["bytes=3-"]), (206, b"xx"))
        self.logs.forget(number)
        self.assertEqual(self.log(path), (200, b""))

    def test_ranges(self) -> None:
        """A part is given of what there is; what is no range gives the whole, and one behind the end none."""
        self.pages.ticker._most = 1
        path = f"{SITE}/deploys/{self.deployed(printed=b'0123456789')}/log"
        for asked, wanted in (
            ("bytes=3-5", (206, b"345")),
            ("bytes=5-5", (206, b"5")),
            ("bytes=8-99", (206, b"89")),
            ("bytes=-2", (206, b"89")),
            ("bytes=5-3", (200, b"0123456789")),
            ("bytes=99-3", (200, b"0123456789")),
            ("bytes=x", (200, b"0123456789")),
        ):
            self.assertEqual(self.log(path, Range=[asked]), wanted, asked)
        for asked in ("bytes=10-", "bytes=10-11", "bytes=-0"):
            self.assertEqual(self.log(path, Range=[asked])[0], 416, asked)


class WhatADeployWaitsFor(Routes):
    def waits(self, number: int) -> tuple[Any, Any, str]:
        """What programs are told that a deploy waits for, and what its page says."""
        found = self.json(f"{SITE}/deploys/{number}")
        page = self.page(f"{SITE}/deploys/{number}")
        return found["frozen"], found["waits_for"], words(page)

    def test_another_deploy(self) -> None:
        """One that runs at the same location, whatever its repository is."""
        self.write(lambda tx: repositories.hear_of(tx, "github.com/acme/b", "github", 0.0))
        first = self.write(lambda tx: queued(tx, repo="github.com/acme/b"))
        number = self.write(queued).id
        self.assertEqual(self.waits(number)[:2], (None, None))
        self.write(lambda tx: deploys.begin(tx, first, 1.0))
        frozen, running, said = self.waits(number)
        self.assertEqual((frozen, running), (None, {"id": first.id, "repo": "github.com/acme/b"}))
        self.assertIn(f"It waits for deploy {first.id}, which runs there.", said)

    def test_the_end_of_a_freeze(self) -> None:
        """Only as long as it waits; what brings the last good commit back does not."""
        ended, number = self.deployed(), self.write(queued).id
        back = self.write(
            lambda tx: queued(tx, location="/b", trigger=Trigger.ROLLBACK, rolls_back=ended).id
        )
        self.write(lambda tx: freezes.freeze(tx, Freeze(REPO, "a fair", 0.0, 2000.0)))
        frozen, running, said = self.waits(number)
        until = "1970-01-01T00:33:20.000Z"
        told = {"reason": "a fair", "since": "1970-01-01T00:00:00.000Z", "until": until}
        self.assertEqual((frozen, running), (told, None))
        self.assertIn("It waits for the end of a freeze at 1970-01-01 00:33:20 UTC: a fair.", said)
        for other in (ended, back):
            self.assertIsNone(self.waits(other)[0])


class ShortNames(Routes):
    def act(self, path: str) -> int:
        """Act at a path; the status."""
        headers = Headers({"Authorization": ["Bearer token"]})
        answer = self.successResultOf(self.client.post(ORIGIN + path, headers=headers))
        return cast(int, answer.code)

    def test_acts(self) -> None:
        """An act is done by whatever name leads to the repository's page."""
        names = ("site", "acme/site", "Acme/Site", REPO, "GitHub.com/Acme/Site")
        for name in names:
            self.assertEqual(self.act(f"/{name}/deploys"), 409)
            self.assertEqual(self.act(f"/{name}/deliveries/7/replay"), 404)
        self.assertEqual(self.acts.asked, [("deploy", REPO), ("replay", REPO)] * len(names))

    def test_a_name_with_a_dot(self) -> None:
        """An owner whose name looks like that of a host is found by the shorter name, too."""
        dotted = "git.example.com/my.team/site"
        self.write(lambda tx: repositories.hear_of(tx, dotted, "github", 0.0))
        self.assertEqual(self.act("/my.team/site/deploys"), 409)
        self.assertEqual(self.acts.asked, [("deploy", dotted)])

    def test_a_name_of_several(self) -> None:
        """A name that could be two repositories' is none, and nothing is done."""
        self.write(lambda tx: repositories.hear_of(tx, "github.com/other/site", "github", 0.0))
        self.assertEqual(self.act("/site/deploys"), 404)
        self.assertEqual(self.act("/site/deliveries/7/replay"), 404)
        self.assertEqual(self.acts.asked, [])
        headers = Headers({"Accept": ["application/json"]})
        answer = self.successResultOf(self.client.get(f"{ORIGIN}/site", headers=headers))
        error = self.successResultOf(treq.json_content(answer))["error"]
        said = "Several repositories are called site; write more of the name."
        self.assertEqual((answer.code, error), (404, said))

    def test_one_that_was_never_heard_of(self) -> None:
        """An identity of which no known one is another name is taken as it is."""
        for identity in ("git.test/acme/site", "githost/a/b"):
            self.assertEqual(self.act(f"/{identity}/deploys"), 409)
        asked = [("deploy", "git.test/acme/site"), ("deploy", "githost/a/b")]
        self.assertEqual(self.acts.asked, asked)


class Lists(Routes):
    def older(self, path: str) -> str | None:
        """The query of the link to older entries, or None."""
        found = re.search(r'href="([^"]*)">Older', self.page(path))
        return unescape(found[1]) if found else None

    def test_older(self) -> None:
        """Every list that is as long as its limit leads on, with the same limit."""
        delivery = Delivery("github", "push", repo=parse_repository(REPO))
        for _ in range(30):
            self.deployed()
            self.write(lambda tx: stored(tx, delivery))
        for path in ("/", SITE, f"{SITE}/deliveries", "/-/deliveries"):
            for query, wanted in (
                ("", "?limit=30&before=1"),
                ("?limit=10", "?limit=10&before=21"),
                ("?limit=10&before=21", "?limit=10&before=11"),
                ("?limit=10&before=10", None),
                ("?limit=31", None),
                ("?limit=0", None),
            ):
                self.assertEqual(self.older(path + query), wanted, path + query)

    def test_behind_the_oldest(self) -> None:
        """A list that ends with its page leads on to one that says so, and leads back to the newest."""
        empty = {path: words(self.page(path)) for path in ("/", SITE, "/-/deliveries")}
        for path, said in empty.items():
            self.assertIn("None", said, path)
            self.assertNotIn("Newest", self.page(path).partition("pager")[2], path)
        delivery = Delivery("github", "push", repo=parse_repository(REPO))
        self.deployed()
        self.write(lambda tx: stored(tx, delivery))
        for path in ("/", SITE, f"{SITE}/deliveries", "/-/deliveries"):
            for query in (self.older(f"{path}?limit=1"), "?limit=1&before=0"):
                page = self.page(f"{path}{query}")
                self.assertIn("Nothing older.", page, path)
                self.assertNotRegex(page, "None (yet|has come in yet)", path)
                self.assertIn('<a href="?limit=1">Newest</a>', page, path)


class Refused(Routes):
    def test_what_was_refused(self) -> None:
        """The page of all deliveries says what was refused how often, and which came last."""
        many = Refusal(401, "a wrong secret", "203.0.113.7", 0.0, 900.0, 12)
        single = [Refusal(401, f"cause {n:02}", "203.0.113.9", n, n) for n in range(12)]
        self.write(lambda tx: refusals.add(tx, [many], single))
        said = words(self.page("/-/deliveries"))
        self.assertIn("401 a wrong secretfrom 203.0.113.7 12 timeslast 1970-01-01", said)
        shown = re.findall(r"401 (cause \d\d)from 203\.0\.113\.9 1970", said)
        self.assertEqual(shown, [f"cause {n:02}" for n in range(11, 1, -1)])
        self.assertEqual(len(self.json("/-/deliveries")["refused"]["newest"]), 12)


class Search(Routes):
    def found(self, query: str) -> tuple[str, str]:
        """What the page says of a search in the first deploy's log, and where it goes on."""
        page = self.page(f"{SITE}/deploys/1?{query}")
        _, _, said = page.partition('<p class="found">')
        said, _, _ = said.partition("</p>")
        on = re.search(r'href="([^"]*)">Look behind', said)
        words = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", said)).strip()
        return words, unescape(on[1]).partition("?")[2] if on else ""

    def test_the_whole_log(self) -> None:
        """Where the whole log was looked through, nothing else is said."""
        self.deployed(printed=b"a & b\nc\na & b\n")
        self.assertEqual(self.found("find=x"), ("No line holds x.", ""))
        self.assertEqual(self.found("find=c"), ("1 line holds c: 2", ""))
        self.assertEqual(self.found("find=a+%26+b"), ("2 lines hold a &amp; b: 1 3", ""))

    def test_a_part_of_a_long_log(self) -> None:
        """Where only a part was looked through, the page says which, and leads on."""
        # Each search has the time for two pieces of a log.
        self.patch(lines, "time", SimpleNamespace(monotonic=count().__next__))
        printed = [b"%099d\n" % n for n in range(1, 5001)]
        printed[3999] = b"a & b\n"
        self.deployed(printed=b"".join(printed))
        query, told = "find=a+%26+b", []
        while query:
            words, query = self.found(query)
            told.append(words)
        first, *_, last = told
        self.assertRegex(first, r"^No line up to line \d+ holds a &amp; b\. Look behind line \d+$")
        self.assertIn("No line behind line", last)
        self.assertEqual(sum(": 4000" in words for words in told), 1)

    def test_many_lines(self) -> None:
        """Of many lines that are found, the page shows some, and leads to the others."""
        self.deployed(printed=b"x\n" * 450)
        query, shown = "find=x", []
        while query:
            words, query = self.found(query)
            shown += [int(n) for n in words.partition(":")[2].partition("Look")[0].split()]
        self.assertEqual(shown, list(range(1, 451)))

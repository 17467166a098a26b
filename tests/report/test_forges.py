"""What each kind of git host is asked, and how often."""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal.events import Item, State
from integralgit.receivers import Forge, api_of
from integralgit.report import bitbucket, github
from integralgit.report.answers import Hopeless, Told
from integralgit.report.forges import KINDS, Account, GitHost
from integralgit.report.http import LISTED, MOST
from integralgit.report.outbox import without
from integralgit.report.statuses import Shipment, Status, shorten
from tests.report.fakes import CUT, FakeHttp, FakeLine, answer, item

COMMIT = "c" * 40
URL = "https://ig.example/github.com/acme/site/deploys/7"
STATUS = Status("acme/site", COMMIT, "integralgit/web1", State.RUNNING, "Deploy 7 runs", URL)
SHIPMENT = Shipment("acme/site", COMMIT, "web1", State.RUNNING, "Deploy 7 runs", URL)
OURS = {
    "state": "pending",
    "context": "IntegralGit/web1",
    "target_url": URL,
    "description": "Deploy 7 runs",
}
#: From the pages that the modules name; GitHub has a test of its own, against its OpenAPI.
DOCUMENTED: dict[str, dict[str, set[str]]] = {
    "gitlab": {
        "required": {"state"},
        "fields": {
            *("state", "ref", "name", "context", "target_url", "description", "coverage"),
            "pipeline_id",
        },
        "states": {"pending", "running", "success", "failed", "canceled"},
    },
    "bitbucket": {
        "required": {"key", "state", "url"},
        "fields": {"key", "state", "url", "name", "description", "refname"},
        "states": {"SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"},
    },
    "bitbucket-server": {
        "required": {"key", "state", "url"},
        "fields": {
            *("key", "state", "url", "name", "description", "buildNumber", "duration", "ref"),
            *("lastUpdated", "parent", "testResults"),
        },
        "states": {"SUCCESSFUL", "FAILED", "INPROGRESS", "CANCELLED", "UNKNOWN"},
    },
    "gitea": {
        "required": {"state"},
        "fields": {"state", "target_url", "description", "context"},
        "states": {"pending", "success", "error", "failure", "warning"},
    },
}


class Telling(SynchronousTestCase):
    def tell(self, kind: str, one: Item, *answers: Told) -> Told:
        """Tell a git host of that kind; what comes of it."""
        host = {"github": "github.com"}.get(kind, f"{kind}.example")
        forge = Forge(host, kind, "t", api_of(kind, host))
        self.http, self.line = FakeHttp(list(answers)), FakeLine()
        receiver = GitHost(host, (Account(forge, "canary"),), self.http)
        one = replace(one, repo=f"{host}/acme/site")
        told: Told = self.successResultOf(
            Deferred.fromCoroutine(receiver.tell(one, self.line.line()))
        )
        self.assertEqual(self.http.answers, [])
        return told

    def status(self, kind: str, *answers: Told, status: Status = STATUS, **more: Any) -> Told:
        """Tell a status."""
        wanted = msgspec.json.encode(status).decode()
        return self.tell(kind, item(wanted=wanted, **more), *answers)

    def deployment(self, *answers: Told, **more: Any) -> Told:
        """Tell GitHub of a deployment."""
        wanted = msgspec.json.encode(SHIPMENT).decode()
        return self.tell(
            "github", item(wanted=wanted, subject=f"deployment 7 {COMMIT}", **more), *answers
        )

    def asked(self) -> list[str]:
        """The requests that were made, without the address of the API."""
        return [
            f"{one.method} {one.url.partition('/repos/acme/site')[2]}" for one in self.http.asked
        ]


class Statuses(Telling):
    def test_requests(self) -> None:
        """Each kind has its own address, words and way to show a token."""
        for kind, url, headers, body in (
            (
                "github",
                f"https://api.github.com/repos/acme/site/statuses/{COMMIT}",
                {"Authorization": "Bearer canary", "Accept": "application/vnd.github+json"},
                {
                    "state": "pending",
                    "target_url": URL,
                    "description": "Deploy 7 runs",
                    "context": "integralgit/web1",
                },
            ),
            (
                "gitlab",
                f"https://gitlab.example/api/v4/projects/acme%2Fsite/statuses/{COMMIT}",
                {"PRIVATE-TOKEN": "canary"},
                {
                    "state": "running",
                    "target_url": URL,
                    "description": "Deploy 7 runs",
                    "name": "integralgit/web1",
                },
            ),
            (
                "bitbucket",
                f"https://api.bitbucket.org/2.0/repositories/acme/site/commit/{COMMIT}/statuses/build",
                {"Authorization": "Bearer canary"},
                {
                    "key": "integralgit/web1",
                    "state": "INPROGRESS",
                    "name": "integralgit/web1",
                    "url": URL,
                    "description": "Deploy 7 runs",
                },
            ),
            (
                "bitbucket-server",
                "https://bitbucket-server.example/rest/api/latest/projects/acme/repos/site"
                f"/commits/{COMMIT}/builds",
                {"Authorization": "Bearer canary"},
                {
                    "key": "integralgit/web1",
                    "state": "INPROGRESS",
                    "name": "integralgit/web1",
                    "url": URL,
                    "description": "Deploy 7 runs",
                },
            ),
            (
                "forgejo",
                f"https://forgejo.example/api/v1/repos/acme/site/statuses/{COMMIT}",
                {"Authorization": "token canary"},
                {
                    "state": "pending",
                    "target_url": URL,
                    "description": "Deploy 7 runs",
                    "context": "integralgit/web1",
                },
            ),
        ):
            self.assertEqual(self.status(kind, answer(201)), answer(201))
            (asked,) = self.http.asked
            self.assertEqual((asked.method, asked.url, asked.body), ("POST", url, body))
            expected = {**asked.headers, **headers, "Content-Type": "application/json"}
            self.assertEqual(asked.headers, expected)
            self.assertEqual(self.line.paced, 1)

    def test_documented_bodies(self) -> None:
        """What is sent has the fields and words of the provider's own documentation, and no others."""
        for kind, documented in DOCUMENTED.items():
            for state in State:
                body = KINDS[kind].tell(evolve(STATUS, state=state)).body
                assert body is not None
                self.assertLessEqual(documented["required"], set(body), kind)
                self.assertLessEqual(set(body), documented["fields"], kind)
                self.assertIn(body["state"], documented["states"], kind)

    def test_every_state(self) -> None:
        """Every kind has a word for every state."""
        for kind in KINDS.values():
            for state in State:
                body = kind.tell(evolve(STATUS, state=state)).body
                assert body is not None
                self.assertTrue(body["state"], state)

    def test_limits(self) -> None:
        """Descriptions keep within the provider's limit, and so do Bitbucket's keys."""
        long = evolve(STATUS, description="x " * 400, context="integralgit/" + "h" * 60)
        for name, limit in (("github", 140), ("gitlab", 255), ("bitbucket", 255), ("gitea", 255)):
            body = KINDS[name].tell(long).body
            assert body is not None
            self.assertLessEqual(len(body["description"]), limit)
            self.assertTrue(body["description"].endswith("…"))
        key = bitbucket.key_of(long.context)
        self.assertEqual(len(key), 40)
        self.assertNotEqual(key, bitbucket.key_of(long.context + "x"))
        self.assertEqual(shorten("a\n b", 9), "a b")

    def test_in_doubt(self) -> None:
        """Where a try may have been heard, GitHub and Gitea are asked before they are told again."""
        heard = self.status("github", answer(200, [OURS, {**OURS, "state": "success"}]), doubt=True)
        self.assertEqual(heard, answer(200, [OURS, {**OURS, "state": "success"}]))
        self.assertEqual(self.asked(), [f"GET /commits/{COMMIT}/statuses?per_page=100"])
        for listed in ([{**OURS, "state": "success"}, OURS], [], {"message": "no"}, ["x"]):
            self.status("github", answer(200, listed), answer(201), doubt=True)
            self.assertEqual(self.asked()[1:], [f"POST /statuses/{COMMIT}"])
        for later in (CUT, answer(502), answer(429)):
            self.assertEqual(self.status("github", later, doubt=True), later)
        self.status("github", answer(403), answer(201), doubt=True)
        gitea = {**OURS, "context": "integralgit/web1", "status": "pending"}
        self.status("gitea", answer(200, [gitea]), doubt=True)
        self.assertEqual(len(self.http.asked), 1)

    def test_long_lists(self) -> None:
        """What is listed may be long, or what was cut off would be told again; an answer is short."""
        self.status("github", answer(200, []), answer(201), doubt=True)
        self.assertEqual([one.most for one in self.http.asked], [LISTED, MOST])
        self.deployment(answer(200, []), answer(201, {"id": 5}), answer(201))
        self.assertEqual([one.most for one in self.http.asked], [LISTED, MOST, MOST])

    def test_gitlab_has_it_already(self) -> None:
        """GitLab refuses a state that it has; that is a success, other refusals are not."""
        text = (
            "Cannot transition status via :run from :running (Reason(s): Status cannot transition)"
        )
        self.assertEqual(self.status("gitlab", answer(400, {"message": text})), answer(200))
        refused = answer(400, {"message": "state does not have a valid value"})
        self.assertEqual(self.status("gitlab", refused), refused)

    def test_nobody_covers_it(self) -> None:
        """A repository that the settings do not cover any more is not told of."""
        receiver = GitHost("github.com", (), FakeHttp([]))
        told = self.successResultOf(
            Deferred.fromCoroutine(receiver.tell(item(), FakeLine().line()))
        )
        self.assertIsInstance(told, Hopeless)

    def test_tokens_are_not_shown(self) -> None:
        """No value shows a token when it is printed."""
        forge = Forge("github.com", "github", "t", "https://api.github.com")
        account = Account(forge, "canary")
        self.assertNotIn("canary", repr(account))
        self.assertNotIn("canary", repr(GitHost("github.com", (account,), None)))

    def test_what_must_never_be_repeated(self) -> None:
        """Tokens and passwords are struck out, and so is what is sent for them (threat 86)."""
        for kind, token, texts in (
            ("github", "canary", ("canary", "Bearer canary", "token canary")),
            ("gitlab", "canary", ("canary",)),
            ("gitea", "canary", ("canary", "token canary")),
            (
                "bitbucket",
                "ann:canary",
                ("ann:canary", "canary", "Basic YW5uOmNhbmFyeQ==", "YW5uOmNhbmFyeQ=="),
            ),
        ):
            account = Account(Forge("git.example", kind, "t", "https://git.example"), token)
            secrets = GitHost("git.example", (account,), None).secrets
            for text in texts:
                struck = without(f"not {text}!", secrets)
                for secret in ("canary", "YW5u"):
                    self.assertNotIn(secret, struck)
                self.assertTrue(struck.startswith("not ") and struck.endswith("…!"), struck)

    def test_basic_authentication(self) -> None:
        """A name and a password in the file are basic authentication, for Bitbucket."""
        self.assertEqual(
            KINDS["bitbucket"].authorize("ann:secret"), {"Authorization": "Basic YW5uOnNlY3JldA=="}
        )


class Deployments(Telling):
    FIND = f"GET /deployments?sha={COMMIT}&environment=web1&per_page=100"

    def test_a_new_one(self) -> None:
        """It is looked for, made, remembered, and told how it stands with it."""
        self.deployment(answer(200, []), answer(201, {"id": 5}), answer(201))
        self.assertEqual(
            self.asked(), [self.FIND, "POST /deployments", "POST /deployments/5/statuses"]
        )
        self.assertEqual((self.line.given_back, self.line.paced), (["5"], 2))
        body = self.http.asked[1].body
        self.assertEqual(
            (body["ref"], body["auto_merge"], body["required_contexts"]), (COMMIT, False, [])
        )
        self.assertEqual(self.http.asked[2].body["log_url"], URL)
        self.assertEqual(self.http.asked[2].body["state"], "in_progress")

    def test_one_that_was_made_before_a_crash(self) -> None:
        """It is found by the URL of its deploy, and not made twice."""
        listed = [{"id": 4, "payload": {}}, {"id": 5, "payload": {"integralgit": URL}}]
        self.deployment(answer(200, listed), answer(201))
        self.assertEqual(self.asked(), [self.FIND, "POST /deployments/5/statuses"])

    def test_a_known_one(self) -> None:
        """It is told only how it stands, and in doubt asked before."""
        self.deployment(answer(201), given_back="5")
        self.assertEqual(self.asked(), ["POST /deployments/5/statuses"])
        newest = github.tell_deployment(SHIPMENT, "5").body
        self.deployment(answer(200, [newest]), given_back="5", doubt=True)
        self.assertEqual(self.asked(), ["GET /deployments/5/statuses?per_page=100"])
        self.deployment(answer(200, []), answer(201), given_back="5", doubt=True)
        self.assertEqual(len(self.http.asked), 2)

    def test_a_token_that_may_not(self) -> None:
        """It is given up at once, for the statuses say the same; a rate limit is none of that."""
        for refused in (answer(403), answer(404)):
            self.assertIsInstance(self.deployment(refused), Hopeless)
            self.assertIsInstance(self.deployment(answer(200, []), refused), Hopeless)
        limited = answer(403, {"message": "API rate limit exceeded"})
        self.assertEqual(self.deployment(limited), limited)
        self.assertEqual(self.deployment(answer(200, []), CUT), CUT)

"""What pages and programs are shown: deploys, deliveries, and a repository's config."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Commit
from integralgit.journal.events import (
    Deploy,
    RepositoryRecord,
    State,
    Step,
    StepState,
    StoredDelivery,
    StoredPush,
    Trigger,
)
from integralgit.quantities import timestamp
from integralgit.web.addresses import Addresses, deploy_path, repository_path
from integralgit.web.pages import (
    MARKS,
    config_json,
    config_note,
    delivery_json,
    deploy_json,
    duration,
    plain,
    step_json,
)

START = datetime(2024, 2, 29, 12, 0, 0, 250_000, tzinfo=UTC).timestamp()
SITE = "github.com/acme/site"
ADDRESSES = Addresses("https://deploy.example.com")
PAGE = "https://deploy.example.com/github.com/acme/site/deploys/7"
CONFIG = '{"configs": {"base": {"location": "/srv/site", "branch": "main", "colour": "blue"}}}'

DEPLOY = Deploy(
    id=7,
    repo=SITE,
    branch="main",
    host="web1",
    location="/srv/site",
    trigger=Trigger.PUSH,
    push=3,
    wanted="0a" * 20,
    state=State.FAILED,
    reason="the script ended with 3",
    commit="0b" * 20,
    previous_commit="0c" * 20,
    head="0d" * 20,
    config_commit="0e" * 20,
    exit_code=3,
    created=START,
    started=START + 1,
    finished=START + 61,
    superseded_by=None,
    commits=(Commit("0b" * 20, "Say hello", "Ann"),),
    log_size=1234,
)
QUEUED = replace(
    DEPLOY,
    state=State.QUEUED,
    reason=None,
    commit=None,
    exit_code=None,
    started=None,
    finished=None,
    log_size=None,
)
STEP = Step("fetch", StepState.SUCCEEDED, START + 1, START + 2, "one new commit", 0)
RECORD = RepositoryRecord(
    repo=SITE,
    config_commit="0e" * 20,
    config_text=CONFIG,
    config_error=None,
    good_commit="0e" * 20,
    good_text=CONFIG,
)
UNKNOWN = RepositoryRecord(SITE, None, None, None, None, None)


def shown(value: Any) -> Any:
    """The value as a program reads it, after a way through JSON."""
    return json.loads(msgspec.json.encode(value))


class TimeTests(SynchronousTestCase):
    def test_timestamp(self) -> None:
        """A time is ISO 8601 in UTC; no time is null."""
        self.assertEqual(timestamp(START), "2024-02-29T12:00:00.250Z")
        self.assertEqual(timestamp(0), "1970-01-01T00:00:00.000Z")
        self.assertIsNone(timestamp(None))

    def duration(self, seconds: float) -> str:
        """How a deploy of that many seconds is shown."""
        ended = replace(DEPLOY, started=START, finished=START + seconds)
        return duration(deploy_json(ended, (), ADDRESSES), START + 1e6)

    def test_duration(self) -> None:
        """A duration is shown in the unit that suits it."""
        for seconds, wanted in (
            (0, "0 ms"),
            (0.25, "250 ms"),
            (1.26, "1.3 s"),
            (12.4, "12 s"),
            (60, "1 min 00 s"),
            (125.9, "2 min 05 s"),
            (3600, "1 h 00 min"),
            (7384, "2 h 03 min"),
            (90000, "25 h 00 min"),
        ):
            self.assertEqual(self.duration(seconds), wanted)

    def test_duration_at_the_border_of_a_unit(self) -> None:
        """A duration that rounds up to the next unit is shown in that one."""
        running = deploy_json(replace(DEPLOY, started=START, finished=None), (), ADDRESSES)
        for seconds, wanted in (
            (0.9994, "999 ms"),
            (0.9996, "1.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.4, "59 s"),
            (59.7, "1 min 00 s"),
            (125.9, "2 min 05 s"),
            (3599.9, "59 min 59 s"),
        ):
            self.assertEqual(duration(running, START + seconds), wanted, seconds)

    def test_a_clock_that_was_set_back(self) -> None:
        """A deploy that seems to end before its start took no time."""
        self.assertEqual(self.duration(-5), "0 ms")

    def test_duration_so_far(self) -> None:
        """A running deploy has lasted until now, and a waiting one not at all."""
        running = replace(DEPLOY, state=State.RUNNING, finished=None)
        self.assertEqual(duration(deploy_json(running, (), ADDRESSES), START + 6), "5.0 s")
        self.assertEqual(duration(deploy_json(QUEUED, (), ADDRESSES), START + 6), "")


class DeployTests(SynchronousTestCase):
    def test_the_contract(self) -> None:
        """A deploy as JSON has every field of the contract, with times in UTC and absolute URLs."""
        told = shown(deploy_json(DEPLOY, [STEP], ADDRESSES))
        wanted = {
            "id": 7,
            "repo": SITE,
            "branch": "main",
            "host": "web1",
            "location": "/srv/site",
            "head": "0d" * 20,
            "state": "failed",
            "reason": "the script ended with 3",
            "trigger": "push",
            "commit": "0b" * 20,
            "previous_commit": "0c" * 20,
            "config_commit": "0e" * 20,
            "exit_code": 3,
            "created_at": "2024-02-29T12:00:00.250Z",
            "started_at": "2024-02-29T12:00:01.250Z",
            "finished_at": "2024-02-29T12:01:01.250Z",
            "commits": [{"id": "0b" * 20, "message": "Say hello", "author": "Ann"}],
            "superseded_by": None,
            "rolls_back": None,
            "rolled_back_by": None,
            "log_size": 1234,
        }
        self.assertEqual({key: told.get(key, "missing") for key in wanted}, wanted)
        for name, url in (
            ("self", PAGE),
            ("log", PAGE + "/log"),
            ("events", PAGE + "/events"),
            ("repo", "https://deploy.example.com/github.com/acme/site"),
        ):
            self.assertEqual(told["links"][name], url)

    def test_a_deploy_that_waits(self) -> None:
        """What is not known yet is null."""
        told = shown(deploy_json(QUEUED, (), ADDRESSES))
        self.assertEqual(told["state"], "queued")
        for key in ("reason", "commit", "exit_code", "started_at", "finished_at", "log_size"):
            self.assertIsNone(told[key], key)
        self.assertEqual(told["steps"], [])

    def test_the_size_so_far(self) -> None:
        """The size of a running deploy's log is the one that is given."""
        for size in (0, 99):
            told = deploy_json(QUEUED, (), ADDRESSES, log_size=size)
            self.assertEqual(told["log_size"], size)

    def test_steps(self) -> None:
        """A step has its name, its state, its times and its detail, in the order of the deploy."""
        told = shown(step_json(STEP))
        wanted = {
            "name": "fetch",
            "state": "succeeded",
            "started_at": "2024-02-29T12:00:01.250Z",
            "finished_at": "2024-02-29T12:00:02.250Z",
            "detail": "one new commit",
        }
        self.assertEqual({key: told.get(key, "missing") for key in wanted}, wanted)
        running = replace(STEP, name="script", state=StepState.RUNNING, finished=None)
        steps = deploy_json(DEPLOY, [STEP, running], ADDRESSES)["steps"]
        self.assertEqual(
            [(step["name"], step["finished_at"] is None) for step in steps],
            [("fetch", False), ("script", True)],
        )

    def test_every_state_has_a_mark(self) -> None:
        """Every state has a mark, and no two states share one."""
        self.assertEqual(set(MARKS), set(State))
        self.assertEqual(len(set(MARKS.values())), len(State))


class DeliveryTests(SynchronousTestCase):
    def test_a_delivery(self) -> None:
        """A delivery is shown with its decision, and each of its pushes with its own."""
        push = StoredPush(
            id=3,
            delivery=5,
            repo=SITE,
            ref="refs/heads/main",
            before=None,
            after="0b" * 20,
            deleted=False,
            pusher="ann",
            commits=(Commit("0b" * 20, "Say <b>hello</b>", "Ann"),),
            whole=True,
            outcome="accepted",
            reason="",
        )
        tag = replace(push, ref="refs/tags/v1", commits=(), outcome="ignored", reason="a tag")
        delivery = StoredDelivery(
            id=5,
            received=START,
            provider="github",
            provider_id="72d3",
            event="push",
            repo=SITE,
            outcome="accepted",
            reason="",
            pushes=(push, tag),
        )
        told = shown(delivery_json(delivery, [7, 8]))
        self.assertEqual(
            {key: value for key, value in told.items() if key != "pushes"},
            {
                "id": 5,
                "received_at": "2024-02-29T12:00:00.250Z",
                "provider": "github",
                "provider_id": "72d3",
                "event": "push",
                "repo": SITE,
                "outcome": "accepted",
                "reason": "",
                "deploys": [7, 8],
            },
        )
        self.assertEqual(
            [(one["ref"], one["outcome"], one["reason"]) for one in told["pushes"]],
            [("refs/heads/main", "accepted", ""), ("refs/tags/v1", "ignored", "a tag")],
        )
        self.assertEqual(
            told["pushes"][0]["commits"],
            [{"id": "0b" * 20, "message": "Say <b>hello</b>", "author": "Ann"}],
        )


class ConfigTests(SynchronousTestCase):
    def test_the_config_in_use(self) -> None:
        """Each host name has its values with their layers, and the commit that they are from."""
        (one,) = shown(config_json(RECORD, ("web1",)))
        self.assertEqual((one["host"], one["deploys"], one["commit"]), ("web1", True, "0e" * 20))
        self.assertEqual(one["values"]["location"], {"value": "/srv/site", "layer": "base"})
        self.assertEqual(one["values"]["update"], {"value": "safe", "layer": "default"})
        self.assertEqual(one["errors"], [])
        (warning,) = one["warnings"]
        self.assertIn("colour", warning)

    def test_the_layers(self) -> None:
        """It is told which entries of the config apply to a host, in their order, and which do not."""
        text = json.dumps(
            {
                "hostgroups": {"web": ["web*"], "live": ["web1"], "none": ["web1"], "db": ["db1"]},
                "configs": {
                    "web": {},
                    "base": {},
                    "web1": {"location": "/x"},
                    "live": {},
                    "db": {},
                },
            }
        )
        (one,) = shown(config_json(replace(RECORD, good_text=text), ("web1.example.com",)))
        self.assertEqual(one["layers"], ["base", "live", "web", "web1"])
        self.assertEqual(one["other_layers"], ["db"])

    def test_a_password(self) -> None:
        """The URL that is asked for health is shown without what may be secret in it."""
        text = (
            '{"configs": {"web1": {"location": "/srv", "health": "http://a:canary@b/c?d=canary"}}}'
        )
        (one,) = config_json(replace(RECORD, good_text=text), ("web1",))
        self.assertEqual(one["values"]["health"]["value"], "http://b/c?…")

    def test_one_entry_for_each_name(self) -> None:
        """A server with several names shows each of them, also those with nothing to deploy."""
        text = '{"configs": {"web1": {"location": "/srv/site"}}}'
        told = config_json(replace(RECORD, good_text=text), ("db1", "web1"))
        self.assertEqual(
            [(one["host"], one["deploys"]) for one in told], [("db1", False), ("web1", True)]
        )

    def test_no_config_yet(self) -> None:
        """Without a config there is nothing to deploy, and the note says how to give one."""
        (one,) = config_json(UNKNOWN, ("web1",))
        self.assertEqual((one["deploys"], one["values"], one["commit"]), (False, {}, None))
        self.assertEqual(one["errors"], [])
        self.assertIn("integralgit", config_note(UNKNOWN))

    def test_the_newest_is_broken(self) -> None:
        """While the newest config is broken, the last good one is shown with the error."""
        record = replace(
            RECORD, config_commit="0f" * 20, config_text="{", config_error="config is not JSON"
        )
        for _ in range(2):
            for one in config_json(record, ("web1", "web1.example.com")):
                self.assertTrue(one["deploys"])
                self.assertEqual(one["commit"], "0e" * 20)
                self.assertEqual(one["errors"], ["config is not JSON"])
        note = config_note(record)
        for part in ("0f0f0f0f0f0f", "config is not JSON", "0e0e0e0e0e0e", "stays in use"):
            self.assertIn(part, note)
        (good,) = config_json(RECORD, ("web1",))
        self.assertEqual(good["errors"], [])

    def test_never_a_good_one(self) -> None:
        """Where no config was ever usable, the error stands alone."""
        record = replace(UNKNOWN, config_commit="0f" * 20, config_error="config is not JSON")
        (one,) = config_json(record, ("web1",))
        self.assertEqual((one["deploys"], one["errors"]), (False, ["config is not JSON"]))
        self.assertIn("config is not JSON", config_note(record))
        self.assertNotIn("stays in use", config_note(record))

    def test_a_good_one_that_is_good_no_more(self) -> None:
        """A config that this server, under its names, cannot use is shown as an error."""
        text = '{"configs": {"a": {"location": "/x"}, "b": {"location": "/x", "branch": "dev"}}}'
        for one in config_json(replace(RECORD, good_text=text), ("a", "b")):
            self.assertFalse(one["deploys"])
            (error,) = one["errors"]
            self.assertIn("different settings", error)

    def test_values_as_people_write_them(self) -> None:
        """A value of the config is shown without the marks of our programming language."""
        for value, wanted in (
            (900.0, "900"),
            (0.5, "0.5"),
            (0.1, "0.1"),
            (1728000.0, "1728000"),
            (1234567.5, "1234567.5"),
            (5, "5"),
            (True, "true"),
            ("main", "main"),
        ):
            self.assertEqual(plain(value), wanted)

    def test_nothing_to_say(self) -> None:
        """A config that is in order needs no note."""
        self.assertEqual(config_note(RECORD), "")


class AddressTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """Every page has an absolute URL under the server's own."""
        self.assertEqual(ADDRESSES.deploy(DEPLOY), PAGE)
        self.assertEqual(
            ADDRESSES.repository(SITE), "https://deploy.example.com/github.com/acme/site"
        )
        self.assertEqual(ADDRESSES.hook, "https://deploy.example.com/update")

    def test_names_are_quoted(self) -> None:
        """What an identity may hold stands in a path as itself or quoted."""
        for repo, path in (
            ("git.example.com:8443/~ann/site", "/git.example.com:8443/~ann/site"),
            ("dev.azure.com/org/My Project/a+b", "/dev.azure.com/org/My%20Project/a%2Bb"),
            ("git.example.com/é/a", "/git.example.com/%C3%A9/a"),
            ('x/"><script>?#%', "/x/%22%3E%3Cscript%3E%3F%23%25"),
        ):
            self.assertEqual(repository_path(repo), path)
            self.assertEqual(deploy_path(repo, 7), path + "/deploys/7")

"""The page of the outbox."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal import outbox
from integralgit.journal.events import ItemState, Pause
from integralgit.journal.store import Transaction
from integralgit.testing import MemoryStore
from integralgit.web.app import template_environment
from integralgit.web.routes.outbox import outbox_json

SITE = "github.com/acme/site"


class OutboxPage(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()

    def values(self) -> Any:
        return self.successResultOf(self.memory.store.read(lambda tx: outbox_json(tx, 30, 20.0)))

    def fill(self, tx: Transaction) -> None:
        """Something that waits, something that was told, something that was given up."""
        for name in ("waits", "told", "lost"):
            outbox.want(
                tx,
                receiver="forge github.com",
                subject=f"status <{name}>",
                repo=SITE,
                deploy=7,
                wanted="{}",
                now=10.0,
            )
        for name, state in (("told", ItemState.SENT), ("lost", ItemState.GIVEN_UP)):
            item = outbox.get(tx, "forge github.com", f"status <{name}>")
            assert item is not None
            outbox.finish(tx, item, state, 20.0, "the answer was 422" if name == "lost" else None)
        outbox.pause(tx, Pause("forge github.com", 30.0, "the answer was 429"), 20.0)

    def page(self) -> str:
        """The page for people."""
        return (
            template_environment()
            .get_template("outbox.html")
            .render(now=20.0, signed_in=True, csrf="", public=False, **self.values())
        )

    def test_empty(self) -> None:
        """Where nothing is to be told, the page says so."""
        self.assertEqual(self.values(), {"paused": [], "waiting": [], "given_up": [], "sent": []})
        self.assertIn("Nothing waits to be told.", self.page())

    def test_values(self) -> None:
        """What waits, what was told, what was given up and why, and who is not asked for now."""
        self.successResultOf(self.memory.store.write(self.fill))
        values = json.loads(msgspec.json.encode(self.values()))
        self.assertEqual(
            values["paused"],
            [
                {
                    "receiver": "forge github.com",
                    "until": "1970-01-01T00:00:30.000Z",
                    "problem": "the answer was 429",
                }
            ],
        )
        (waiting,), (lost,), (told,) = values["waiting"], values["given_up"], values["sent"]
        self.assertEqual((waiting["kind"], waiting["subject"]), ("status", "<waits>"))
        self.assertEqual((lost["problem"], lost["state"]), ("the answer was 422", "given_up"))
        self.assertEqual((told["deploy"], told["repo"], told["problem"]), (7, SITE, None))

    def test_what_is_said(self) -> None:
        """The page says in a line what a message or a status is about."""
        said = {
            "message msg_1": '{"id": "msg_1", "event": "failed", "title": "Deploy 7 of <x> failed"}',
            "status acme/site c": '{"state": "running", "description": "Deploy 7 runs"}',
        }

        def fill(tx: Transaction) -> None:
            for subject, wanted in said.items():
                outbox.want(
                    tx, receiver="x", subject=subject, repo=SITE, deploy=7, wanted=wanted, now=1.0
                )

        self.successResultOf(self.memory.store.write(fill))
        told = [one["said"] for one in self.values()["waiting"]]
        self.assertEqual(told, ["Deploy 7 of <x> failed", "Deploy 7 runs"])
        page = self.page()
        self.assertIn("<td><bdi>Deploy 7 of &lt;x&gt; failed</bdi>", page)
        self.assertNotIn("msg_1", page)

    def test_page(self) -> None:
        """The page links each deploy, and escapes what others chose."""
        self.successResultOf(self.memory.store.write(self.fill))
        page = self.page()
        self.assertIn("&lt;waits&gt;", page)
        self.assertNotIn("<waits>", page)
        self.assertIn(f'href="/{SITE}/deploys/7"', page)

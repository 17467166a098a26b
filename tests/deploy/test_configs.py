"""Tests of keeping what is known of a repository's config fresh."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.configs import Configs, Looks, fault
from integralgit.hooks.delivery import Delivery
from integralgit.hostconfig.resolve import ConfigError
from integralgit.journal.events import ConfigRead, RepositoryChanged, RepositoryRecord
from integralgit.location.git import GitError
from integralgit.location.mirror import Mirrors, Outdated
from integralgit.location.source import Source
from integralgit.names import Repository
from integralgit.processes.child import Exit
from integralgit.settings import Settings
from integralgit.testing import MemoryStore
from tests.archive import stored

SITE = Repository("github.com", "acme/site")
ONE, TWO = "1" * 40, "2" * 40
GOOD = json.dumps({"configs": {"web1": {"location": "/srv/site"}, "web2": {"branch": "main"}}})
BETTER = json.dumps({"configs": {"web1": {"location": "/srv/new"}}})
NO_LOCATION = "host web2, layer web2, key location: no location results"


class Refreshing(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        told = Delivery("github", "ping", "", SITE)
        self.successResultOf(self.memory.store.write(lambda tx: stored(tx, told)))
        self.memory.events.clear()
        self.texts: dict[str, str | Exception] = {}
        self.reads: list[str] = []

    async def read(self, commit: str) -> str:
        """The text of the config in a commit."""
        self.reads.append(commit)
        text = self.texts[commit]
        if isinstance(text, Exception):
            raise text
        return text

    def refreshing(
        self, commit: str | None, names: tuple[str, ...] = ("web1",)
    ) -> Deferred[RepositoryRecord]:
        """Look at the config of that commit."""
        configs = Configs(self.memory.store, names, lambda: 5.0)
        known = self.successResultOf(Deferred.fromCoroutine(configs.known(SITE)))
        return Deferred.fromCoroutine(configs.refresh(known, commit, self.read))

    def refresh(self, commit: str | None, names: tuple[str, ...] = ("web1",)) -> RepositoryRecord:
        """What is known after a look at the config of that commit, as the archive has it too."""
        record = self.successResultOf(self.refreshing(commit, names))
        configs = Configs(self.memory.store, names, lambda: 5.0)
        known = self.successResultOf(Deferred.fromCoroutine(configs.known(SITE)))
        self.assertEqual(record, known)
        return record

    def changes(self) -> int:
        """How often watchers heard of a change since the last time."""
        heard = len(self.memory.events) // 2
        told = [ConfigRead(str(SITE)), RepositoryChanged(str(SITE))] * heard
        self.assertEqual(self.memory.events, told)
        self.memory.events.clear()
        return heard

    def record(
        self,
        newest: tuple[str | None, str | None, str | None],
        good: tuple[str | None, str | None],
    ) -> RepositoryRecord:
        """A record with those values for the newest config and for the one in use."""
        return RepositoryRecord(str(SITE), *newest, *good, "github")

    def test_a_first_config(self) -> None:
        """A config that is read for the first time and is usable is in use from now on."""
        self.texts[ONE] = GOOD
        self.assertEqual(self.refresh(ONE), self.record((ONE, GOOD, None), (ONE, GOOD)))
        self.assertEqual((self.reads, self.changes()), ([ONE], 1))

    def test_a_known_commit(self) -> None:
        """A commit that is known is not read again, and nobody hears of it again."""
        self.texts[ONE] = GOOD
        first = self.refresh(ONE)
        self.changes()
        del self.texts[ONE]
        self.assertEqual(self.refresh(ONE), first)
        self.assertEqual((self.reads, self.changes()), ([ONE], 0))

    def test_a_known_commit_and_new_names(self) -> None:
        """A commit that is known is judged again for new names of this host, without being read."""
        self.texts[ONE] = GOOD
        self.refresh(ONE)
        broken = self.record((ONE, GOOD, NO_LOCATION), (ONE, GOOD))
        self.assertEqual(self.refresh(ONE, ("web2",)), broken)
        self.assertEqual(self.refresh(ONE, ("web1",)), self.record((ONE, GOOD, None), (ONE, GOOD)))
        self.assertEqual((self.reads, self.changes()), ([ONE], 3))

    def test_a_known_commit_that_new_names_can_use(self) -> None:
        """A config that was never usable is in use as soon as this host's names suit it."""
        self.texts[ONE] = GOOD
        broken = self.record((ONE, GOOD, NO_LOCATION), (None, None))
        self.assertEqual(self.refresh(ONE, ("web2",)), broken)
        self.assertEqual(self.refresh(ONE, ("web1",)), self.record((ONE, GOOD, None), (ONE, GOOD)))
        self.assertEqual(self.reads, [ONE])

    def test_a_broken_config(self) -> None:
        """While the newest config is broken the last good one stays in use, until a better one."""
        self.texts = {ONE: GOOD, TWO: "{"}
        self.refresh(ONE)
        for _ in range(2):
            record = self.refresh(TWO)
            self.assertIn("config is not JSON", record.config_error or "")
            self.assertEqual((record.config_commit, record.config_text), (TWO, "{"))
            self.assertEqual((record.good_commit, record.good_text), (ONE, GOOD))
        self.assertEqual(self.reads, [ONE, TWO])
        three = "3" * 40
        self.texts[three] = BETTER
        wanted = self.record((three, BETTER, None), (three, BETTER))
        self.assertEqual(self.refresh(three), wanted)

    def test_a_config_that_cannot_be_used_as_text(self) -> None:
        """A commit without a readable config is an error that keeps the last good one, read anew."""
        self.texts = {ONE: GOOD, TWO: ConfigError("the branch has no file `config`")}
        self.refresh(ONE)
        wanted = self.record((TWO, None, "the branch has no file `config`"), (ONE, GOOD))
        for _ in range(2):
            self.assertEqual(self.refresh(TWO), wanted)
        self.assertEqual((self.reads, self.changes()), ([ONE, TWO, TWO], 2))

    def test_git_that_fails(self) -> None:
        """Where git fails, that is the caller's to deal with, and what is known stays as it was."""
        self.texts = {ONE: GOOD, TWO: GitError("fetch", Exit(128, b"", b"fatal: no route"))}
        first = self.refresh(ONE)
        self.changes()
        self.failureResultOf(self.refreshing(TWO), GitError)
        self.assertEqual((self.refresh(ONE), self.changes()), (first, 0))

    def test_no_branch(self) -> None:
        """Without a config branch nothing is in use any more, and nothing is read."""
        nothing = self.record((None, None, None), (None, None))
        self.assertEqual((self.refresh(None), self.changes()), (nothing, 0))
        self.texts[ONE] = GOOD
        self.refresh(ONE)
        self.assertEqual((self.refresh(None), self.changes()), (nothing, 2))
        self.assertEqual(self.refresh(ONE), self.record((ONE, GOOD, None), (ONE, GOOD)))
        self.assertEqual(self.reads, [ONE, ONE])

    def test_a_broken_config_and_no_branch(self) -> None:
        """A broken config is cleared with its branch, and the last good one with it."""
        self.texts = {ONE: GOOD, TWO: "{"}
        self.refresh(ONE)
        self.refresh(TWO)
        self.assertEqual(self.refresh(None), self.record((None, None, None), (None, None)))

    def test_faults(self) -> None:
        """What is wrong with a config depends on the names of the host."""
        self.assertIsNone(fault(GOOD, ("web1",)))
        self.assertEqual(fault(GOOD, ("web1", "web2")), NO_LOCATION)
        self.assertIn("config is not JSON", fault("", ("web1",)) or "")


@define
class Moving(Mirrors):
    """Mirrors of a config branch that is at another commit whenever it is read but the last time."""

    commits: list[str] = field(factory=list)

    async def tip(self, source: Source) -> str | None:
        return self.commits[0]

    async def config(self, source: Source, commit: str) -> str:
        assert self.commits.pop(0) == commit
        if self.commits:
            raise Outdated(self.commits[0])
        return GOOD


class Looking(SynchronousTestCase):
    def test_a_config_that_moves_on(self) -> None:
        """What is read is the newest, however often it moves meanwhile."""
        memory = MemoryStore()
        told = Delivery("github", "ping", "", SITE)
        self.successResultOf(memory.store.write(lambda tx: stored(tx, told)))
        configs = Configs(memory.store, ("web1",), lambda: 1.0)
        nothing: Any = None
        mirrors = Moving(nothing, nothing, nothing, [ONE, TWO, "3" * 40])
        look = Looks(configs, mirrors, Settings()).look(SITE)
        record = self.successResultOf(Deferred.fromCoroutine(look))
        self.assertEqual((record.config_commit, record.good_text), ("3" * 40, GOOD))

    def test_a_repository_that_was_forgotten(self) -> None:
        """A look at one that something waits for, and that was forgotten all the same, finds it."""
        memory = MemoryStore()
        configs = Configs(memory.store, ("web1",), lambda: 1.0)
        nothing: Any = None
        mirrors = Moving(nothing, nothing, nothing, [ONE])
        look = Looks(configs, mirrors, Settings()).look(SITE)
        record = self.successResultOf(Deferred.fromCoroutine(look))
        self.assertEqual((record.repo, record.good_text), (str(SITE), GOOD))

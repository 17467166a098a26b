"""Tests of what is known of repositories: their configs, and their names."""

from __future__ import annotations

from functools import partial

from integralgit.hooks.delivery import Delivery
from integralgit.journal import deliveries, repositories
from integralgit.journal.deliveries import Decided
from integralgit.journal.events import ConfigRead, RepositoryChanged
from integralgit.names import Repository
from tests.archive import MemoryTestCase, queued, stored

SITE, OTHER = Repository("github.com", "acme/site"), Repository("github.com", "acme/other")
ONE, TWO = "1" * 40, "2" * 40


class Configs(MemoryTestCase):
    def hear(self, repo: Repository = SITE) -> None:
        """Know a repository."""
        self.write(lambda tx: repositories.hear_of(tx, str(repo), "github", 1.0))

    def set_config(self, commit: str | None, text: str | None, error: str | None) -> None:
        """Record a config of the repository."""
        self.write(lambda tx: repositories.set_config(tx, str(SITE), commit, text, error, 5.0))

    def record(self) -> tuple[str | None, ...]:
        """The newest config that was read, its error, and the one in use."""
        found = self.write(lambda tx: repositories.get(tx, str(SITE)))
        assert found is not None
        self.assertEqual(found.repo, str(SITE))
        newest = found.config_commit, found.config_text, found.config_error
        return (*newest, found.good_commit, found.good_text)

    def test_a_repository_never_heard_of(self) -> None:
        """Nothing is known of a repository that sent nothing."""
        self.hear(OTHER)
        self.assertIsNone(self.write(lambda tx: repositories.get(tx, str(SITE))))

    def test_forgetting_a_repository(self) -> None:
        """One of which something has come in, or waits, stays known; and is found again if not."""
        name = str(SITE)
        for what in (lambda tx: stored(tx, Delivery("github", "ping", "", SITE)), queued):
            self.write(lambda tx: repositories.hear_of(tx, name, "", 1.0))
            self.write(lambda tx: repositories.forget(tx, name))
            self.assertEqual(self.write(repositories.names), [])
            self.write(lambda tx: repositories.hear_of(tx, name, "", 1.0))
            self.write(what)
            self.write(lambda tx: repositories.forget(tx, name))
            self.assertEqual(self.write(repositories.names), [name])
            self.write(lambda tx: tx.execute("DELETE FROM deliveries"))
        self.write(lambda tx: stored(tx, Delivery("gitea", "ping", "", SITE)))
        self.write(lambda tx: tx.execute("DELETE FROM repositories"))
        found = self.write(lambda tx: repositories.known_again(tx, name, 2.0))
        self.assertEqual((found.repo, found.provider), (name, "gitea"))

    def test_the_kind_of_its_git_host(self) -> None:
        """It is the one that told last; a plain signed push, which any may send, changes none."""
        name = str(SITE)

        def heard(*kinds: str) -> str:
            told = [Decided(Delivery(kind, "push", "", SITE), "", "") for kind in kinds]
            self.write(lambda tx: deliveries.add(tx, told, 1.0))
            return self.write(lambda tx: repositories.known(tx, name)).provider

        self.write(lambda tx: repositories.hear_of(tx, name, "", 1.0))
        self.assertEqual(heard("generic"), "generic")
        self.assertEqual(heard("bitbucket-server", "generic"), "bitbucket-server")
        self.assertEqual(heard("generic"), "bitbucket-server")
        self.assertEqual(heard("generic", "gitea", "generic"), "gitea")
        self.write(lambda tx: tx.execute("DELETE FROM repositories"))
        found = self.write(lambda tx: repositories.known_again(tx, name, 2.0))
        self.assertEqual(found.provider, "gitea")

    def test_a_config_that_was_never_read(self) -> None:
        """Of a repository that is new, only the name is known."""
        self.hear()
        self.assertEqual(self.record(), (None, None, None, None, None))

    def test_the_last_good_one_stays_in_use(self) -> None:
        """While the newest config is broken, the last good one stays; a new good one replaces it."""
        self.hear()
        self.set_config(ONE, "good", None)
        self.set_config(TWO, "broken", "no location")
        self.assertEqual(self.record(), (TWO, "broken", "no location", ONE, "good"))
        self.set_config(TWO, "better", None)
        self.assertEqual(self.record(), (TWO, "better", None, TWO, "better"))

    def test_a_config_that_is_gone(self) -> None:
        """Without a config branch nothing is in use, whatever was before."""
        self.hear()
        self.set_config(ONE, "good", None)
        self.set_config(None, None, None)
        self.assertEqual(self.record(), (None, None, None, None, None))

    def test_watchers_hear_of_a_config(self) -> None:
        """Watchers hear that a config was read."""
        self.hear()
        self.events.clear()
        self.set_config(ONE, "good", None)
        told = [ConfigRead(str(SITE)), RepositoryChanged(str(SITE))]
        self.assertEqual(self.events, told)


class Names(MemoryTestCase):
    def hear_of(self, *repos: str) -> None:
        """Know these repositories."""
        for repo in repos:
            self.write(partial(repositories.hear_of, repo=repo, provider="", now=0.0))

    def called(self, name: str) -> list[str]:
        """The repositories that a name may mean."""
        return self.write(lambda tx: repositories.called(tx, name))

    def spelling(self, repo: str) -> str:
        """An identity as it is known."""
        return self.write(lambda tx: repositories.spelling(tx, repo))

    def test_a_shorter_name(self) -> None:
        """It means every repository of which it is the end, without regard to case."""
        self.hear_of("github.com/acme/site", "github.com/Other/Site", "git.test/acme/site")
        self.assertEqual(self.called("other/SITE"), ["github.com/Other/Site"])
        self.assertEqual(self.called("acme/site"), ["git.test/acme/site", "github.com/acme/site"])
        self.assertEqual(len(self.called("site")), 3)
        for name in ("ite", "", "github.com/acme"):
            self.assertEqual(self.called(name), [])

    def test_another_spelling(self) -> None:
        """An identity is one whatever its case, and keeps the spelling that is known."""
        self.hear_of("github.com/Acme/Site", "mirror.test/github.com/acme/site")
        self.assertEqual(self.called("github.com/acme/site"), ["github.com/Acme/Site"])
        self.assertEqual(self.spelling("github.com/acme/SITE"), "github.com/Acme/Site")
        self.assertEqual(self.spelling("github.com/acme/other"), "github.com/acme/other")

    def test_two_spellings_that_are_known(self) -> None:
        """Each of them is itself; any other means the one that was heard of last."""
        both = ["github.com/acme/site", "github.com/Acme/Site"]
        self.hear_of(*both)
        self.assertEqual([self.spelling(one) for one in both], both)
        self.assertEqual(self.spelling("github.com/ACME/site"), both[1])
        self.assertEqual([self.called("ACME/site"), self.called(both[0])], [[both[1]], [both[0]]])

    def test_case_that_tells_apart(self) -> None:
        """Repositories of hosts that tell names apart by case are not taken for each other."""
        both = ["git.test/acme/Site", "git.test/acme/site"]
        for repo in both:
            self.write(partial(repositories.hear_of, repo=repo, provider="generic", now=0.0))
        self.assertEqual(self.write(repositories.different), both)
        self.assertEqual(self.spelling("git.test/acme/SITE"), "git.test/acme/SITE")
        self.assertEqual([self.called(one) for one in both], [[both[0]], [both[1]]])
        self.assertEqual([self.called("git.test/acme/SITE"), self.called("SITE")], [both, both])

    def test_the_repositories_that_were_deployed_last(self) -> None:
        """They come first, as many as are asked for, and then those without a deploy."""
        for name in ("a", "b", "c", "d"):
            self.hear_of(f"github.com/acme/{name}")
        for name in ("c", "a", "c", "b"):
            repo = f"github.com/acme/{name}"
            self.write(partial(queued, repo=repo))
        latest = self.write(lambda tx: repositories.latest(tx, 3))
        self.assertEqual(latest, [f"github.com/acme/{name}" for name in "bca"])
        self.assertEqual(len(self.write(lambda tx: repositories.latest(tx, 9))), 4)

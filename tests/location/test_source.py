"""Where a repository comes from, and which remotes are that place."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.source import Source, source_of
from integralgit.names import Repository
from integralgit.settings import Trust

SITE = Repository("github.com", "acme/site")


def trust(url: str | None = None) -> Trust:
    """A trust with that URL."""
    return Trust(("a.secret",), ("**",), url=url)


class SourceOfTests(SynchronousTestCase):
    def test_by_the_identity(self) -> None:
        """Without a URL of the administrator, the identity says where to fetch from."""
        for trusts in ([], [trust()], [trust(), trust()]):
            self.assertEqual(
                source_of(SITE, trusts), Source(SITE, "https://github.com/acme/site.git")
            )

    def test_by_the_kind_of_git_host(self) -> None:
        """The kind of git host says where below the host the repository is."""
        one = Repository("git.example.com", "P/site")
        self.assertEqual(
            source_of(one, [trust()], "bitbucket-server"),
            Source(one, "https://git.example.com/scm/P/site.git", "bitbucket-server"),
        )
        ours = source_of(one, [trust("/srv/git/{name}.git")], "bitbucket-server")
        self.assertEqual(ours, Source(one, "/srv/git/site.git", "bitbucket-server"))

    def test_by_the_first_trust_with_a_url(self) -> None:
        """The first trust that sets a URL says where to fetch from."""
        trusts = [trust(), trust("git@key-host:{full_name}.git"), trust("/srv/git/{name}.git")]
        self.assertEqual(source_of(SITE, trusts).url, "git@key-host:acme/site.git")


class ProtocolTests(SynchronousTestCase):
    def test_https_and_ssh(self) -> None:
        """Git may use https and ssh, and nothing else (threat 28)."""
        for url in (
            "https://github.com/acme/site.git",
            "git@github.com:acme/site.git",
            "ssh://git@github.com/acme/site.git",
            "ext::sh -c x",
            "git://github.com/acme/site",
        ):
            self.assertEqual(Source(SITE, url).protocols, "https:ssh", url)

    def test_what_the_administrators_url_needs(self) -> None:
        """A local path allows files, and plain http that protocol."""
        self.assertEqual(Source(SITE, "/srv/git/site.git").protocols, "https:ssh:file")
        self.assertEqual(Source(SITE, "file:///srv/git/site.git").protocols, "https:ssh:file")
        self.assertEqual(Source(SITE, "http://127.0.0.1/site.git").protocols, "https:ssh:http")


class ServedByTests(SynchronousTestCase):
    def test_a_remote_that_names_the_same_repository(self) -> None:
        """A checkout keeps its own remote if that names the repository, in any spelling."""
        source = source_of(SITE, [])
        for remote in (
            "https://github.com/acme/site.git",
            "https://github.com/acme/site",
            "https://github.com/Acme/Site.git",
            "git@github.com:acme/site.git",
            "ssh://git@github.com/acme/site.git",
        ):
            self.assertTrue(source.is_served_by(remote), remote)

    def test_the_trusts_url_word_for_word(self) -> None:
        """A remote that is the trust's URL is right, whatever its form."""
        for url in ("/srv/git/{name}.git", "http://127.0.0.1/{full_name}", "key-host:{name}"):
            source = source_of(SITE, [trust(url)])
            self.assertTrue(source.is_served_by(source.url), url)
            self.assertTrue(source.is_served_by("git@github.com:acme/site.git"))

    def test_another_place(self) -> None:
        """A remote of another repository, host or protocol is another place (threat 56)."""
        for url in (None, "/srv/git/{name}.git"):
            source = source_of(SITE, [trust(url)])
            for remote in (
                "",
                "https://github.com/acme/other.git",
                "https://github.com/other/site.git",
                "https://github.com.evil.example/acme/site.git",
                "https://github.com@evil.example/acme/site.git",
                "https://github.com:8443/acme/site.git",
                "http://github.com/acme/site.git",
                "git://github.com/acme/site.git",
                "file:///srv/git/site.git",
                "/srv/git/site.git/",
                "/srv/git/other.git",
                "../site.git",
                "ext::sh -c x github.com/acme/site",
            ):
                self.assertFalse(source.is_served_by(remote), remote)

    def test_the_path_of_bitbucket_data_center(self) -> None:
        """With Bitbucket Data Center, `scm/` before the path is not part of the repository's name."""
        one = Repository("git.example.com", "P/site")
        for remote in (
            "https://git.example.com/scm/P/site",
            "https://ann@git.example.com/scm/p/site.git",
            "ssh://git@git.example.com:7999/P/site.git",
        ):
            self.assertTrue(source_of(one, [], "bitbucket-server").is_served_by(remote), remote)
        other = "https://git.example.com/scm/other/site.git"
        self.assertFalse(source_of(one, [], "bitbucket-server").is_served_by(other))

    def test_scm_elsewhere(self) -> None:
        """Elsewhere `scm` is an owner, and what is below it is another repository."""
        one = Repository("git.example.com", "P/site")
        for provider in ("", "github", "gitlab", "gitea", "bitbucket"):
            source = source_of(one, [], provider)
            self.assertFalse(source.is_served_by("https://git.example.com/scm/P/site"), provider)
            owned = source_of(Repository("github.com", "scm/site"), [], provider)
            self.assertTrue(owned.is_served_by("git@github.com:scm/site.git"), provider)
            self.assertFalse(owned.is_served_by("git@github.com:site.git"), provider)

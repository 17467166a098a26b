"""Where a repository is fetched from, and which remotes of a checkout are that same place.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from integralgit.names import Repository, https_url, repository_of_url
from integralgit.settings import Trust


class Source(msgspec.Struct, frozen=True):
    """A repository's URL for new clones; `provider` is the kind of git host, as in `hooks`."""

    repo: Repository
    url: str
    provider: str = ""

    @property
    def protocols(self) -> str:
        """Https and ssh, and besides only what the administrator's own URL needs."""
        if self.url.startswith(("/", "file://")):
            return "https:ssh:file"
        if self.url.startswith("http://"):
            return "https:ssh:http"
        return "https:ssh"

    def is_served_by(self, remote_url: str) -> bool:
        """Whether a checkout's remote is this repository."""
        if remote_url == self.url:
            return True
        named = repository_of_url(remote_url)
        if named is None or named.host != self.repo.host:
            return False
        name = named.full_name.lower()
        if self.provider == "bitbucket-server" and remote_url.startswith("https:"):
            name = name.removeprefix("scm/")
        return name == self.repo.full_name.lower()


def source_of(repo: Repository, trusts: Sequence[Trust], provider: str = "") -> Source:
    """The source by the first trust that sets a URL; or by the identity, as that kind of host has it."""
    urls = (trust.clone_url(repo) for trust in trusts)
    url = next(filter(None, urls), None) or https_url(repo, provider)
    return Source(repo, url, provider)

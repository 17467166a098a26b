"""Where a repository is fetched from, and which remotes of a checkout are that same place.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from integralgit.names import Repository, https_url, repository_of_url
from integralgit.settings import Trust


@frozen
class Source:
    """A repository's URL for new clones, and the protocols that git may use for it."""

    repo: Repository
    url: str

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
        return named is not None and str(named).lower() == str(self.repo).lower()


def source_of(repo: Repository, trusts: Sequence[Trust]) -> Source:
    """The source by the first trust that sets a URL, or by the identity."""
    for trust in trusts:
        if trust.url is not None:
            return Source(repo, trust.clone_url(repo))
    return Source(repo, https_url(repo))

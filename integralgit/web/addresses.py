"""The URLs under which people and git hosts find what this server has to show."""

from __future__ import annotations

from urllib.parse import quote

from attrs import define

from integralgit.journal.events import Deploy


def deploy_path(repo: str, deploy: int) -> str:
    """The path of a deploy's page."""
    return f"{repository_path(repo)}/deploys/{deploy}"


def repository_path(repo: str) -> str:
    """The path of a repository's page; the identity is its name there."""
    return "/" + quote(repo, safe="/~:")


@define
class Addresses:
    """Absolute URLs; `base` has no trailing slash and may be set once the port is known."""

    base: str

    def deploy(self, deploy: Deploy) -> str:
        """The URL of a deploy's page."""
        return self.base + deploy_path(deploy.repo, deploy.id)

    def repository(self, repo: str) -> str:
        """The URL of a repository's page."""
        return self.base + repository_path(repo)

    @property
    def hook(self) -> str:
        """The URL to enter at the git host."""
        return self.base + "/update"

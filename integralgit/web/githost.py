"""Where a git host shows a commit and a comparison, by its kind.  Pure.

The kinds are the providers of `hooks`; for a kind that is not known there is
no link rather than a wrong one.
"""

from __future__ import annotations

from urllib.parse import quote

from integralgit.names import Repository, parse_repository

#: The paths behind the repository's own page: of a commit, and of what one commit has beyond another.
_PATHS = {
    "github": ("/commit/{0}", "/compare/{0}...{1}"),
    "gitea": ("/commit/{0}", "/compare/{0}...{1}"),
    "forgejo": ("/commit/{0}", "/compare/{0}...{1}"),
    "gogs": ("/commit/{0}", "/compare/{0}...{1}"),
    "gitlab": ("/-/commit/{0}", "/-/compare/{0}...{1}"),
    "bitbucket": ("/commits/{0}", "/branches/compare/{1}..{0}"),
    "bitbucket-server": ("/commits/{0}", "/compare/commits?targetBranch={0}&sourceBranch={1}"),
    "azure": ("/commit/{0}", "/branchCompare?baseVersion=GC{0}&targetVersion=GC{1}"),
    "sourcehut": ("/commit/{0}", None),
}


#: What the well-known hosts are, where no delivery has told yet.
_KINDS = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "bitbucket.org": "bitbucket",
    "codeberg.org": "forgejo",
    "dev.azure.com": "azure",
    "git.sr.ht": "sourcehut",
}


def _page(repo: Repository, provider: str) -> str:
    names = [quote(name, safe="~") for name in repo.full_name.split("/")]
    if provider == "bitbucket-server" and len(names) == 2:
        names = ["projects", names[0], "repos", names[1]]
    elif provider == "azure" and len(names) == 3:
        names = [*names[:2], "_git", names[2]]
    return f"https://{repo.host}/{'/'.join(names)}"


def links(
    identity: str, provider: str, commit: str | None, before: str | None
) -> dict[str, str | None]:
    """The pages of a commit, and of what it has beyond an earlier one; None where there is none."""
    repo = parse_repository(identity)
    kind = _KINDS.get(repo.host, provider)
    one, two = _PATHS.get(kind, (None, None))
    page = _page(repo, kind)
    return {
        "commit": page + one.format(commit) if one and commit else None,
        "compare": page + two.format(before, commit)
        if two and commit and before and before != commit
        else None,
    }


def commit_link(identity: str, provider: str, commit: str) -> str | None:
    """The page of one commit, or None."""
    return links(identity, provider, commit, None)["commit"]

"""All SQL about repositories: those heard of, their names, their configs, where their branches are."""

from __future__ import annotations

from integralgit.hooks.generic import GENERIC
from integralgit.journal.events import ConfigRead, RepositoryChanged, RepositoryRecord
from integralgit.journal.store import Transaction

#: The kinds of git hosts at which names that differ in case are of different repositories:
#: folders of bare repositories, and sourcehut.
_BY_CASE = ("generic", "sourcehut")


def get(tx: Transaction, repo: str) -> RepositoryRecord | None:
    """What is known of a repository's config, or None for one never heard of."""
    row = tx.one(
        "SELECT repo, config_commit, config_text, config_error, good_commit, good_text,"
        " provider FROM repositories WHERE repo = ?",
        (repo,),
    )
    return RepositoryRecord(*row) if row else None


def known(tx: Transaction, repo: str) -> RepositoryRecord:
    """The same of a repository that was heard of."""
    found = get(tx, repo)
    assert found is not None
    return found


def kind_after(known: str, told: str) -> str:
    """The kind of git host of a repository of which that kind has told; empty where none is known.

    A plain signed push may come from any: it takes no place of a kind that says more.
    """
    return known if known and told in ("", GENERIC.name) else told


def hear_of(tx: Transaction, repo: str, provider: str, now: float) -> bool:
    """Know a repository from now on, and the kind of git host that told of it, if one did.

    True where it was not known before.
    """
    known = tx.one("SELECT provider FROM repositories WHERE repo = ?", (repo,))
    is_new = known is None
    if known is None:
        tx.execute(
            "INSERT INTO repositories (repo, first_seen, provider) VALUES (?, ?, ?)",
            (repo, now, provider),
        )
    elif (kind := kind_after(known[0], provider)) != known[0]:
        tx.execute("UPDATE repositories SET provider = ? WHERE repo = ?", (kind, repo))
    if is_new or provider:
        tx.emit(RepositoryChanged(repo))
    return is_new


def known_again(tx: Transaction, repo: str, now: float) -> RepositoryRecord:
    """The same of one that may have been forgotten too early, as earlier versions did."""
    row = tx.one(
        "SELECT provider FROM deliveries WHERE repo = ? ORDER BY provider = ?, id DESC LIMIT 1",
        (repo, GENERIC.name),
    )
    hear_of(tx, repo, row[0] if row else "", now)
    return known(tx, repo)


def forget(tx: Transaction, repo: str) -> None:
    """Know nothing more of a repository, unless something of it has come in, or is deployed."""
    tx.execute(
        "DELETE FROM repositories WHERE repo = ?1"
        " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE repo = ?1)"
        " AND NOT EXISTS (SELECT 1 FROM deploys WHERE repo = ?1)",
        (repo,),
    )
    tx.emit(RepositoryChanged(repo))


def called(tx: Transaction, name: str) -> list[str]:
    """The identities of the repositories that a name may mean, whatever its case.

    The one that has that identity, or else all of which it is the end. A name of
    three parts that begins with a host is an identity in full, and no end.
    """
    if get(tx, name) is not None:
        return [name]
    wanted, known = name.lower(), different(tx)
    found = [repo for repo in known if repo.lower() == wanted]
    host, *rest = wanted.split("/")
    if not found and not (len(rest) > 1 and "." in host):
        found = [repo for repo in known if repo.lower().endswith(f"/{wanted}")]
    return sorted(found)


def spelling(tx: Transaction, repo: str, provider: str = "") -> str:
    """An identity as it is known already, or as it is given where none is known that only case tells apart.

    Where git hosts of that kind tell names apart by case, one that no host
    has told of yet is another one.
    """
    if get(tx, repo) is not None:
        return repo
    found = _spellings(tx).get((repo.lower(), False), repo)
    if provider in _BY_CASE and found != repo and not known(tx, found).provider:
        return repo
    return found


def different(tx: Transaction) -> list[str]:
    """The identities of all repositories heard of that are not the same in another case.

    Of those, the one that was heard of last: most git hosts may change the
    case of a name, and take any.
    """
    return [*_spellings(tx).values()]


def _spellings(tx: Transaction) -> dict[tuple[str, bool], str]:
    """The identities by what tells them apart, and whether that has their case."""
    rows = tx.execute("SELECT repo, provider FROM repositories ORDER BY rowid")
    return {
        (repo, True) if provider in _BY_CASE else (repo.lower(), False): repo
        for repo, provider in rows
    }


def names(tx: Transaction) -> list[str]:
    """The identities of all repositories heard of, in alphabetical order."""
    return [repo for (repo,) in tx.execute("SELECT repo FROM repositories ORDER BY repo")]


def latest(tx: Transaction, limit: int) -> list[str]:
    """The identities of so many repositories, those that were deployed last first."""
    rows = tx.execute(
        "SELECT repo, (SELECT max(id) FROM deploys WHERE deploys.repo = known.repo) AS newest"
        " FROM repositories AS known ORDER BY newest DESC, repo LIMIT ?",
        (limit,),
    )
    return [repo for repo, _ in rows]


def set_config(
    tx: Transaction, repo: str, commit: str | None, text: str | None, error: str | None, now: float
) -> None:
    """Record the newest config that was read; a usable one also becomes the one in use.

    A repository without a config branch has neither commit nor text, and then
    nothing is in use.
    """
    tx.execute(
        "UPDATE repositories SET config_commit = ?, config_text = ?, config_error = ?,"
        " config_seen = ? WHERE repo = ?",
        (commit, text, error, now, repo),
    )
    if error is None:
        tx.execute(
            "UPDATE repositories SET good_commit = ?, good_text = ? WHERE repo = ?",
            (commit, text, repo),
        )
    tx.emit(ConfigRead(repo))
    tx.emit(RepositoryChanged(repo))


def see(tx: Transaction, repo: str, branch: str, commit: str) -> None:
    """A branch of a repository is at that commit, as far as we know."""
    tx.execute(
        "INSERT INTO tips (repo, branch, commit_id) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET commit_id = excluded.commit_id",
        (repo, branch, commit),
    )


def seen(tx: Transaction, repo: str, branch: str) -> str | None:
    """The commit at which a branch was last known to be, or None."""
    row = tx.one("SELECT commit_id FROM tips WHERE repo = ? AND branch = ?", (repo, branch))
    return row[0] if row else None

"""What an event gives others to be told: written to the outbox in the event's own transaction.

A function of the database, run in its thread: it asks nobody, and reads only
what the archive holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from attrs import frozen

from integralgit.journal import deploys, history, outbox, repositories
from integralgit.journal.events import (
    ConfigRead,
    Deploy,
    DeployChanged,
    Event,
    State,
    Trigger,
)
from integralgit.journal.store import Transaction
from integralgit.names import parse_repository
from integralgit.receivers import Forge, Notify
from integralgit.report import words
from integralgit.report.statuses import Shipment, Status
from integralgit.report.words import Message

#: What a subject begins with: what kind of value is wanted.
STATUS, DEPLOYMENT, MESSAGE = "status", "deployment", "message"


def forge_queue(host: str) -> str:
    """The name of a git host's queue."""
    return f"forge {host}"


def notify_queue(name: str) -> str:
    """The name of the queue of a `[[notify]]`."""
    return f"notify {name}"


def encode(value: Status | Shipment | Message) -> str:
    """A value as the outbox keeps it."""
    return msgspec.json.encode(value).decode()


@frozen
class Recorder:
    """Sees every event; `url` gives the page of a deploy, `repo_url` that of a repository."""

    forges: tuple[Forge, ...]
    notifies: tuple[Notify, ...]
    host_names: tuple[str, ...]
    url: Callable[[Deploy], str]
    repo_url: Callable[[str], str]
    now: Callable[[], float]

    def __call__(self, tx: Transaction, event: Event) -> None:
        """Write down what follows from an event."""
        if isinstance(event, DeployChanged):
            deploy = deploys.get(tx, event.deploy)
            if deploy is not None:
                self._deploy(tx, deploy)
        elif isinstance(event, ConfigRead):
            self._config(tx, event.repo)

    def _deploy(self, tx: Transaction, deploy: Deploy) -> None:
        forge = self._forge(deploy.repo)
        if forge is not None:
            self._statuses(tx, forge, deploy)
            if forge.deployments and deploy.host is not None:
                self._deployment(tx, forge, deploy)
        if deploy.state is State.QUEUED and deploy.trigger is Trigger.POLL:
            self._silence(tx, deploy)
        if deploy.state in (State.SUCCEEDED, State.FAILED, State.TIMED_OUT):
            self._result(tx, deploy)

    def _forge(self, repo: str) -> Forge | None:
        return next((one for one in self.forges if one.covers(repo)), None)

    # Statuses of commits

    def _statuses(self, tx: Transaction, forge: Forge, deploy: Deploy) -> None:
        """The status of the deploy's commit, and of one that it was to deploy, but did not."""
        host = deploy.host
        if host is None and deploy.state is State.FAILED:
            host = self.host_names[0]
        if host is None:
            return
        commit = deploy.commit or deploy.wanted
        queue = forge_queue(forge.host)
        if commit is not None:
            said = outbox.get(tx, queue, self._subject(deploy.repo, commit, host))
            if said is not None or not _came_to_nothing(deploy):
                one = history.telling(tx, deploy.repo, host, commit) or deploy
                self._status(tx, forge, one, commit, host)
        if deploy.commit is not None:
            for item in outbox.of_deploy(tx, deploy.id):
                if item.receiver == queue and item.subject.startswith(f"{STATUS} "):
                    # The name of a repository may hold spaces, what is behind it does not.
                    _, told, context = item.subject.rsplit(" ", 2)
                    if (told, context) != (commit, _context(host)):
                        before = context.removeprefix(_context(""))
                        self._passed_over(tx, forge, deploy, told, before)

    def _passed_over(
        self, tx: Transaction, forge: Forge, deploy: Deploy, commit: str, host: str
    ) -> None:
        """A commit or host that was announced, but is not what was deployed, gets its end, too."""
        other = history.telling(tx, deploy.repo, host, commit)
        if other is not None:
            self._status(tx, forge, other, commit, host)
            return
        newer = f"{(deploy.commit or '')[:12]}, which is newer"
        goal = newer if commit != deploy.commit else f"{deploy.host}, which has its location now"
        text = f"{words.what(deploy)} went on to {goal}"
        self._want_status(tx, forge, deploy, commit, host, State.SUPERSEDED, text)

    def _status(self, tx: Transaction, forge: Forge, one: Deploy, commit: str, host: str) -> None:
        self._want_status(tx, forge, one, commit, host, one.state, words.describe(one))

    def _want_status(
        self,
        tx: Transaction,
        forge: Forge,
        one: Deploy,
        commit: str,
        host: str,
        state: State,
        text: str,
    ) -> None:
        name = parse_repository(one.repo).full_name
        status = Status(name, commit, _context(host), state, text, self.url(one))
        outbox.want(
            tx,
            receiver=forge_queue(forge.host),
            subject=self._subject(one.repo, commit, host),
            repo=one.repo,
            deploy=one.id,
            wanted=encode(status),
            now=self.now(),
        )

    def _subject(self, repo: str, commit: str, host: str) -> str:
        return f"{STATUS} {repo} {commit} {_context(host)}"

    def _config(self, tx: Transaction, repo: str) -> None:
        """The status of the newest commit of the config's own branch: fine, or what is wrong."""
        forge, record = self._forge(repo), repositories.get(tx, repo)
        if forge is None or record is None or record.config_commit is None:
            return
        error = record.config_error
        for host in self.host_names:
            status = Status(
                parse_repository(repo).full_name,
                record.config_commit,
                _context(host),
                State.FAILED if error else State.SUCCEEDED,
                error or "The config is fine",
                self.repo_url(repo),
            )
            outbox.want(
                tx,
                receiver=forge_queue(forge.host),
                subject=self._subject(repo, record.config_commit, host),
                repo=repo,
                deploy=None,
                wanted=encode(status),
                now=self.now(),
            )

    # Deployments

    def _deployment(self, tx: Transaction, forge: Forge, deploy: Deploy) -> None:
        """A deploy as the git host shows it, from the moment at which its commit is known."""
        queue, subject = forge_queue(forge.host), f"{DEPLOYMENT} {deploy.id} {deploy.commit}"
        for item in outbox.of_deploy(tx, deploy.id):
            if item.subject.startswith(f"{DEPLOYMENT} ") and item.subject != subject:
                self._want_deployment(tx, queue, item.subject, deploy, State.SUPERSEDED)
        if deploy.commit is not None:
            self._want_deployment(tx, queue, subject, deploy, deploy.state)

    def _want_deployment(
        self, tx: Transaction, queue: str, subject: str, deploy: Deploy, state: State
    ) -> None:
        assert deploy.host is not None
        shipment = Shipment(
            parse_repository(deploy.repo).full_name,
            subject.split(" ")[2],
            deploy.host,
            state,
            words.describe(deploy),
            self.url(deploy),
        )
        outbox.want(
            tx,
            receiver=queue,
            subject=subject,
            repo=deploy.repo,
            deploy=deploy.id,
            wanted=encode(shipment),
            now=self.now(),
        )

    # Messages

    def _result(self, tx: Transaction, deploy: Deploy) -> None:
        """A deploy succeeded or failed: whether that is news depends on the one before it."""
        before = history.result_before(tx, deploy)
        was_bad = before is not None and before.state is not State.SUCCEEDED
        if deploy.state is not State.SUCCEEDED:
            is_known = was_bad and deploy.trigger is not Trigger.ROLLBACK
            events = [] if is_known else [words.FAILED]
        else:
            events = [words.RECOVERED, words.SUCCEEDED] if was_bad else [words.SUCCEEDED]
        for one in self.notifies:
            told = [event for event in events if event in one.events]
            if told and one.covers(deploy.repo):
                message = self._message(deploy, told[0], one)
                self._want_message(tx, one, deploy.repo, deploy.id, message)

    def _message(self, deploy: Deploy, event: str, one: Notify) -> Message:
        url, at = self.url(deploy), deploy.finished or 0.0
        return Message(
            _identity(url, deploy.created, event, one.name),
            event,
            at,
            words.title(deploy, event),
            words.text(deploy, event),
            url,
            words.facts(deploy, url),
        )

    def _silence(self, tx: Transaction, deploy: Deploy) -> None:
        """A push was found by looking: that the hook may be broken is told once, until it works."""
        repo, now = deploy.repo, self.now()
        told = [one for one in self.notifies if words.HOOK_SILENT in one.events]
        told = [one for one in told if one.covers(repo)]
        if not told or not outbox.tell_of_silence(tx, repo, now):
            return
        url = self.repo_url(repo)
        for one in told:
            message = Message(
                _identity(url, now, words.HOOK_SILENT, one.name),
                words.HOOK_SILENT,
                now,
                f"The webhook of {repo} may be broken",
                f"{(deploy.wanted or '')[:12]} of {deploy.branch} was found by looking;"
                " no delivery has told of it",
                url,
                {"repo": repo, "branch": deploy.branch, "commit": deploy.wanted, "url": url},
            )
            self._want_message(tx, one, repo, deploy.id, message)

    def _want_message(
        self, tx: Transaction, one: Notify, repo: str, deploy: int, message: Message
    ) -> None:
        outbox.want(
            tx,
            receiver=notify_queue(one.name),
            subject=f"{MESSAGE} {message.id}",
            repo=repo,
            deploy=deploy,
            wanted=encode(message),
            now=self.now(),
        )


def _context(host: str) -> str:
    return f"integralgit/{host}"


def _came_to_nothing(deploy: Deploy) -> bool:
    """Whether a deploy ended before it began, and there is nothing new to tell of its commit."""
    return deploy.state in (State.SUPERSEDED, State.SKIPPED) or (
        deploy.state is State.CANCELLED and deploy.started is None
    )


def _identity(*parts: object) -> str:
    """A name for ever, and the same however often it is made of the same parts."""
    text = "\n".join(map(str, parts))
    return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:32]}"

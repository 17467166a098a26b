"""A server that reports, to a receiver of the test's own."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.harness import Daemon, Integration, eventually
from tests.integration.receiver import Receiver

SITE = "/github.com/acme/site"
TOKEN, CHAT, SECRET = "canary-token-4711", "/canary/chat", "canary-secret-4711"
SCRIPT = "#!/bin/sh\ntest ! -e ../fail\n"


class Reporting(Integration):
    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver()
        self.addCleanup(self.close)
        base = {"location": str(self.folder / "www"), "branch": "main", "script": "./deploy.sh"}
        self.config = self.upstream.configure({"configs": {"base": base}})
        self.commit = self.upstream.commit({"deploy.sh": SCRIPT})

    def close(self) -> None:
        """Close the receiver of now."""
        self.receiver.close()

    def start(self, **more: Any) -> Daemon:
        """A server with a token and the URL of a chat in files."""
        folder = self.folder / "server"
        folder.mkdir()
        (folder / "token").write_text(f"{TOKEN}\n")
        (folder / "chat").write_text(f"{self.receiver.url}{CHAT}\n")
        (folder / "secret").write_text(f"{SECRET}\n")
        forge: dict[str, Any] = {"host": "github.com", "token_file": "token"}
        forge |= {"api": self.receiver.url}
        forge |= {"allow_http": True, "deployments": False, **more}
        chat = {"form": "slack", "url_file": "chat", "allow_http": True}
        program = {
            "form": "json",
            "url": f"{self.receiver.url}/program",
            "secret_file": "secret",
            "allow_http": True,
            "events": ["failed", "recovered", "succeeded"],
        }
        tables: list[tuple[str, dict[str, Any]]] = [
            ("forge", forge),
            ("notify", chat),
            ("notify", program),
        ]
        text = "".join(
            f"[[{name}]]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in table.items())
            for name, table in tables
        )
        return self.daemon(text)

    def push(self, daemon: Daemon, **files: str) -> str:
        """Push a commit; the commit."""
        commit = self.upstream.commit({"deploy.sh": SCRIPT, **files}, message=f"Change {files}")
        daemon.push(commit)
        return commit

    def told(self, commit: str, state: str) -> list[str]:
        """The states that the git host was told of a commit, once that is the last of them."""

        def look() -> list[str] | None:
            states = self.receiver.states(commit)
            return states if states[-1:] == [state] else None

        return eventually(look, f"{commit} is told to be {state}")

"""What a script costs that prints a million lines, with nobody and with many watching."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

from attrs import define, field

from benchmarks.measure import Goal, Result, Series, number, turns
from benchmarks.stage import Server, Shell, Signal, Upstream, running

GROUP = "output"
LINES = 1_000_000
ROUNDS = 3
#: Lines of 100 bytes with their line break, 10 MB in all.
LOG = "yes {line} | head -n 100000".format(line="x" * 99)


@define
class Viewers:
    """Connections that read what is printed as it comes, in a process of their own."""

    _process: subprocess.Popen[str] = field(init=False)

    @classmethod
    def of(cls, server: Server, path: str, count: int) -> Viewers:
        """So many viewers of a path, all connected."""
        viewers = cls()
        viewers._process = subprocess.Popen(
            [sys.executable, __file__, str(server.port), server.daemon.token(), path, str(count)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert viewers._process.stdout is not None
        viewers._process.stdout.readline()
        return viewers

    def seen(self) -> list[tuple[int, int]]:
        """What each has seen once all have ended: the bytes of the body, and their checksum."""
        told, _ = self._process.communicate(timeout=120)
        return [(int(a), int(b)) for a, b in (line.split() for line in told.splitlines())]


@define
class Stage:
    """A script that prints when it is told to, and another one that goes to a file."""

    folder: Path
    server: Server
    upstream: Upstream
    began: Signal
    ended: Signal
    shell: Shell

    def deployed(self, viewers: int, view: str) -> tuple[float, float]:
        """The seconds of the script in a deploy that so many watch, and of the server's processor."""
        commit = self.upstream.commit({"x": os.urandom(8).hex().encode()})
        before = self.server.cpu()
        gate = self.folder / "gate"
        if viewers:
            os.mkfifo(gate)
        assert self.server.prepare("site", commit).send(self.server.port) == 202
        watching = None
        if viewers:
            (deploy,) = self.server.deploys("site", 1)
            path = f"/github.com/acme/site/deploys/{deploy['id']}/{view}"
            watching = Viewers.of(self.server, path, viewers)
            gate.write_bytes(b"go\n")
        start = self.began.wait()
        took = self.ended.wait() - start
        if watching is not None:
            watching.seen()
            gate.unlink()
        number = self.server.ended("site", commit)
        used = self.server.cpu() - before
        last = self.server.daemon.log(number).rstrip().splitlines()
        if f"line {LINES}" not in last:
            raise RuntimeError("the log has not every line")
        return took, used

    def redirected(self) -> float:
        """The seconds of the script with its output in a file."""
        gate = self.folder / "gate"
        gate.unlink(missing_ok=True)
        self.shell.type(f"{self.folder}/www/deploy.sh > {self.folder}/file")
        start = self.began.wait()
        return self.ended.wait() - start


def script(folder: Path, began: Signal, ended: Signal) -> bytes:
    """Waits at a gate, if there is one, and prints the lines, each by a write of its own."""
    return (
        f"#!/bin/sh\n[ -p {folder}/gate ] && cat {folder}/gate\n{began.command}\n"
        f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done\n{ended.command}\n"
    ).encode()


def run(folder: Path) -> list[Result]:
    """Nobody, 1, 10 and 200 viewers, and then whether each of 200 has seen every byte."""
    upstream = Upstream.make(folder / "githost", "site")
    began, ended = Signal(folder / "began"), Signal(folder / "ended")
    upstream.commit({"deploy.sh": script(folder, began, ended)})
    base = {"location": str(folder / "www"), "script": "./deploy.sh", "branch": "main"}
    upstream.configure({"configs": {"base": base}})
    results = []
    with running(Server(folder / "server", folder / "githost")) as server:
        assert server.push("site", upstream.tip())
        began.wait(), ended.wait()
        shell = Shell()
        stage = Stage(folder, server, upstream, began, ended, shell)
        used: dict[int, list[float]] = {}

        def with_viewers(count: int, view: str) -> float:
            took, cpu = stage.deployed(count, view)
            used.setdefault(count, []).append(cpu)
            return took

        lines = "events?view=lines"
        measured = turns(
            ROUNDS,
            lambda _: stage.redirected(),
            lambda _: with_viewers(0, lines),
            lambda _: with_viewers(1, lines),
            lambda _: with_viewers(10, lines),
            lambda _: with_viewers(200, lines),
        )
        file = measured[0]
        against = f"`script > file`: {file.told('s')}"
        goals = {0: Goal(1.05), 1: None, 10: None, 200: Goal(1.3)}
        for (count, goal), series in zip(goals.items(), measured[1:], strict=True):
            cpu = Series(tuple(used[count]))
            who = f"{count} pages watch" if count else "nobody watches"
            what = f"a script that prints 1,000,000 lines, {who}"
            note = f"the server used {number(cpu.median)} s of processor time"
            figure = series.median / file.median
            results.append(Result(what, series.told("s"), against, figure, goal, note))
            if not count:
                what = "the server's processor time for that deploy"
                results.append(Result(what, cpu.told("s"), "", cpu.median, Goal(0.1, "s")))
        shell.leave()
        results += complete(folder, server, upstream)
    return results


def complete(folder: Path, server: Server, upstream: Upstream) -> list[Result]:
    """Whether 200 readers of a log of 10 MB get every byte of it while it grows."""
    upstream.commit({"deploy.sh": f"#!/bin/sh\ncat {folder}/gate\n{LOG}\n".encode()})
    gate = folder / "gate"
    os.mkfifo(gate)
    commit = upstream.tip()
    assert server.prepare("site", commit).send(server.port) == 202
    (deploy,) = server.deploys("site", 1)
    path = f"/github.com/acme/site/deploys/{deploy['id']}/log?follow=1"
    viewers = Viewers.of(server, path, 200)
    gate.write_bytes(b"go\n")
    server.ended("site", commit)
    seen = viewers.seen()
    log = (server.daemon.state / "logs" / f"{deploy['id']}.log").read_bytes()
    right = sum(one == (len(log), zlib.crc32(log)) for one in seen)
    what = f"200 readers of a log of {len(log) / 1e6:.0f} MB while it grows: who has every byte"
    return [Result(what, f"{right} of {len(seen)}", "", right, Goal(200, at_least=True))]


def watch(port: int, token: str, path: str, count: int) -> None:
    """Be so many viewers; prints a line once all have the head of their answer, then what each saw."""
    import select
    import socket

    head = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    poll = select.epoll()
    sockets, seen, began = {}, {}, set()
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(head.encode())
        sockets[connection.fileno()] = connection
        seen[connection.fileno()] = (0, 0)
        poll.register(connection.fileno(), select.EPOLLIN)
    buffer = bytearray(1 << 20)
    all_began = False
    while sockets:
        for descriptor, _ in poll.poll():
            size = sockets[descriptor].recv_into(buffer)
            if not size:
                poll.unregister(descriptor)
                sockets.pop(descriptor).close()
                continue
            data = memoryview(buffer)[:size]
            if descriptor not in began:
                began.add(descriptor)
                first, _, rest = bytes(data).partition(b"\r\n\r\n")
                if b" 200 " not in first.splitlines()[0]:
                    sys.exit(first.decode())
                data = memoryview(rest)
            total, checksum = seen[descriptor]
            seen[descriptor] = total + len(data), zlib.crc32(data, checksum)
        if len(began) == count and not all_began:
            all_began = True
            print("ready", flush=True)
    print("\n".join(f"{total} {checksum}" for total, checksum in seen.values()))


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))

"""The text of a repository's config, out of a commit."""

from __future__ import annotations

from integralgit.hostconfig.resolve import ConfigError
from integralgit.location.git import Git
from integralgit.names import CONFIG_BRANCH, CONFIG_FILE

#: The most that a config file may have, in bytes.
CONFIG_SIZE = 256 * 1024


async def read_config(git: Git, commit: str) -> str:
    """The text of the file `config` in a commit; raises `ConfigError` for anything but a file.

    Mode, type and size are looked at before the content: what stands there
    may be a symbolic link.
    """
    listed = await git.run("ls-tree", "--long", "-z", commit, "--", CONFIG_FILE)
    if not listed:
        raise ConfigError(f"the branch {CONFIG_BRANCH} has no file `{CONFIG_FILE}`")
    mode, kind, blob, size = listed.split("\t", 1)[0].split()
    if mode not in ("100644", "100755") or kind != "blob":
        raise ConfigError(f"`{CONFIG_FILE}` on the branch {CONFIG_BRANCH} is not a plain file")
    if int(size) > CONFIG_SIZE:
        raise ConfigError(f"`{CONFIG_FILE}` is larger than {CONFIG_SIZE} bytes")
    try:
        return (await git.run("cat-file", "blob", blob)).encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        raise ConfigError(f"`{CONFIG_FILE}` is not text in UTF-8") from None

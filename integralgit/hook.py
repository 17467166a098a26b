"""`python -m integralgit.hook` prints the `post-receive` hook that comes with the package."""

from importlib import resources


def text() -> str:
    """The hook, a script for the POSIX shell; its first lines say what it needs."""
    return resources.files("integralgit").joinpath("post-receive").read_text("utf-8")


if __name__ == "__main__":
    print(text(), end="")

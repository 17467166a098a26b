"""IntegralGit: push-to-deploy for hosts you own.

`docs/architecture.md` in the source tree shows the rooms of this package and
the way of a push through them.
"""

__version__ = "1.0.0.dev0"

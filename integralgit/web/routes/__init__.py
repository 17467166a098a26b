"""The routes: who may see what, and which values go into which page.

Each is a function of `Pages` and the request. Importing this package makes
them all known.
"""

from integralgit.web.app import Pages
from integralgit.web.routes import acts, deploys, outbox, overview, own

__all__ = ["Pages", "acts", "deploys", "outbox", "overview", "own"]

"""`twistd -ny integralgit.tac`: the server with `integralgit.toml` beside you, if there is one."""

from pathlib import Path

from twisted.application.service import Application

from integralgit.tap import Options, makeService

settings_file = Path("integralgit.toml")
options = Options()
options.parseOptions(["--config", str(settings_file)] if settings_file.exists() else [])

application = Application("integralgit")
makeService(options).setServiceParent(application)

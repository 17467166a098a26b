"""Makes `twistd integralgit` known; discovering it imports nothing of ours."""

from twisted.application.service import ServiceMaker

integralgit = ServiceMaker(
    "IntegralGit",
    "integralgit.tap",
    "Deploys what is pushed to your git hosts.",
    "integralgit",
)

from setuptools import find_packages, setup

setup(
    name="integralgit",
    version="1.0.0.dev0",
    description="Push-to-deploy for hosts you own: an event-driven Twisted service",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    package_dir={"": "."},  # makes an editable install a plain path, where twistd finds the plugin
    packages=[*find_packages(include=["integralgit", "integralgit.*"]), "twisted.plugins"],
    package_data={
        "integralgit": ["py.typed", "post-receive", "systemd/*"],
        "integralgit.journal.schema": ["*.sql"],
        "integralgit.web": ["templates/*", "static/*"],
    },
    install_requires=[
        "Twisted[tls]>=26.4",
        "klein>=24.8",
        "treq>=24.9",
        "attrs>=25.1",
        "msgspec>=0.20",
        "Jinja2>=3.1.6",
        "prometheus-client>=0.22",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.100",
            "openapi-schema-validator>=0.6",
            "playwright>=1.50",
            "axe-playwright-python>=0.1.4",
        ],
        "lint": ["mypy>=2.0", "mypy-zope>=1.0.14", "ruff>=0.16"],
    },
)

"""The tables, as commented SQL; each file takes the database from one version to the next."""

"""What IntegralGit is compared with, in one run on one machine: `make bench`."""

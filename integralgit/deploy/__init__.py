"""THE WORKSHOP: from an accepted push to a deployed location.

`decide` and `plan` are pure: what a push means here, and what a checkout
needs. `workshop` keeps the queue moving, `deployer` tells the story of one
deploy, and git and the script run as `child` processes.
"""

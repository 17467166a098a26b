"""THE WORKSHOP: from an accepted push to a deployed location.

`decide` is pure: what a push means here. `workshop` keeps the queue moving,
`deployer` tells the story of one deploy, `bring` has its checkout brought
forward, and `scripts` lets its script run.
"""

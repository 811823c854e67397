"""Where a trajectory's gradient lands: PRISM's probe (arXiv 2601.07224), for a router or by itself.

``gradients`` gives a norm for every trajectory, layer and projection; ``record`` keeps them in a file that grows as
they come; ``concentration`` makes a score of them, and ``picture`` a picture. ``python -m
prism_bench.probe`` does all of it.
"""

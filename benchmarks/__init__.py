"""The benchmark: what a request costs through twemproxy, nutcracker and haproxy, as ratios of one run."""

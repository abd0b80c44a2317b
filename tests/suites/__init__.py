"""Test suites of other projects, run directly against a server and then through the proxy.

The suites come from a folder outside the repository (``make suites SUITES=FOLDER``). ``redis_suite``,
``memcached_suite`` and ``redis_py_suite`` each run one suite, ``comparison`` compares its two runs, and ``left_out``
lists the tests that do not count, with the reasons.
"""

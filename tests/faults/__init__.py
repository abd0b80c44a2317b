"""Clients that verify every reply, and ways to hurt the servers behind a proxy while they ask.

``ledger`` is what a client knows of its keys, ``requests`` what it can ask, ``dialects`` how the protocols say it,
``load`` asks on many connections, ``relay`` and ``catalogue`` hurt, ``arena`` puts it together.
"""

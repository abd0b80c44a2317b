"""Clients that verify every reply, and faults of the servers behind a proxy while the clients work.

``ledger``: what a client knows of its keys. ``requests``: the requests of a client. ``dialects``: the protocols.
``load``: many clients on many connections. ``relay`` and ``catalogue``: the faults. ``arena``: all of these together.
"""

"""Clients and their requests: order of replies, splitting, plans, limits."""

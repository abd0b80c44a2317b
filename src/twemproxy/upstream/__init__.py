"""Servers and the connections to them: health, addresses, requests in flight, subscriptions."""

"""The demonstration: one command starts and stops real servers, a proxy in front of them, and a client."""

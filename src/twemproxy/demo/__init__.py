"""The demonstration: real servers, a proxy in front of them and a client, started and stopped by one command."""

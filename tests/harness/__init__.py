"""Real processes and scripted peers for the system tests: servers, the proxy under test, and raw connections."""

"""The interfaces for operators, which show the state of the proxy."""

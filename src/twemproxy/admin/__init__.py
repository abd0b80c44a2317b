"""The doors for operators: what shows the proxy's state to the outside."""

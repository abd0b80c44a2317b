"""The worker process: it builds the pools of a configuration, and runs the event loop that serves them."""

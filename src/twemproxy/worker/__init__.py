"""The worker process: builds pools from a configuration and runs the event loop over them."""

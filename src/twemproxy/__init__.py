"""twemproxy: a fast, light proxy that shards the redis and memcached protocols over many servers."""

__version__ = "0.6.0"

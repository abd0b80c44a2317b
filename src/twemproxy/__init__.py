"""twemproxy: a fast, light proxy that shards the redis and memcached protocols over many servers.

A Python program finds here where a configuration places keys, see ``twemproxy.api``.
"""

__version__ = "0.6.0"

TYPE_CHECKING = False
# The processes of the proxy import this module, and use none of these names: so they are imported when they are used.
if TYPE_CHECKING:
    from twemproxy.api import (
        Address,
        Config,
        ConfigError,
        ListenConfig,
        Location,
        Moved,
        PlacementError,
        PoolConfig,
        Problem,
        Ring,
        ServerConfig,
        load_config,
        moved,
    )

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "ListenConfig",
    "Location",
    "Moved",
    "PlacementError",
    "PoolConfig",
    "Problem",
    "Ring",
    "ServerConfig",
    "__version__",
    "load_config",
    "moved",
]


# Hidden from type checkers, so that they find misspelt names.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Return a name of ``twemproxy.api``."""
        if name in __all__:
            from twemproxy import api

            return getattr(api, name)
        raise AttributeError(f"module 'twemproxy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

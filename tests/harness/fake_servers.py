"""A server of a fake pool."""


class FakeServer(int):
    """Equal to its position, so that tests can write servers as numbers."""

    @property
    def position(self) -> int:
        return int(self)

    @property
    def name(self) -> str:
        return f"s{self:02d}"


def fake_servers(count: int) -> tuple[FakeServer, ...]:
    """The servers of a pool."""
    return tuple(map(FakeServer, range(count)))


S0, S1, S2 = fake_servers(3)

"""What tests of connectors may use: servers of ours that answer by a script, closed at the end."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from etl_assets_tests.connectors.rest_servers import TOKEN, Serve, page
from etl_assets_tests.fault_proxy import FaultServer, answer


@pytest.fixture
def serve() -> Iterator[Callable[..., FaultServer]]:
    """Starts a `FaultServer`; it takes what the class takes."""
    with contextlib.ExitStack() as stack:
        yield lambda *given, **more: stack.enter_context(FaultServer(*given, **more))


@pytest.fixture
def other(serve: Serve) -> FaultServer:
    """A second server, which would answer."""
    return serve(lambda asked: page(number=2))


@pytest.fixture
def tokens(serve: Serve) -> FaultServer:
    """A token endpoint at every path."""
    return serve(lambda asked: answer(TOKEN))

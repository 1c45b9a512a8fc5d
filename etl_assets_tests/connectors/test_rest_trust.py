"""Whom the REST connector trusts: the token endpoint, certificates; and settings that would give secrets away.

Not here: links and redirects (`test_rest_security.py`).
"""

import socket
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from etl_assets.connectors.credentials import (
    ApiKey,
    BearerToken,
)
from etl_assets.errors import AuthenticationError, ConfigurationError, SourceUnavailableError
from etl_assets.retry_settings import Retry
from etl_assets_tests.connectors.rest_servers import REMOTE, TOKEN, Serve, credentials, ids, page
from etl_assets_tests.fault_proxy import FaultServer, Reply, answer, self_signed

# -- the token endpoint ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["client credentials", "refresh token"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_token_endpoint_is_not_followed(serve: Serve, other: FaultServer, kind: str, status: int) -> None:
    """The client secret goes to the token endpoint that is configured and nowhere else."""
    tokens = serve(lambda asked: Reply(status=status, headers={"Location": f"{other.origin}/token"}))
    home = serve(lambda asked: page())
    with pytest.raises(AuthenticationError, match="the token endpoint"):
        ids(home, auth=credentials(f"{tokens.origin}/token")[kind])
    assert (other.connections, home.connections) == (0, 0)


@pytest.mark.parametrize("kind", ["client credentials", "refresh token"])
@pytest.mark.parametrize("token_url", [f"{REMOTE}/token", "http://10.0.0.1/token", "ftp://127.0.0.1/token", "token", "", "https://", "https://[::1",
                                       "http://h:port/"])  # fmt: skip
def test_a_token_endpoint_without_tls_is_refused(serve: Serve, kind: str, token_url: str) -> None:
    """A token endpoint that is no https address is refused before anything is sent, plain_http or not."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match="token_url"):
        ids(home, auth=credentials(token_url)[kind], plain_http=True)
    assert home.connections == 0


# -- TLS ---------------------------------------------------------------------------------------------------------------


def test_a_certificate_that_nobody_vouches_for_is_refused(serve: Serve, tmp_path: Path) -> None:
    """A self-signed certificate is an error of configuration, not tried again, and no request is sent."""
    context, _ = self_signed(tmp_path)
    home = serve(lambda asked: page(), tls=context)
    with pytest.raises(ConfigurationError, match=r"the certificate of the server is not trusted \(self-signed certificate.*tls_ca_file"):
        ids(home, retry=Retry(attempts=3, initial_seconds=0.01))
    assert (home.connections, home.asked) == (1, [])


def test_a_certificate_of_a_known_authority_is_accepted(serve: Serve, tmp_path: Path) -> None:
    """tls_ca_file says whom to trust."""
    context, certificate = self_signed(tmp_path)
    assert ids(serve(lambda asked: page(), tls=context), tls_ca_file=str(certificate)) == ["1"]


def test_a_certificate_for_another_name_is_refused(serve: Serve, tmp_path: Path) -> None:
    """A certificate of a known authority counts for its own name only."""
    context, certificate = self_signed(tmp_path, "other.example.com")
    with pytest.raises(ConfigurationError, match="not trusted"):
        ids(serve(lambda asked: page(), tls=context), tls_ca_file=str(certificate))


@pytest.mark.parametrize("content", [None, "", "no certificate"], ids=["missing", "empty", "text"])
def test_an_authority_that_cannot_be_read_is_refused(serve: Serve, tmp_path: Path, content: str | None) -> None:
    """A tls_ca_file that is missing or holds no certificate is an error of configuration that names the setting."""
    context, _ = self_signed(tmp_path)
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(ConfigurationError, match="tls_ca_file"):
        ids(serve(lambda asked: page(), tls=context), tls_ca_file=str(tmp_path / "ca.pem"))


def test_https_to_a_server_without_tls_is_refused(serve: Serve) -> None:
    """A server that does not speak TLS is an error of configuration: base_url has the wrong scheme."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match=r"TLS cannot be spoken .*correct the scheme of base_url"):
        ids(home.origin.replace("http", "https"))


def test_a_handshake_that_breaks_off_is_tried_again() -> None:
    """A server that closes the connection within the handshake may be starting, so it is not an error of configuration."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_at_once() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.recv(1)
                    connection.close()

        threading.Thread(target=close_at_once, daemon=True).start()
        try:
            with pytest.raises(SourceUnavailableError, match="does not answer"):
                ids(f"https://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def test_the_token_endpoint_is_verified(serve: Serve, tmp_path: Path) -> None:
    """The token endpoint's certificate is verified too, and the client secret is not sent to one that is not trusted."""
    context, _ = self_signed(tmp_path)
    tokens = serve(lambda asked: answer(TOKEN), tls=context)
    with pytest.raises(ConfigurationError, match=r"/token: the certificate of the server is not trusted .*correct token_url"):
        ids(serve(lambda asked: page()), auth=credentials(f"{tokens.origin}/token")["client credentials"])
    assert tokens.asked == []


def test_the_token_endpoint_is_verified_by_the_authority(serve: Serve, tmp_path: Path) -> None:
    """tls_ca_file counts for the token endpoint as for the API."""
    context, certificate = self_signed(tmp_path)
    tokens = serve(lambda asked: answer(TOKEN), tls=context)
    auth = credentials(f"{tokens.origin}/token")["client credentials"]
    assert ids(serve(lambda asked: page()), auth=auth, tls_ca_file=str(certificate)) == ["1"]


def test_an_allowed_origin_is_verified(serve: Serve, tmp_path: Path) -> None:
    """The certificate of an allowed origin is verified before the request is sent."""
    context, _ = self_signed(tmp_path)
    foreign = serve(lambda asked: page(), tls=context)
    with pytest.raises(ConfigurationError, match="not trusted"):
        ids(serve(lambda asked: page(f"{foreign.origin}/rows")), link_origins=[foreign.origin], private_links=True)
    assert foreign.asked == []


# -- settings that contradict each other -------------------------------------------------------------------------------


def test_two_kinds_of_credentials_are_refused(serve: Serve) -> None:
    """Credentials in base_url and in auth are an error: one of them would be dropped."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match="credentials in base_url and in auth"):
        ids(home.origin.replace("://", "://user:pw@"), auth=BearerToken(token="sesame"))


def test_a_query_in_the_base_is_refused(serve: Serve) -> None:
    """A key in the query of base_url would be dropped, so it is an error that does not show it."""
    with pytest.raises(ConfigurationError, match="base_url has a query, which would not be sent") as caught:
        ids(f"{serve(lambda asked: page()).origin}/v1?key=sesame")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": BearerToken(token="sesame\n")},
        {"auth": ApiKey(value="sesame\r\nX-Other: 1")},
        {"auth": ApiKey(name="session", value="sesame\n", place="cookie")},
        {"auth": ApiKey(name="X\nKey", value="sesame")},
        {"headers": {"X-Key": "sesame\n"}},
        {"headers": {"X-Key": " sesame"}},
        {"auth": BearerToken(token="sesame€")},
    ],
    ids=["token", "key", "cookie", "name of a header", "header", "blank", "euro"],
)
def test_what_cannot_be_sent_is_refused(serve: Serve, settings: Mapping[str, Any]) -> None:
    """A credential with a character that no header may hold is an error of configuration, and nothing is sent."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match=r"a character that cannot be sent\. Next: .*line break") as caught:
        ids(home, **settings)
    assert (home.asked, "sesame" in "".join(traceback.format_exception(caught.value))) == ([], False)

"""Somebody is told when a check finds something, by a real webhook and a real SMTP server."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest

from etl_assets.errors import AuthenticationError, ConfigurationError, NotificationError
from etl_assets.observability.check_sensor import check_failure_sensor
from etl_assets.observability.notifications import EmailNotifier, WebhookNotifier


class Hook:
    """A webhook that answers with a status and remembers what came."""

    def __init__(self) -> None:
        self.status = 200
        self.texts: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if hook.status == 200:
                    hook.texts.append(body["text"])
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-path"


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A running webhook."""
    one = Hook()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        thread.join()
        one.server.server_close()


@dg.asset(check_specs=[dg.AssetCheckSpec("warns", asset="orders"), dg.AssetCheckSpec("errs", asset="orders")])
def orders(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """An asset whose checks find what the tags of the run say."""
    for name, severity in (("warns", dg.AssetCheckSeverity.WARN), ("errs", dg.AssetCheckSeverity.ERROR)):
        metadata = {"failed_rows": 3}
        yield dg.AssetCheckResult(
            check_name=name, passed=name not in context.run.tags, severity=severity, metadata=metadata, description="see"
        )
    yield dg.Output(None)


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, hook: Hook, cursor: str | None) -> str | None:
    """One evaluation of the sensor; the cursor after it."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"notifier": WebhookNotifier(url=hook.url)})
    try:
        sensor.evaluate_tick(context)
    finally:
        tick.cursor = context.cursor  # type: ignore[attr-defined]
    return context.cursor


def run(instance: dg.DagsterInstance, *failing: str) -> str:
    return dg.materialize([orders], instance=instance, tags=dict.fromkeys(failing, "yes")).run_id


def test_what_checks_found_is_told_once(hook: Hook) -> None:
    """Of a run that succeeded with failing checks one message tells each; a run before the first tick, and one without, none."""
    sensor = check_failure_sensor(base_url="https://dagster.example.com/")
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, "warns")
        cursor = tick(sensor, instance, hook, None)
        assert hook.texts == []
        run(instance)
        run_id = run(instance, "warns", "errs")
        cursor = tick(sensor, instance, hook, cursor)
        assert [text.splitlines() for text in hook.texts] == [
            [
                "*__ephemeral_asset_job__: 2 checks found something, 1 of them errors*",
                "WARN orders warns, 3 rows: see",
                "ERROR orders errs, 3 rows: see",
                f"https://dagster.example.com/runs/{run_id}",
            ]
        ]
        tick(sensor, instance, hook, cursor)
        assert len(hook.texts) == 1


def test_only_serious_ones_where_asked(hook: Hook) -> None:
    """A sensor for errors keeps quiet about warnings."""
    sensor = check_failure_sensor(severity="ERROR")
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = tick(sensor, instance, hook, None)
        run(instance, "warns")
        run(instance, "errs")
        tick(sensor, instance, hook, cursor)
        assert len(hook.texts) == 1


@dg.asset(check_specs=[dg.AssetCheckSpec("blocks", asset="guarded", blocking=True), dg.AssetCheckSpec("tells", asset="guarded")])
def guarded() -> Iterator[Any]:
    """An asset whose checks both find something, one of them blocking."""
    yield dg.AssetCheckResult(check_name="blocks", passed=False)
    yield dg.AssetCheckResult(check_name="tells", passed=False)
    yield dg.Output(None)


@pytest.mark.parametrize(("events", "told"), [("failure,retry", ["tells"]), ("deadline", ["blocks", "tells"]), ("", ["blocks", "tells"])])
def test_what_airflow_has_told_is_not_told_again(hook: Hook, events: str, told: list[str]) -> None:
    """Where Airflow tells of failed tasks, the blocking check that made one fail is left to it; other checks are not."""
    sensor = check_failure_sensor()
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = tick(sensor, instance, hook, None)
        dg.materialize([guarded], instance=instance, tags={"airflow/alerts": events}, raise_on_error=False)
        tick(sensor, instance, hook, cursor)
    (text,) = hook.texts
    assert [line.split()[2] for line in text.splitlines() if line.startswith("ERROR")] == told


def test_a_message_that_does_not_arrive_is_sent_again(hook: Hook) -> None:
    """A tick whose message is refused fails and keeps its place: the next one sends it, and does not repeat the ones before."""
    sensor = check_failure_sensor()
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = tick(sensor, instance, hook, None)
        run(instance, "warns")
        cursor = tick(sensor, instance, hook, cursor)
        run(instance, "errs")
        hook.status = 503
        with pytest.raises(NotificationError, match="503"):
            tick(sensor, instance, hook, cursor)
        hook.status = 200
        tick(sensor, instance, hook, tick.cursor)  # type: ignore[attr-defined]
        assert ["warns" in text for text in hook.texts] == [True, False]


def test_an_unknown_severity_is_refused() -> None:
    """A misspelt severity would keep the sensor quiet."""
    with pytest.raises(ConfigurationError, match="WARN, ERROR"):
        check_failure_sensor(severity="warning")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind"), [(404, AuthenticationError), (403, AuthenticationError), (500, NotificationError), (302, NotificationError)]
)
def test_a_webhook_that_refuses(hook: Hook, status: int, kind: type[Exception]) -> None:
    """What the webhook answers is told, its address is not."""
    hook.status = status
    with pytest.raises(kind, match=str(status)) as caught:
        WebhookNotifier(url=hook.url).send("subject", "text")
    assert "secret-path" not in str(caught.value)


def test_a_webhook_that_is_not_there(hook: Hook) -> None:
    """An address that nobody answers on is told without the address."""
    with pytest.raises(NotificationError) as caught:
        WebhookNotifier(url="http://127.0.0.1:9/secret-path").send("subject", "text")
    assert "secret-path" not in str(caught.value)
    assert caught.value.__cause__ is None


# -- e-mail ---------------------------------------------------------------------------------------------------------------


class Mailbox(socketserver.StreamRequestHandler):
    """An SMTP server that takes everything but recipients named nobody."""

    def handle(self) -> None:
        self.say("220 ready")
        taken: list[str] = []
        while line := self.rfile.readline():
            words = line.decode().strip()
            if words.upper().startswith("RCPT") and "nobody@" in words:
                self.say("550 no such user")
            elif words.upper() == "DATA":
                self.say("354 go on")
                while (part := self.rfile.readline().decode()) != ".\r\n":
                    taken.append(part)
                self.server.messages.append("".join(taken))  # type: ignore[attr-defined]
                self.say("250 taken")
            elif words.upper().startswith("AUTH"):
                self.say("535 wrong password")
            elif words.upper().startswith("EHLO"):
                self.say("250-mailbox\r\n250 AUTH PLAIN")
            else:
                self.say("221 bye" if words.upper() == "QUIT" else "250 fine")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def mailbox() -> Iterator[Any]:
    """A running SMTP server on loopback."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        server.messages = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def email(port: int, **settings: Any) -> EmailNotifier:
    return EmailNotifier(
        **{"host": "127.0.0.1", "port": port, "tls": "none", "sender": "etl@example.com", "recipients": ["ann@example.com"], **settings}
    )


def test_an_email_arrives() -> None:
    """Subject, sender, recipients and text arrive; a line break in the subject does not add a header."""
    with mailbox() as server:
        email(server.server_address[1]).send("checks\nBcc: eve@example.com", "WARN orders\nüber")
        (message,) = server.messages
    assert "Subject: checks Bcc: eve@example.com\r\n" in message
    assert "To: ann@example.com" in message
    assert "WARN orders" in message


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"recipients": ["nobody@example.com"]}, ConfigurationError),
        ({"recipients": []}, ConfigurationError),
        ({"username": "ann", "password": "sesame"}, AuthenticationError),
        ({"tls": "starttls"}, NotificationError),
    ],
)
def test_an_email_that_is_refused(settings: dict[str, Any], kind: type[Exception]) -> None:
    """What the server refuses is told, the password is not."""
    with mailbox() as server, pytest.raises(kind) as caught:
        email(server.server_address[1], **settings).send("subject", "text")
    assert "sesame" not in str(caught.value)


def test_a_mail_server_that_is_not_there() -> None:
    """A server that does not answer is named."""
    with pytest.raises(NotificationError, match="127.0.0.1:9"):
        email(9).send("subject", "text")

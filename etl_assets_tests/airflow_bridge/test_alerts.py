"""Who is told what, by a real webhook, real SMTP servers and Airflow's own hooks; and that no secret is seen anywhere.

Not here: when Airflow calls (`acceptance/test_airflow.py`).
"""

import asyncio
import base64
import datetime
import gc
import json
import socketserver
import ssl
import threading
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import dagster as dg
import pytest
import yaml
from airflow.sdk import DAG
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.serialization.serialized_objects import DagSerialization
from structlog.testing import capture_logs

from airflow_bridge.alerts import (
    Alert,
    AlertError,
    EmailAlert,
    SlackAlert,
    SmtpAlert,
    WebhookAlert,
    alerts_of,
    deadline_arguments,
    deadline_missed,
)
from airflow_bridge.dags import dag_from_manifest, task_group_from_manifest
from airflow_bridge.export import write
from airflow_bridge.job_manifest import Project
from airflow_bridge.launcher import run_id_for
from airflow_bridge.manifest import Code, ManifestError
from airflow_bridge.operators import StepsError
from etl_assets_tests.acceptance.airflow_servers import SmtpSink
from etl_assets_tests.fault_proxy import self_signed

SECRET = "canary-4711"
RUN = "manual__2026-01-01T00:00:00+00:00"
UI = "http://dagster:3000"
EVERYTHING = ("failure", "retry", "success", "deadline")


class Web:
    """A webhook that keeps what it takes, and answers with a status."""

    def __init__(self) -> None:
        self.status = 200
        self.posts: list[tuple[str, Any]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web.posts.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(web.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/{SECRET}"

    @property
    def texts(self) -> list[str]:
        return [body["text"] for _, body in self.posts]


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A running webhook, its address in the variable ALERT_WEBHOOK and in the connection slack_default."""
    one = Web()
    monkeypatch.setenv("ALERT_WEBHOOK", one.url)
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_DEFAULT", json.dumps({"conn_type": "slackwebhook", "password": one.url}))
    with serving(one.server):
        yield one


@pytest.fixture(scope="module")
def mail_server() -> Iterator[SmtpSink]:
    """An SMTP server that takes everything."""
    server = SmtpSink()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def sink(mail_server: SmtpSink, monkeypatch: pytest.MonkeyPatch) -> SmtpSink:
    """The SMTP server without messages, the connection smtp_default leads to it."""
    mail_server.messages.clear()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "connection@example.com"}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": mail_server.port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    return mail_server


def email(port: int, **settings: Any) -> EmailAlert:
    """An alert by the SMTP server at this port."""
    return EmailAlert(
        **{"host": "127.0.0.1", "port": port, "tls": "none", "sender": "etl@example.com", "recipients": ("ann@example.com",), **settings}
    )


def text_of(message: Message) -> str:
    """The text of an e-mail."""
    (part,) = [one for one in message.walk() if not one.is_multipart()]
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n").strip()


def told(error: BaseException) -> str:
    """All that a log could show of an error."""
    return "".join(traceback.format_exception(error))


# -- webhooks -------------------------------------------------------------------------------------------------------------


def test_a_webhook(web: Web) -> None:
    """Subject and text are posted as JSON to the address in the variable."""
    WebhookAlert(url_variable="ALERT_WEBHOOK").send("sums failed", "cause: größe\n<b>")
    assert web.posts == [(f"/hooks/{SECRET}", {"text": "*sums failed*\ncause: größe\n<b>"})]


@pytest.mark.parametrize(("status", "reason"), [(500, "Internal Server Error"), (404, "Not Found"), (302, "Found")])
def test_a_webhook_that_refuses(web: Web, status: int, reason: str) -> None:
    """A refusal is told with its status and without the address; nothing is sent on to where the answer points."""
    web.status = status
    with pytest.raises(AlertError) as caught:
        WebhookAlert(url_variable="ALERT_WEBHOOK").send("subject", "text")
    assert str(caught.value) == f"the webhook answered {status} {reason}. Next: check ALERT_WEBHOOK."
    assert SECRET not in told(caught.value)
    assert len(web.posts) == 1


@pytest.mark.parametrize(
    "address",
    [
        f"http://127.0.0.1:1/{SECRET}",
        f"http://user:{SECRET}@127.0.0.1:1/",
        f"http://127.0.0.1:99999/{SECRET}",
        f"http://[bad/{SECRET}",
        f"http://{SECRET}..local/",
        f"ftp://127.0.0.1/{SECRET}",
        SECRET,
    ],
)
def test_an_address_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Whatever is wrong with an address, the error names the variable and shows nothing of the address."""
    monkeypatch.setenv("ALERT_WEBHOOK", address)
    with pytest.raises(AlertError, match=r"^the webhook does not answer \(\w+\)\. Next: check ALERT_WEBHOOK\.$") as caught:
        WebhookAlert(url_variable="ALERT_WEBHOOK").send("subject", "text")
    assert SECRET not in told(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """A variable that is missing or empty is named, and who needs it."""
    monkeypatch.delenv("ALERT_WEBHOOK", raising=False)
    if value is not None:
        monkeypatch.setenv("ALERT_WEBHOOK", value)
    with pytest.raises(AlertError, match="variable ALERT_WEBHOOK is not set. Next: set it for Airflow's workers, "):
        WebhookAlert(url_variable="ALERT_WEBHOOK").send("subject", "text")


# -- e-mail ---------------------------------------------------------------------------------------------------------------


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server with TLS and a password, that knows nobody named nobody.

    Attributes:
        messages: Text of each message it took.
        seen: Every line that came outside of messages.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None, *, from_start: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.context = context
        self.from_start = from_start
        self.messages: list[str] = []
        self.seen: list[str] = []
        self.port = int(self.server_address[1])


class _Mail(socketserver.BaseRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        try:
            self._talk()
        except (OSError, ValueError):
            # The client does not trust the certificate, and went.
            return

    def _talk(self) -> None:
        self.lines = self.request.makefile("rb")
        if self.server.from_start:
            self._encrypt()
        self._say("220 mailbox")
        while line := self.lines.readline().decode().strip():
            self.server.seen.append(line)
            match line.upper().split()[0]:
                case "EHLO":
                    self._say("250-mailbox\r\n250-STARTTLS\r\n250 AUTH PLAIN")
                case "STARTTLS":
                    self._say("220 go on")
                    self._encrypt()
                case "AUTH":
                    right = base64.b64encode(f"\0ann\0{SECRET}".encode()).decode()
                    self._say("235 welcome" if line.endswith(right) else f"535 wrong password {line}")
                case "RCPT":
                    self._say("550 no such user" if "nobody" in line else "250 fine")
                case "DATA":
                    self._say("354 go on")
                    taken = []
                    while (part := self.lines.readline()) != b".\r\n":
                        taken.append(part.decode())
                    self.server.messages.append("".join(taken))
                    self._say("250 taken")
                case "QUIT":
                    self._say("221 bye")
                case _:
                    self._say("250 fine")

    def _encrypt(self) -> None:
        assert self.server.context is not None
        self.lines.close()
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.lines = self.request.makefile("rb")

    def _say(self, text: str) -> None:
        self.request.sendall(f"{text}\r\n".encode())

    def finish(self) -> None:
        self.lines.close()
        self.request.close()


@contextmanager
def mailbox(context: ssl.SSLContext | None = None, *, from_start: bool = False) -> Iterator[Mailbox]:
    """A running mailbox."""
    server = Mailbox(context, from_start=from_start)
    with serving(server):
        yield server


def test_an_email(sink: SmtpSink) -> None:
    """Subject, sender, recipients and text arrive; a line break in the subject adds no header."""
    email(sink.port, recipients=("ann@example.com", "bob@example.com")).send("sums\nBcc: eve@example.com", "cause: größe\n<b>")
    (message,) = sink.messages
    headers = {name: str(message[name]) for name in ("Subject", "From", "To", "Bcc")}
    assert headers == {
        "Subject": "sums Bcc: eve@example.com", "From": "etl@example.com", "To": "ann@example.com, bob@example.com", "Bcc": "None",
    }  # fmt: skip
    assert text_of(message) == "cause: größe\n<b>"


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_an_email_with_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: str) -> None:
    """The password is in a variable, and is sent encrypted, after connecting or from the start."""
    context, certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    with mailbox(context, from_start=tls == "tls") as server:
        email(server.port, tls=tls, username="ann", password_variable="SMTP_PASSWORD").send("subject", "text")
    assert len(server.messages) == 1
    assert [line.split()[0] for line in server.seen if line.startswith(("STARTTLS", "AUTH"))] == (
        ["STARTTLS", "AUTH"] if tls == "starttls" else ["AUTH"]
    )


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_mail_server_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: str) -> None:
    """A server with a certificate that nobody vouches for gets neither the password nor the message."""
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    context, _ = self_signed(tmp_path)
    with mailbox(context, from_start=tls == "tls") as server, pytest.raises(AlertError, match=r"\(SSLCertVerificationError\)"):
        email(server.port, tls=tls, username="ann", password_variable="SMTP_PASSWORD").send("subject", "text")
    assert not server.messages
    assert not [line for line in server.seen if line.startswith("AUTH")]


def test_tls_that_a_server_has_not(sink: SmtpSink) -> None:
    """A message is not sent in clear text where TLS was asked for."""
    with pytest.raises(AlertError, match=r"did not take the message \(SMTPNotSupportedError\)"):
        email(sink.port, tls="starttls").send("subject", "text")
    assert not sink.messages


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("wrong", r"did not take the message \(SMTPAuthenticationError\)\. Next: check host, port, tls, user and recipients\."),
        (None, "variable SMTP_PASSWORD is not set"),
    ],
)
def test_a_password_that_is_wrong(monkeypatch: pytest.MonkeyPatch, password: str | None, said: str) -> None:
    """A wrong or missing password is told without showing it, though the server may."""
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("SMTP_PASSWORD", password)
    with mailbox() as server, pytest.raises(AlertError, match=said) as caught:
        email(server.port, username="ann", password_variable="SMTP_PASSWORD").send("subject", "text")
    assert not server.messages
    assert base64.b64encode(b"\0ann\0wrong").decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"recipients": ("ann@example.com", "nobody@example.com")}, "refused nobody@example.com. Next: check recipients."),
        ({"recipients": ("nobody@example.com",)}, "did not take the message (SMTPRecipientsRefused). Next: "),
        ({"sender": "etl@example.com\nBcc: eve@example.com"}, "did not take the message (ValueError). Next: "),
    ],
)
def test_an_email_that_is_refused(settings: dict[str, Any], said: str) -> None:
    """A recipient that is refused is told, and keeps the message from no other one."""
    with mailbox() as server, pytest.raises(AlertError) as caught:
        email(server.port, **settings).send("subject", "text")
    assert str(caught.value).startswith(f"SMTP server 127.0.0.1:{server.port} {said}")
    assert len(server.messages) == len(settings.get("recipients", ())[1:])


def test_a_mail_server_that_is_not_there() -> None:
    """A server that does not answer is named."""
    with pytest.raises(
        AlertError, match=r"SMTP server 127\.0\.0\.1:1 did not take the message \(ConnectionRefusedError\)\. Next: check host"
    ):
        email(1).send("subject", "text")


# -- connections of Airflow -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sender", "expected"), [(None, "connection@example.com"), ("etl@example.com", "etl@example.com")])
def test_an_email_by_a_connection(sink: SmtpSink, sender: str | None, expected: str) -> None:
    """Airflow's SMTP hook sends the text as it is, from the connection's address unless another one is given."""
    SmtpAlert(recipients=("ann@example.com", "bob@example.com"), sender=sender).send("sums größer", "cause: a < b & c\nmore")
    (message,) = sink.messages
    assert (str(message["From"]), str(message["To"])) == (expected, "ann@example.com, bob@example.com")
    assert text_of(message) == "<pre>cause: a &lt; b &amp; c\nmore</pre>"


def test_slack(web: Web) -> None:
    """Airflow's Slack hook posts the text, where angle brackets make no mention of anybody."""
    SlackAlert().send("sums failed", "cause: <!channel> a & b")
    assert web.posts == [(f"/hooks/{SECRET}", {"text": "*sums failed*\ncause: &lt;!channel&gt; a &amp; b"})]


def test_slack_by_another_connection(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that is named says where the message goes."""
    monkeypatch.setenv("AIRFLOW_CONN_DATA", json.dumps({"conn_type": "slackwebhook", "password": f"{web.url}/data"}))
    SlackAlert(connection="data").send("subject", "text")
    assert [path for path, _ in web.posts] == [f"/hooks/{SECRET}/data"]


@pytest.mark.parametrize("kind", ["slack", "smtp"])
def test_a_connection_that_is_missing(kind: str) -> None:
    """A connection that does not exist is named."""
    alert = SlackAlert(connection="gone") if kind == "slack" else SmtpAlert(connection="gone", recipients=("ann@example.com",))
    with pytest.raises(AlertError, match=r"^connection gone did not take the message \(\w+\)\. Next: check it\.$"):
        alert.send("subject", "text")


def test_slack_refuses(web: Web) -> None:
    """A refusal names the connection, and does not show its address."""
    web.status = 404
    with pytest.raises(AlertError, match=r"^connection slack_default did not take the message \(\w+\)\. Next: check it\.$") as caught:
        SlackAlert().send("subject", "text")
    assert SECRET not in told(caught.value)


# Airflow's hook leaves the socket open when it cannot log in.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_connection_with_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal names the connection, and does not show its password."""
    extra = {"disable_ssl": True, "disable_tls": True, "retry_limit": 0, "from_email": "etl@example.com"}
    with mailbox() as server:
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.port, "login": "bob", "password": SECRET, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(connection))
        with pytest.raises(AlertError, match=r"^connection mail did not take the message \(SMTPAuthenticationError\)") as caught:
            SmtpAlert(connection="mail", recipients=("ann@example.com",)).send("subject", "text")
    assert SECRET not in told(caught.value)
    del caught
    gc.collect()


# -- settings -------------------------------------------------------------------------------------------------------------


def from_yaml(text: str) -> tuple[Alert, ...]:
    """Alerts as a settings file gives them."""
    return alerts_of("dags.yaml", yaml.safe_load(text))


def test_alerts_in_yaml() -> None:
    """Each kind of alert may stand in YAML, with the settings it has in code; a bare `on` is no truth value."""
    found = from_yaml("""
        - webhook: {url_variable: ALERT_WEBHOOK, on: [failure, retry]}
        - email: {host: smtp.example.com, port: 25, tls: none, sender: a@example.com, recipients: [b@example.com], username: ann}
        - smtp: {connection: mail, recipients: [b@example.com, c@example.com], "on": [deadline]}
        - slack: {connection: slack_data}
        - slack:
    """)
    assert found == (
        WebhookAlert(url_variable="ALERT_WEBHOOK", on=("failure", "retry")),
        EmailAlert(host="smtp.example.com", port=25, tls="none", sender="a@example.com", recipients=("b@example.com",), username="ann"),
        SmtpAlert(connection="mail", recipients=("b@example.com", "c@example.com"), on=("deadline",)),
        SlackAlert(connection="slack_data"),
        SlackAlert(),
    )
    assert found[3].on == ("failure", "deadline")


def test_alerts_in_code() -> None:
    """Alerts may be given as such, with lists where they have tuples, and those of the project's own too."""
    given: list[Any] = [SmtpAlert(recipients=["a@example.com"], on=["failure"]), Own()]  # type: ignore[arg-type]
    assert list(alerts_of("here", given)) == given


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- pager: {url_variable: U}", "there is no alert 'pager'; known: email, slack, smtp, webhook. Next: correct it."),
        ("- webhook", "'webhook' is no alert. Next: give EmailAlert, WebhookAlert, SmtpAlert or SlackAlert."),
        ("- {slack: {}, smtp: {}}", "is no alert."),
        ("- webhook: [U]", "alert 'webhook': ['U'] is no mapping. Next: correct its settings."),
        ("- webhook:", "missing 1 required keyword-only argument: 'url_variable'. Next: correct its settings."),
        ("- webhook: {url: http://x}", "got an unexpected keyword argument 'url'. Next: correct its settings."),
        ("- webhook: {url_variable: 5}", "alert 'webhook': url_variable=5 is no str. Next:"),
        ("- webhook: {url_variable: U, on: [fail]}", "alerts know no event ['fail']; known: failure, retry, success, deadline. Next:"),
        ("- webhook: {url_variable: U, on: failure}", "alert 'webhook': on='failure' is no list of texts. Next:"),
        ("- smtp: {recipients: a@example.com}", "alert 'smtp': recipients='a@example.com' is no list of texts. Next:"),
        ("- smtp: {recipients: []}", "alert 'smtp': it has no recipients. Next:"),
        ("- smtp: {recipients: [5]}", "alert 'smtp': recipients=(5,) is no list of texts. Next:"),
        ("- email: {host: h, sender: s, recipients: [r], port: smtp}", "alert 'email': port='smtp' is no int. Next:"),
        ("- email: {host: h, sender: s, recipients: [r], username: 5}", "alert 'email': username=5 is no str | None. Next:"),
        ("- email: {host: h, sender: s, recipients: [r], tls: ssl}", "tls='ssl' is unknown; known: starttls, tls, none. Next:"),
        ("- email: {host: h, sender: s, recipients: []}", "alert 'email': it has no recipients. Next:"),
    ],
)
def test_alerts_that_cannot_be(text: str, said: str) -> None:
    """A wrong kind, setting or event is an error that says what may be given, before anything has to be told."""
    with pytest.raises(ManifestError) as caught:
        from_yaml(text)
    assert str(caught.value).startswith("dags.yaml: ")
    assert said in str(caught.value)


# -- messages -------------------------------------------------------------------------------------------------------------


@dg.asset(key_prefix="raw")
def orders() -> None:
    return None


@dg.asset(key_prefix="mart", deps=[orders], retry_policy=dg.RetryPolicy(max_retries=2))
def daily() -> None:
    return None


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a job."""
    definitions = dg.Definitions(assets=[orders, daily], jobs=[dg.define_asset_job("sales")])
    project = Project(definitions, Code(module="m", attribute="defs", location="m"))
    (path,) = write([project.manifest("sales")], tmp_path_factory.mktemp("manifests"))
    return path


class Instance(RuntimeTaskInstance):
    """A task instance of Airflow that knows what Airflow would say of its state."""

    known: ClassVar[str] = "running"

    @staticmethod
    def get_task_states(dag_id: str, *args: Any, task_ids: list[str] | None = None, run_ids: list[str] | None = None, **more: Any) -> Any:
        return {run: dict.fromkeys(task_ids or [], Instance.known) for run in run_ids or []}


def context(task: Any, *, try_number: int = 1, partition_key: str | None = None, **more: Any) -> dict[str, Any]:
    """What Airflow calls a callback of the task with."""
    ti = Instance.model_construct(
        id=uuid.uuid4(), task_id=task.task_id, dag_id=task.dag_id, run_id=RUN, try_number=try_number, max_tries=task.retries, map_index=-1,
        task=task,
    )  # fmt: skip
    return {"ti": ti, "task": task, "run_id": RUN, "dag_run": SimpleNamespace(run_id=RUN, partition_key=partition_key), **more}


def tell(dag: Any, task_id: str, event: str, **more: Any) -> None:
    """What Airflow does when this happens to a task."""
    task = dag.get_task(task_id)
    for callback in getattr(task, f"on_{event}_callback"):
        callback(context(task, **more))


WEBHOOK = WebhookAlert(url_variable="ALERT_WEBHOOK", on=EVERYTHING)
LOG = f"log: http://localhost:8080/dags/sales/runs/{RUN.replace(':', '%3A').replace('+', '%2B')}/tasks/mart__daily"


@pytest.mark.parametrize(
    ("event", "task_id", "more", "lines"),
    [
        (
            "failure", "mart__daily", {"exception": RuntimeError("no rows"), "try_number": 3},
            ["*sales.mart__daily failed*", "assets: mart/daily", f"run: {RUN}", "try: 3 of 3", "cause: no rows", f"{LOG}?try_number=3"],
        ),
        (
            "retry", "mart__daily", {"exception": RuntimeError("not yet"), "partition_key": "2026-01-01"},
            ["*sales.mart__daily will be tried again*", "assets: mart/daily", "partition: 2026-01-01", f"run: {RUN}", "try: 1 of 3",
             "cause: not yet", f"{LOG}?try_number=1"],
        ),
        (
            "failure", "mart__daily", {"params": {"partition": "a...b"}},
            ["*sales.mart__daily failed*", "assets: mart/daily", "partition: a...b", f"run: {RUN}", "try: 1 of 3", f"{LOG}?try_number=1"],
        ),
        ("success", "finish", {}, ["*sales succeeded*", f"run: {RUN}"]),
    ],
)  # fmt: skip
def test_what_is_told(web: Web, manifest: Path, event: str, task_id: str, more: dict[str, Any], lines: list[str]) -> None:
    """A message names the DAG and task, assets, partition, run, try and cause, and links to the log; a success only the DAG run."""
    tell(dag_from_manifest(manifest, alerts=[WEBHOOK]), task_id, event, **more)
    assert web.texts == ["\n".join(lines)]


@pytest.mark.parametrize("mode", ["steps", "asset_runs"])
def test_the_link_in_a_message(web: Web, manifest: Path, mode: str) -> None:
    """With the address of the Dagster UI a message links to the Dagster run, that of the try where it is one of its own."""
    dag: Any = dag_from_manifest(manifest, alerts=[WEBHOOK], mode=mode, dagster_url=f"{UI}/")
    tell(dag, "mart__daily", "failure", try_number=2)
    own: dict[str, Any] = {"task": "mart__daily", "try_number": 2} if mode == "asset_runs" else {}
    assert web.texts[0].splitlines()[-1] == f"Dagster: {UI}/runs/{run_id_for('sales', RUN, **own)}"


def test_a_message_of_a_task_group(web: Web, manifest: Path) -> None:
    """A message of a task in a TaskGroup links to the Dagster run of the group."""
    with DAG("around", schedule=None) as dag:
        task_group_from_manifest(manifest, group_id="one", alerts=[WEBHOOK], dagster_url=UI)
    tell(dag, "one.mart__daily", "failure")
    lines = web.texts[0].splitlines()
    assert (lines[0], lines[-1]) == ("*around.one.mart__daily failed*", f"Dagster: {UI}/runs/{run_id_for('around', RUN, 'one')}")


def test_a_callback_without_a_dag_run(web: Web, manifest: Path) -> None:
    """Where Airflow's dag-processor calls there is no DAG run at hand, and the message is the same."""
    task: Any = dag_from_manifest(manifest, alerts=[WEBHOOK]).get_task("mart__daily")
    (callback,) = task.on_failure_callback
    given = context(task)
    del given["dag_run"]
    callback(given)
    assert f"run: {RUN}" in web.texts[0].splitlines()


def test_a_cause_that_is_no_text(web: Web, sink: SmtpSink, manifest: Path) -> None:
    """A cause with bytes that are no text, as names of files may have, is told with question marks, by e-mail too."""
    dag = dag_from_manifest(manifest, alerts=[email(sink.port), SmtpAlert(recipients=("a@example.com",)), WEBHOOK])
    tell(dag, "mart__daily", "failure", exception=RuntimeError("no file b\udce4r.csv"))
    assert ["no file b?r.csv" in one for one in (*map(text_of, sink.messages), *web.texts)] == [True] * 3


@pytest.mark.parametrize(
    ("on", "callbacks"),
    [
        (("failure",), {"failure": ["finish", "mart__daily", "raw__orders"]}),
        (("retry",), {"retry": ["finish", "mart__daily", "raw__orders"]}),
        (("success",), {"success": ["finish"]}),
        (("deadline",), {}),
    ],
)
def test_which_tasks_tell(manifest: Path, on: tuple[str, ...], callbacks: dict[str, list[str]]) -> None:
    """Every task tells of its failures and retries, the last one of a success, and only when somebody wants to know."""
    dag: Any = dag_from_manifest(manifest, alerts=[WebhookAlert(url_variable="U", on=on)])
    found = {event: sorted(task.task_id for task in dag.tasks if getattr(task, f"on_{event}_callback")) for event in EVERYTHING[:3]}
    assert {event: names for event, names in found.items() if names} == callbacks


def test_who_wants_to_know(web: Web, sink: SmtpSink, manifest: Path) -> None:
    """Only those are told of an event that want to know of it; a callback of one's own is called too."""
    own: list[str] = []
    dag: Any = dag_from_manifest(
        manifest,
        alerts=[WebhookAlert(url_variable="ALERT_WEBHOOK", on=("retry",)), email(sink.port, on=("failure",))],
        overrides={"mart/daily": {"on_failure_callback": lambda given: own.append(given["ti"].task_id)}},
    )
    tell(dag, "mart__daily", "failure")
    assert (web.texts, [one["Subject"] for one in sink.messages], own) == ([], ["sales.mart__daily failed"], ["mart__daily"])
    tell(dag, "mart__daily", "retry")
    assert (len(web.texts), len(sink.messages), len(own)) == (1, 1, 1)


def test_a_failure_is_told_once(web: Web, manifest: Path) -> None:
    """A task that only reports failures of other tasks tells nobody."""
    dag = dag_from_manifest(manifest, alerts=[WEBHOOK])
    tell(dag, "finish", "failure", exception=StepsError("these steps did not succeed: mart__daily."))
    assert web.texts == []
    tell(dag, "finish", "failure", exception=RuntimeError("no storage"))
    assert len(web.texts) == 1


@pytest.mark.parametrize(("state", "count"), [("running", 1), ("success", 0), ("failed", 0), ("skipped", 0)])
def test_a_task_that_was_stopped(web: Web, manifest: Path, monkeypatch: pytest.MonkeyPatch, state: str, count: int) -> None:
    """A task that was stopped tells of it, unless somebody had decided before what becomes of it."""
    monkeypatch.setattr(Instance, "known", state)
    stopped = RuntimeError("it was stopped")
    stopped.interrupted = True  # type: ignore[attr-defined]
    tell(dag_from_manifest(manifest, alerts=[WEBHOOK]), "mart__daily", "failure", exception=stopped)
    assert len(web.texts) == count


@dataclass(frozen=True, kw_only=True)
class Own(Alert):
    """An alert of a project's own, which breaks."""

    kind: ClassVar[str] = "own"
    numbers: dict[str, int] = field(default_factory=dict)

    def send(self, subject: str, text: str) -> None:
        raise RuntimeError(f"cannot reach {SECRET}")


def test_one_failure_keeps_nobody_from_being_told(web: Web, sink: SmtpSink, manifest: Path) -> None:
    """What does not arrive is in the log, without secrets, and the others are told nevertheless."""
    alerts = [WebhookAlert(url_variable="NOT_SET"), Own(), email(1), WEBHOOK, email(sink.port)]
    with capture_logs() as entries:
        tell(dag_from_manifest(manifest, alerts=alerts), "mart__daily", "failure")
    assert (len(web.texts), len(sink.messages)) == (1, 1)
    assert [(entry["log_level"], entry["event"].split(" (")[0].split(". ")[0]) for entry in entries] == [
        ("error", "alert webhook: variable NOT_SET is not set"),
        ("error", "alert own: it failed"),
        ("error", "alert email: SMTP server 127.0.0.1:1 did not take the message"),
    ]
    assert SECRET not in str(entries)


def test_secrets_are_only_named(web: Web, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither alerts nor the DAG, as Airflow shows it and keeps it, hold the value of a variable or of a connection."""
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    alerts = [WEBHOOK, email(25, username="ann", password_variable="SMTP_PASSWORD"), SlackAlert()]
    dag: Any = dag_from_manifest(manifest, alerts=alerts, deadline=3600)
    tell(dag, "mart__daily", "failure")
    assert SECRET in web.posts[0][0]
    kept = json.dumps(DagSerialization.to_dict(dag))
    seen = [repr(alerts), repr(dag), repr(dag.tasks), kept, *(repr(vars(task)) for task in dag.tasks)]
    seen += [repr(vars(callback)) for task in dag.tasks for callback in task.on_failure_callback]
    assert not [one for one in seen if SECRET in one]
    assert "SMTP_PASSWORD" in kept


# -- deadlines ------------------------------------------------------------------------------------------------------------

HOUR = datetime.timedelta(hours=1)


def miss(alerts: list[Alert], **more: Any) -> None:
    """What Airflow's triggerer does when a deadline is missed, with what its database kept."""
    arguments: dict[str, Any] = json.loads(json.dumps(deadline_arguments(alerts, "sales", HOUR)))
    asyncio.run(deadline_missed(**arguments, **more))


@pytest.mark.parametrize(
    ("more", "run"),
    [
        ({"context": {"dag_run": {"dag_run_id": RUN, "run_id": "other"}}}, RUN),
        ({"context": {"dag_run": {"run_id": RUN}}}, RUN),
        ({"context": {"dag_run": SimpleNamespace(run_id=RUN)}}, RUN),
        ({"context": {}}, "None"),
        ({}, "None"),
    ],
)
def test_a_deadline_that_was_missed(web: Web, more: Mapping[str, Any], run: str) -> None:
    """Those who want to know are told which DAG run has not ended within which time, however Airflow names the run."""
    miss([WebhookAlert(url_variable="ALERT_WEBHOOK"), WebhookAlert(url_variable="NOT_SET", on=("failure",))], **more)
    assert web.texts == [f"*sales missed its deadline*\nrun: {run}\nit has not ended 1:00:00 after it was queued"]


def test_a_deadline_is_told_to_all(web: Web, sink: SmtpSink) -> None:
    """An alert that does not arrive is an error in the end, after the others were told."""
    with pytest.raises(AlertError) as caught:
        miss(
            [
                WebhookAlert(url_variable="NOT_SET"),
                email(1),
                WEBHOOK,
                email(sink.port),
                SlackAlert(),
                SmtpAlert(recipients=("a@example.com",)),
            ]
        )
    assert (len(web.texts), len(sink.messages)) == (2, 2)
    assert "variable NOT_SET is not set." in str(caught.value)
    assert "SMTP server 127.0.0.1:1 did not take the message" in str(caught.value)


def test_alerts_that_airflow_keeps() -> None:
    """Every alert of the bridge comes back from Airflow's database as it was; one of the project's own cannot be kept there."""
    alerts = [WEBHOOK, email(25, username="ann"), SmtpAlert(recipients=("a@example.com",)), SlackAlert()]
    kept = json.loads(json.dumps(deadline_arguments([*alerts, Own()], "sales", HOUR)))
    assert (kept["dag_id"], kept["seconds"]) == ("sales", 3600.0)
    assert list(alerts_of("here", kept["alerts"])) == alerts


def test_an_alert_of_no_kind() -> None:
    """The class that alerts have in common tells nobody."""
    with pytest.raises(NotImplementedError):
        Alert().send("subject", "text")


def test_an_address_is_no_variable() -> None:
    """Who writes the secret where its variable belongs is told so, without the secret."""
    with pytest.raises(ManifestError) as caught:
        alerts_of("dags.py", [{"webhook": {"url_variable": "https://hooks.example.com/T0/secret"}}])
    assert "url_variable is no name of a variable. Next: name one that holds it." in str(caught.value)
    assert "secret" not in str(caught.value)

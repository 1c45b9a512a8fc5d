"""Who is told of failed, retried and finished tasks and of missed deadlines, and how. Standard library, requests and Airflow only.

    alerts=[EmailAlert(host="smtp.example.com", sender="airflow@example.com", recipients=("team@example.com",)),
            WebhookAlert(url_variable="ALERT_WEBHOOK", on=("failure", "deadline"))]

The settings are those of `EmailNotifier` and `WebhookNotifier` of etl_assets. Secrets are named, never written: a variable of the
environment, or a connection of Airflow. One failure is told once: by the task that failed, not again by those that only report it.

Not here: when Airflow calls (`dags.py`).
"""

import asyncio
import dataclasses
import datetime
import html
import os
import smtplib
import ssl
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar

from airflow.providers.common.compat.sdk import BaseNotifier

from airflow_bridge.compat import task_states
from airflow_bridge.launcher import run_id_for
from airflow_bridge.links import run_url
from airflow_bridge.manifest import ManifestError

EVENTS = ("failure", "retry", "success", "deadline")
TLS = ("starttls", "tls", "none")
_TIMEOUT_SECONDS = 20
_VERBS = {"failure": "failed", "retry": "will be tried again", "success": "succeeded"}


class AlertError(Exception):
    """A message did not arrive; the text names the cause and the next step, and no secret."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Somebody who is told.

    Attributes:
        on: Of what: "failure", "retry", "success" (of a whole DAG run), "deadline".
    """

    kind: ClassVar[str] = ""
    on: tuple[str, ...] = ("failure", "deadline")

    def send(self, subject: str, text: str) -> None:
        """Tell them.

        Raises:
            AlertError: It did not arrive.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class WebhookAlert(Alert):
    """Posts `{"text": ...}`, which Slack, Mattermost, Teams and others take.

    Attributes:
        url_variable: Variable of the environment with the address; whoever knows it can post.
    """

    kind: ClassVar[str] = "webhook"
    url_variable: str

    def send(self, subject: str, text: str) -> None:
        """See `Alert`."""
        import requests

        try:
            answer = requests.post(
                _secret(self.url_variable), json={"text": f"*{subject}*\n{text}"}, timeout=_TIMEOUT_SECONDS, allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:
            # Its text shows the address, which is the secret.
            raise AlertError(f"the webhook does not answer ({type(error).__name__}). Next: check {self.url_variable}.") from None
        if not 200 <= answer.status_code < 300:
            raise AlertError(f"the webhook answered {answer.status_code} {answer.reason}. Next: check {self.url_variable}.")


@dataclass(frozen=True, kw_only=True)
class EmailAlert(Alert):
    """Sends e-mail by an SMTP server.

    Attributes:
        host: SMTP server.
        port: Its port.
        tls: "starttls" after connecting, "tls" from the start, "none" for a server on this machine.
        username: None where the server asks for none.
        password_variable: Variable of the environment with the password; None for none.
        sender: Address that messages come from.
        recipients: Addresses that they go to.
    """

    kind: ClassVar[str] = "email"
    host: str
    port: int = 587
    tls: str = "starttls"
    username: str | None = None
    password_variable: str | None = None
    sender: str
    recipients: tuple[str, ...]

    def send(self, subject: str, text: str) -> None:
        """See `Alert`."""
        context = ssl.create_default_context()
        try:
            message = EmailMessage()
            message["Subject"], message["From"], message["To"] = " ".join(subject.split()), self.sender, ", ".join(self.recipients)
            message.set_content(text)
            if self.tls == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=_TIMEOUT_SECONDS, context=context)
            else:
                server = smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_SECONDS)
            with server:
                if self.tls == "starttls":
                    server.starttls(context=context)
                if self.username is not None:
                    server.login(self.username, _secret(self.password_variable) if self.password_variable else "")
                refused = server.send_message(message)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise AlertError(
                f"SMTP server {self.host}:{self.port} did not take the message ({type(error).__name__}). "
                "Next: check host, port, tls, user and recipients."
            ) from error
        if refused:
            raise AlertError(f"SMTP server {self.host}:{self.port} refused {', '.join(sorted(refused))}. Next: check recipients.")


@dataclass(frozen=True, kw_only=True)
class SmtpAlert(Alert):
    """Sends e-mail by a connection of Airflow.

    Attributes:
        connection: Id of an `smtp` connection.
        recipients: Addresses that messages go to.
        sender: Address that they come from; that of the connection when None.
    """

    kind: ClassVar[str] = "smtp"
    connection: str = "smtp_default"
    recipients: tuple[str, ...]
    sender: str | None = None

    def send(self, subject: str, text: str) -> None:
        """See `Alert`."""
        from airflow.providers.smtp.hooks.smtp import SmtpHook

        try:
            with SmtpHook(smtp_conn_id=self.connection) as hook:
                hook.send_email_smtp(
                    to=list(self.recipients), subject=subject, html_content=f"<pre>{html.escape(text)}</pre>", from_email=self.sender
                )
        except Exception as error:
            raise AlertError(f"connection {self.connection} did not take the message ({type(error).__name__}). Next: check it.") from error


@dataclass(frozen=True, kw_only=True)
class SlackAlert(Alert):
    """Posts to Slack by a connection of Airflow; needs apache-airflow-providers-slack.

    Attributes:
        connection: Id of a `slackwebhook` connection.
    """

    kind: ClassVar[str] = "slack"
    connection: str = "slack_default"

    def send(self, subject: str, text: str) -> None:
        """See `Alert`."""
        try:
            from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
        except ImportError as error:
            raise AlertError("Slack needs a provider. Next: install apache-airflow-providers-slack.") from error
        try:
            # What stands in angle brackets is a link or a mention to Slack.
            SlackWebhookHook(slack_webhook_conn_id=self.connection).send(text=html.escape(f"*{subject}*\n{text}", quote=False))
        except Exception as error:
            raise AlertError(f"connection {self.connection} did not take the message ({type(error).__name__}). Next: check it.") from error


_KINDS: Mapping[str, type[Alert]] = {one.kind: one for one in (WebhookAlert, EmailAlert, SmtpAlert, SlackAlert)}


def alerts_of(where: str | Path, given: Sequence[Any]) -> tuple[Alert, ...]:
    """Alerts, each given as such or as YAML writes it: `{"webhook": {"url_variable": "ALERT_WEBHOOK"}}`.

    Raises:
        ManifestError: One is neither.
    """
    result = []
    for one in given:
        alert = one
        if isinstance(one, Mapping) and len(one) == 1:
            (kind, settings) = next(iter(one.items()))
            if kind not in _KINDS:
                raise ManifestError(f"{where}: there is no alert {kind!r}; known: {', '.join(sorted(_KINDS))}. Next: correct it.")
            if not isinstance(settings, Mapping | None):
                raise ManifestError(f"{where}: alert {kind!r}: {settings!r} is no mapping. Next: correct its settings.")
            # YAML reads a bare `on` as true.
            listed = {
                "on" if name is True else name: tuple(value) if isinstance(value, list) else value
                for name, value in (settings or {}).items()
            }
            try:
                alert = _KINDS[kind](**listed)
            except TypeError as error:
                raise ManifestError(f"{where}: alert {kind!r}: {error}. Next: correct its settings.") from error
        if not isinstance(alert, Alert):
            raise ManifestError(f"{where}: {alert!r} is no alert. Next: give EmailAlert, WebhookAlert, SmtpAlert or SlackAlert.")
        wrong = _wrong(alert)
        if wrong:
            raise ManifestError(f"{where}: alert {alert.kind!r}: {wrong} Next: correct its settings.")
        for field in dataclasses.fields(alert):
            named = getattr(alert, field.name)
            if field.name.endswith("_variable") and named is not None and not str(named).isidentifier():
                # What it is instead may be the secret itself.
                raise ManifestError(f"{where}: alert {alert.kind!r}: {field.name} is no name of a variable. Next: name one that holds it.")
        unknown = [event for event in alert.on if event not in EVENTS]
        if unknown:
            raise ManifestError(f"{where}: alerts know no event {unknown}; known: {', '.join(EVENTS)}. Next: correct `on`.")
        result.append(alert)
    return tuple(result)


def _wrong(alert: Alert) -> str:
    """The setting of an alert that cannot be; "" when there is none."""
    if type(alert) not in _KINDS.values():
        # One of the project's own knows its settings itself.
        return ""
    for one in dataclasses.fields(alert):
        value: Any = getattr(alert, one.name)
        if typing.get_origin(one.type) is tuple:
            if not isinstance(value, tuple | list) or not all(isinstance(text, str) for text in value):
                return f"{one.name}={value!r} is no list of texts."
        elif not isinstance(value, typing.cast("type", one.type)):
            return f"{one.name}={value!r} is no {getattr(one.type, '__name__', one.type)}."
    if isinstance(alert, EmailAlert) and alert.tls not in TLS:
        return f"tls={alert.tls!r} is unknown; known: {', '.join(TLS)}."
    return "it has no recipients." if isinstance(alert, EmailAlert | SmtpAlert) and not alert.recipients else ""


def tell(alerts: Sequence[Alert], subject: str, text: str, log: Any) -> None:
    """Tell everybody; what did not arrive is in the log, and the others are told nevertheless."""
    for alert in alerts:
        try:
            alert.send(subject, text)
        except Exception as error:
            log.error("alert %s: %s", alert.kind, _cause(error))


class AlertNotifier(BaseNotifier):
    """A callback of tasks that tells those who want to know of an event."""

    def __init__(
        self,
        event: str,
        alerts: Sequence[Alert],
        assets: Sequence[str] = (),
        *,
        dagster_url: str = "",
        group: str = "",
        own_run: bool = False,
    ) -> None:
        """Set up.

        Args:
            event: Of which to tell.
            alerts: Of whom those are told that want to know of it.
            assets: Keys of the assets that the task makes.
            dagster_url: Address of the Dagster UI; "" for no link.
            group: TaskGroup that the job is in the DAG.
            own_run: Each try of the task is a Dagster run of its own.
        """
        super().__init__()
        self.own_run = own_run
        self.event = event
        self.alerts = tuple(alert for alert in alerts if event in alert.on)
        self.assets = tuple(assets)
        self.dagster_url = dagster_url
        self.group = group

    def notify(self, context: Any) -> None:
        """Tell everybody; what did not arrive is in the log, and the others are told nevertheless."""
        exception = context.get("exception")
        if getattr(exception, "told_elsewhere", False):
            return
        if getattr(exception, "interrupted", False) and task_states(context, [context["ti"].task_id])[context["ti"].task_id] != "running":
            # Somebody, or the time limit of the DAG run, has decided what becomes of the task before it was stopped.
            return
        tell(self.alerts, *self._message(context, exception), self.log)

    def _message(self, context: Any, exception: Any) -> tuple[str, str]:
        # The dag-processor, which calls for tasks that watch, gives no DAG run.
        ti, run = context["ti"], context.get("dag_run")
        what = ti.dag_id if self.event == "success" else f"{ti.dag_id}.{ti.task_id}"
        partition = getattr(run, "partition_key", None) or (context.get("params") or {}).get("partition")
        lines = [f"assets: {', '.join(self.assets)}"] if self.assets else []
        lines += [f"partition: {partition}"] if partition else []
        lines.append(f"run: {ti.run_id}")
        if self.event != "success":
            lines.append(f"try: {ti.try_number} of {getattr(ti, 'max_tries', 0) + 1}")
            lines += [f"cause: {exception}"] if exception is not None else []
            lines += [f"log: {ti.log_url}"] if getattr(ti, "log_url", None) else []
        own = {"task": ti.task_id, "try_number": ti.try_number} if self.own_run else {}
        dagster_run = run_id_for(ti.dag_id, ti.run_id, self.group, **own)
        lines += [f"Dagster: {run_url(self.dagster_url, dagster_run)}"] if self.dagster_url else []
        # What an exception says may hold parts of file names that are no text, which no recipient takes.
        return f"{what} {_VERBS[self.event]}", "\n".join(lines).encode(errors="replace").decode()


def deadline_arguments(alerts: Sequence[Alert], dag_id: str, interval: datetime.timedelta) -> dict[str, Any]:
    """What `deadline_missed` is called with: plain values, since Airflow keeps them in its database; an alert of another kind has none."""
    told = [{alert.kind: dataclasses.asdict(alert)} for alert in alerts if "deadline" in alert.on and type(alert) in _KINDS.values()]
    return {"alerts": told, "dag_id": dag_id, "seconds": interval.total_seconds()}


async def deadline_missed(*, alerts: Sequence[Any], dag_id: str, seconds: float, context: Any = None) -> None:
    """Tell of a DAG run that has not ended in time; called by Airflow's triggerer.

    Raises:
        AlertError: A message did not arrive.
    """
    run = (context or {}).get("dag_run") or {}
    run_id = run.get("dag_run_id") or run.get("run_id") if isinstance(run, Mapping) else getattr(run, "run_id", None)
    limit = datetime.timedelta(seconds=seconds)
    failed = []
    for alert in alerts_of(dag_id, alerts):
        try:
            await asyncio.to_thread(
                alert.send, f"{dag_id} missed its deadline", f"run: {run_id}\nit has not ended {limit} after it was queued"
            )
        except Exception as error:
            failed.append(_cause(error))
    if failed:
        raise AlertError(" ".join(failed))


def _cause(error: Exception) -> str:
    """Why an alert did not arrive; what an error of another kind says may hold a secret."""
    return str(error) if isinstance(error, AlertError) else f"it failed ({type(error).__name__}). Next: check its settings."


def _secret(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise AlertError(f"variable {variable} is not set. Next: set it for Airflow's workers, its dag-processor and its triggerer.")
    return value


__all__ = [
    "EVENTS", "Alert", "AlertError", "AlertNotifier", "EmailAlert", "SlackAlert", "SmtpAlert", "WebhookAlert", "alerts_of",
    "deadline_arguments", "deadline_missed", "tell",
]  # fmt: skip

"""Who is told, and how: e-mail or a webhook, as Dagster config with secrets as EnvVar.

Not here: when somebody is told (`check_sensor.py`).
"""

import smtplib
import ssl
from email.message import EmailMessage
from typing import Literal, Protocol

import dagster as dg
import requests
from pydantic import Field

from etl_assets.errors import AuthenticationError, ConfigurationError, NotificationError
from etl_assets.secrets import SECRET

_TIMEOUT_SECONDS = 20


class Notifier(Protocol):
    """Anything that can tell somebody."""

    def send(self, subject: str, text: str) -> None:
        """Tell them.

        Raises:
            NotificationError: It did not arrive; sending it again may help.
            AuthenticationError, ConfigurationError: It never will, until a setting is corrected.
        """


class WebhookNotifier(dg.ConfigurableResource["WebhookNotifier"]):
    """Posts JSON to an address: `{"text": ...}`, which Slack, Mattermost, Teams and others take."""

    url: str = Field(description="Give it as EnvVar: whoever knows it can post.", json_schema_extra=SECRET)

    def send(self, subject: str, text: str) -> None:
        """See `Notifier`."""
        try:
            answer = requests.post(self.url, json={"text": f"*{subject}*\n{text}"}, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            # Its text shows the address, which is the secret.
            raise NotificationError("webhook", f"it does not answer ({type(error).__name__}).", "check its address.") from None
        if answer.status_code in (401, 403, 404, 410):
            raise AuthenticationError("webhook", f"it answered {answer.status_code}.", "check its address.")
        if not 200 <= answer.status_code < 300:
            raise NotificationError("webhook", f"it answered {answer.status_code} {answer.reason}.", "look at its owner's page.")


class EmailNotifier(dg.ConfigurableResource["EmailNotifier"]):
    """Sends e-mail by SMTP."""

    host: str = Field(description="SMTP server.")
    port: int = Field(default=587, description="Its port.")
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description='"starttls" after connecting, "tls" from the start, "none" for a server on this machine.'
    )
    username: str | None = Field(default=None, description="None where the server asks for none.")
    password: str | None = Field(default=None, description="Give it as EnvVar.", json_schema_extra=SECRET)
    sender: str = Field(description="Address that messages come from.")
    recipients: list[str] = Field(description="Addresses that messages go to.")

    def send(self, subject: str, text: str) -> None:
        """See `Notifier`."""
        if not self.recipients:
            raise ConfigurationError("e-mail", "there is nobody to send it to.", "name recipients.")
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = " ".join(subject.split()), self.sender, ", ".join(self.recipients)
        message.set_content(text)
        where = f"SMTP server {self.host}:{self.port}"
        context = ssl.create_default_context()
        try:
            if self.tls == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=_TIMEOUT_SECONDS, context=context)
            else:
                server = smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_SECONDS)
            with server:
                if self.tls == "starttls":
                    server.starttls(context=context)
                if self.username is not None:
                    server.login(self.username, self.password or "")
                server.send_message(message)
        except smtplib.SMTPAuthenticationError as error:
            raise AuthenticationError(where, "it refused user or password.", "check them.") from error
        except smtplib.SMTPRecipientsRefused as error:
            raise ConfigurationError(where, f"it refused the recipients {sorted(error.recipients)}.", "correct them.") from error
        except (smtplib.SMTPException, OSError) as error:
            raise NotificationError(where, f"the message was not taken ({error}).", "check host, port and tls.") from error


__all__ = ["EmailNotifier", "Notifier", "WebhookNotifier"]

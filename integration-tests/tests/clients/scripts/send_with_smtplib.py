"""Sends FILE with Python's smtplib: PROTOCOL HOST PORT CERTIFICATE FILE RECIPIENT...

PROTOCOL is smtp (with STARTTLS) or lmtp. Prints the recipients that were refused, each with its reply's code.
"""

import pathlib
import smtplib
import ssl
import sys

protocol, host, port, certificate, file, *recipients = sys.argv[1:]
content = pathlib.Path(file).read_bytes()
if protocol == "lmtp":
    client = smtplib.LMTP(host, int(port))
else:
    client = smtplib.SMTP(host, int(port), timeout=60)
    client.starttls(context=ssl.create_default_context(cafile=certificate))
client.ehlo_or_helo_if_needed()
for extension in ["pipelining", "size", "8bitmime", "enhancedstatuscodes"]:
    assert client.has_extn(extension), extension
try:
    refused = client.sendmail("ines.kaya@example.com", recipients, content, mail_options=["BODY=8BITMIME"])
except smtplib.SMTPRecipientsRefused as error:
    refused = error.recipients
for recipient, (code, _) in sorted(refused.items()):
    print(recipient, code)
client.quit()

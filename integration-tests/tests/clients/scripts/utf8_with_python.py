"""A message with addresses and header fields in UTF-8, by Python's smtplib and poplib: SMTP LMTP POP3 USER PASSWORD.

The first three are HOST:PORT. It goes in by both protocols (RFC 6531) and comes out where the session asked for UTF-8
(RFC 6856); where it didn't, each is refused. Prints what happened.
"""

import email.policy
import poplib
import smtplib
import sys
from email.message import EmailMessage

smtp, lmtp, pop3, user, password = sys.argv[1:]
host_and_port = lambda address: (address.rsplit(":", 1)[0], int(address.rsplit(":", 1)[1]))

message = EmailMessage(policy=email.policy.SMTPUTF8)
message["From"] = "éva@example.com"
message["To"] = user
message["Subject"] = "Žluťoučký kůň"
message.set_content("hallo\n")
for client, address in ((smtplib.SMTP, smtp), (smtplib.LMTP, lmtp)):
    client = client(*host_and_port(address))
    assert client.send_message(message) == {}
    client.quit()

session = poplib.POP3(*host_and_port(pop3))
session.utf8()
session.encoding = "UTF-8"
session.user(user)
session.pass_(password)
for number in (1, 2):
    lines = session.retr(number)[1]
    print(next(line for line in lines if line.startswith(b"Subject")).decode())
    print(next(line for line in lines if b" with " in line).split()[-1].decode())
in_utf8 = session.list()[1]
session.quit()

session = poplib.POP3(*host_and_port(pop3))
session.encoding = "UTF-8"
session.user(user)
session.pass_(password)
assert session.list()[1] == in_utf8, "sizes are the same in both modes"
for ask in (lambda: session.retr(1), lambda: session.top(2, 0)):
    try:
        ask()
    except poplib.error_proto as error:
        print(error.args[0].split()[1].decode())
session.quit()

"""Fetches a maildrop with Python's poplib: MODE HOST PORT CERTIFICATE USER FOLDER, the password on the standard input.

MODE is plain, stls or tls; with `-delete` behind it every message is deleted. Prints the numbers of messages.
"""

import pathlib
import poplib
import ssl
import sys

mode, host, port, certificate, user, folder = sys.argv[1:]
password = sys.stdin.readline().rstrip("\n")

# The longest line that poplib takes is 2,048 octets, and real mail has longer ones.
poplib._MAXLINE = 1_000_000

context = ssl.create_default_context(cafile=certificate)
if mode.startswith("tls"):
    pop3 = poplib.POP3_SSL(host, int(port), context=context, timeout=60)
else:
    pop3 = poplib.POP3(host, int(port), timeout=60)
    if mode.startswith("stls"):
        pop3.stls(context)
pop3.user(user)
pop3.pass_(password)
count, octets = pop3.stat()
listed = [tuple(map(int, line.split())) for line in pop3.list()[1]]
assert len(listed) == count == len(pop3.uidl()[1]), (count, listed)
assert sum(size for _, size in listed) == octets, octets
for number, size in listed:
    # poplib gives the lines without their ends and with the dots that were added taken away.
    message = b"".join(line + b"\r\n" for line in pop3.retr(number)[1])
    assert len(message) == size, (number, size, len(message))
    (pathlib.Path(folder) / str(number)).write_bytes(message)
    if mode.endswith("-delete"):
        pop3.dele(number)
pop3.quit()
print(count)

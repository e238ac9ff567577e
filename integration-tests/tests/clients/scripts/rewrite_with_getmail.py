"""What getmail6 makes of a message before it hands it on: FOLDER with a file for each, rewritten in place.

getmail6 takes every message apart with Python's email package and writes it anew, which folds long fields, and ends a
header or a multipart that has no end. Nothing of the network is in this; so what getmail6 fetched has to be this.
"""

import pathlib
import sys

from getmailcore.message import Message

for path in pathlib.Path(sys.argv[1]).iterdir():
    # As it takes them from poplib, with an empty line behind the last.
    lines = path.read_bytes().split(b"\r\n")
    path.write_bytes(Message(fromlines=lines).flatten(False, False))

"""Verifies every DKIM signature of the message on standard input with dkimpy, against records given as
name=record, and prints their number."""
import sys

import dkim

records = dict(argument.split("=", 1) for argument in sys.argv[1:])
message = sys.stdin.buffer.read()
verifier = dkim.DKIM(message)
signatures = [name for name, value in verifier.headers if name.lower() == b"dkim-signature"]
for index in range(len(signatures)):
    if not dkim.DKIM(message).verify(idx=index, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")].encode()):
        sys.exit(f"signature {index} does not verify")
print(len(signatures))

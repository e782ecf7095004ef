# Submits standard input with smtplib. What to do is in the environment.
# The name in the certificate need not resolve: every name leads to this machine.
import os, smtplib, socket, ssl, sys

env = os.environ
create = socket.create_connection
socket.create_connection = lambda address, *args, **kw: create(("127.0.0.1", address[1]), *args, **kw)
context = ssl.create_default_context(cafile=env["CA"])
if env["IMPLICIT"]:
    smtp = smtplib.SMTP_SSL(env["NAME"], int(env["PORT"]), "client.example", timeout=60, context=context)
else:
    smtp = smtplib.SMTP(env["NAME"], int(env["PORT"]), "client.example", timeout=60)
    smtp.starttls(context=context)
with smtp:
    smtp.ehlo_or_helo_if_needed()
    smtp.user, smtp.password = env["LOGIN"], env["PASSWORD"]
    smtp.auth(env["MECHANISM"], getattr(smtp, "auth_" + env["MECHANISM"].lower()))
    smtp.sendmail(env["FROM"], [env["TO"]], sys.stdin.buffer.read())

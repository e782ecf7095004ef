#!/usr/bin/env python3
"""A web service for msa.auth.http, made from docs/auth-http.md alone.

usage: service.py <directory>   (configuration in <directory>/config.json, read again at each question)
"""
import http.server, json, os, ssl, sys, threading, time

directory = sys.argv[1]
sys.path.insert(0, directory)
import verify_signature  # cut out of docs/auth-http.md by the test


def config():
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        return json.load(f)


settings = config()
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def refuse(self, code):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        c = config()
        if c.get("bearer") and self.headers.get("Authorization") != "Bearer " + c["bearer"]:
            return self.refuse(401)
        if c.get("hmac_key") and not verify_signature.verify(
                c["hmac_key"].encode(), self.headers.get("MSA-Signature", ""), body, time.time() + c.get("ahead", 0)):
            return self.refuse(403)
        if self.path != "/msa":
            return self.refuse(404)
        if self.headers["Content-Type"] != "application/json" or self.headers["User-Agent"] != "caddy-msa":
            return self.refuse(400)
        question = json.loads(body)
        if question["version"] != 1:
            return self.refuse(400)
        with lock, open(os.path.join(directory, "log.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps(question) + "\n")
        answer = json.dumps(self.answer(c["users"], question)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, users, q):
        allowed = {"version", "action", "user", "ip", "server", "session"}
        if q["action"] == "verify":
            allowed.add("password")
        if set(q) - allowed:
            return {"ok": False, "reason": "an odd question"}
        user = users.get(q["user"])
        if user is None or user.get("disabled") and q["action"] != "credentials":
            return {"ok": False, "reason": "unknown"}
        if q["action"] == "verify" and q["password"] != user["secret"]:
            return {"ok": False}
        answer = {"ok": True, "user": user.get("name", q["user"]), "addresses": user.get("addresses", []),
                  "attributes": user.get("attributes", {})}
        if q["action"] == "credentials":
            for name in ("password", "digest_ha1", "scram", "allow_nets", "disabled"):
                if name in user:
                    answer[name] = user[name]
        else:
            answer["fingerprint"] = user.get("fingerprint", "")
        return answer


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def get_request(self):
        connection, address = super().get_request()
        if settings.get("cert"):  # the handshake is for the thread of the connection
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings["ca"])
            context.load_cert_chain(settings["cert"], settings["key"])
            context.verify_mode = ssl.CERT_REQUIRED
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address


Server(("127.0.0.1", settings["port"]), Handler).serve_forever()

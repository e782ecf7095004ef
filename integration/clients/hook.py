"""A web service that takes messages: checks the signature, and writes each delivery once into a directory."""
import hashlib, hmac, http.server, json, os, sys, time

KEY, PORT, OUT = os.environ["HOOK_KEY"].encode(), int(os.environ["PORT"]), sys.argv[1]


def signed(header, body):
    fields = dict(f.split("=", 1) for f in header.split(",") if "=" in f)
    t = fields.get("t", "")
    if not t.isdigit() or abs(time.time() - int(t)) > 300:
        return False
    expected = hmac.new(KEY, t.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), fields.get("v1", "").encode())


class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        envelope = json.loads(self.headers["MSA-Envelope"])
        if not signed(self.headers.get("MSA-Signature", ""), body):
            return self.answer(403, "not signed")
        if any(r["address"].startswith("nobody@") for r in envelope["recipients"]):
            return self.answer(422, "No such desk")
        name = os.path.join(OUT, self.headers["Idempotency-Key"])
        with open(name + ".new", "wb") as f:
            f.write(body)
        os.rename(name + ".new", name)
        self.answer(200, "taken")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Hook).serve_forever()

// A receiver of status, whose signatures are verified by the reference library of Standard Webhooks. What it is to say stands in the
// file "mode"; what it took, in "heard", a line of JSON each, before it answers.
const fs = require("fs");
const http = require("http");
const { Webhook } = require("standardwebhooks");

const [port, dir] = [Number(process.env.PORT), process.argv[2]];
const hook = new Webhook(process.env.SECRET);

http.createServer((req, res) => {
  const chunks = [];
  req.on("data", (c) => chunks.push(c));
  req.on("end", () => {
    const body = Buffer.concat(chunks).toString();
    let event;
    try {
      event = hook.verify(body, req.headers);
    } catch (e) {
      fs.appendFileSync(dir + "/forged", e.message + "\n");
      res.writeHead(401).end();
      return;
    }
    const mode = fs.readFileSync(dir + "/mode", "utf8").trim();
    fs.appendFileSync(dir + "/asked", `${Date.now()} ${mode}\n`);
    if (mode === "429") {
      res.writeHead(429, { "Retry-After": "2" }).end();
      return;
    }
    if (mode !== "200") {
      res.writeHead(Number(mode)).end("not now");
      return;
    }
    fs.appendFileSync(dir + "/heard", JSON.stringify({ id: req.headers["webhook-id"], event }) + "\n");
    res.writeHead(204).end();
  });
}).listen(port, "127.0.0.1");

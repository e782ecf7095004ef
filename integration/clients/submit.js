// Submits standard input with nodemailer. What to do is in the environment.
const fs = require("fs");
const env = process.env;
const transport = require("nodemailer").createTransport({
  host: "127.0.0.1",
  port: Number(env.PORT),
  name: "client.example",
  secure: env.IMPLICIT !== "",
  requireTLS: env.IMPLICIT === "",
  tls: { servername: env.NAME, ca: fs.readFileSync(env.CA) },
  authMethod: env.MECHANISM,
  auth: { user: env.LOGIN, pass: env.PASSWORD },
});
transport
  .sendMail({ envelope: { from: env.FROM, to: [env.TO] }, raw: fs.readFileSync(0) })
  .then((info) => console.log(info.response), (err) => {
    console.error(err.message);
    process.exitCode = 1;
  });

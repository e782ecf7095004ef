// Submits by HTTP as the page docs/http-submission.md has it, with Node's fetch.
import assert from "node:assert";
import dns from "node:dns";
import { readFile } from "node:fs/promises";

const lookup = dns.lookup;
dns.lookup = (host, options, done) => lookup(host === process.env.HOST ? "127.0.0.1" : host, options, done);
const url = process.env.URL;
const Authorization = "Basic " + btoa("alice@example.org:secret");

const query = new URLSearchParams([["from", "alice@example.org"], ["to", "fetch@example.net"]]);
const whole = await fetch(url + "?" + query, {
	method: "POST", body: await readFile(process.env.MESSAGE), headers: { Authorization, "Content-Type": "message/rfc822" },
});
const text = await whole.text();
assert.equal(whole.status, 202, text);

const json = await fetch(url, {
	method: "POST", headers: { Authorization, "Content-Type": "application/json" },
	body: JSON.stringify({
		from: { name: "Älice", address: "alice@example.org" }, to: "fetch-json@example.net", subject: "Grüße", html: "<p>hällo",
		attachments: [{ filename: "ä.txt", type: "text/plain", content: btoa("hello") }],
	}),
});
assert.equal(json.status, 202, await json.clone().text());
const own = await fetch(new URL(json.headers.get("Location"), url), { headers: { Authorization } });
assert.equal((await own.json()).recipients[0].address, "fetch-json@example.net");

const refused = await fetch(url + "?from=eve@example.org&to=x@example.net", { method: "POST", body: "A: b\r\n\r\n", headers: { Authorization, "Content-Type": "message/rfc822" } });
assert.equal(refused.status, 403);
assert.equal((await refused.json()).policy, "sender_identity");
console.log(text);

// Drives Debian's Chromium through the console: every page light and dark, narrow and wide; every action; live updates;
// without JavaScript. What is wrong is on standard error, and in the exit code.
// usage: console.js <site> <directory for screenshots> <ids of messages as JSON> [readme]
const puppeteer = require("puppeteer-core");
const axe = require("fs").readFileSync(require.resolve("axe-core"), "utf8");
const [site, shots, ids] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];

const wrong = [];
const bad = (what) => { wrong.push(what); console.error(what); };
const check = (ok, what) => { if (!ok) bad(what); };
const pages = {
	now: "", messages: "messages", search: "messages?q=busy", message: "message?id=" + ids.deferred, story: "message?id=" + ids.failed, hostile: "message?id=" + ids.hostile,
	source: "source?id=" + ids.deferred, lanes: "lanes", guesses: "guesses", config: "config", try: "try",
};
const patience = { timeout: 60000 };

async function open(browser, options = {}) {
	const page = await browser.newPage();
	page.setDefaultTimeout(60000);
	await page.authenticate({ username: "admin", password: "look" });
	await page.emulateTimezone("Asia/Tokyo");
	await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: options.dark ? "dark" : "light" }]);
	await page.setViewport({ width: options.width || 1280, height: 900 });
	if (options.plain) await page.setJavaScriptEnabled(false);
	page.on("console", m => { if (m.type() === "error" || m.type() === "warn") bad(page.url() + ": console: " + m.text() + " " + (m.location().url || "")); });
	page.on("pageerror", e => bad(page.url() + ": " + e));
	page.on("dialog", d => { bad(page.url() + ": a dialog: " + d.message()); d.dismiss(); });
	page.on("request", r => { if (!r.url().startsWith(site) && !r.url().startsWith("data:")) bad("a request outside the site: " + r.url()); });
	return page;
}

const text = page => page.evaluate(() => document.body.innerText);
const says = (page, what) => page.waitForFunction(w => document.body.innerText.includes(w), patience, what).catch(() => bad(page.url() + ": does not say " + what));
// choose clicks; without JavaScript, where a driver cannot tell when a place is still, it is done with a key.
async function choose(page, selector, key = "Space") {
	if (page.isJavaScriptEnabled()) return page.locator(selector).click();
	await page.focus(selector);
	await page.keyboard.press(key);
}
const press = (page, selector) => Promise.all([page.waitForNavigation(patience), choose(page, selector, "Enter")]);

// Each page, as it looks, and what axe says of it.
async function look(browser) {
	for (const dark of [false, true]) for (const width of [360, 1280]) {
		const page = await open(browser, { dark, width });
		for (const [name, path] of Object.entries(pages)) {
			await page.goto(site + path, { waitUntil: "load" });
			if (await page.$("body[data-of]")) await page.waitForSelector("html[data-live=yes]");
			const where = `${name} at ${width} ${dark ? "dark" : "light"}`;
			const over = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
			for (const other of width === 1280 && !dark ? [700, 1160, 1920] : []) {
				await page.setViewport({ width: other, height: 900 });
				const over = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
				check(over <= 0, `${name} at ${other}: is ${over} pixels too wide`);
				await page.setViewport({ width, height: 900 });
			}
			check(over <= 0, `${where}: is ${over} pixels too wide`);
			const times = await page.evaluate(() => [...document.querySelectorAll("time")].filter(t => !t.title.includes(t.textContent + " here, ") || !t.title.endsWith("UTC") || isNaN(new Date(t.dateTime))).length);
			check(times === 0, `${where}: ${times} times are not in the reader's zone, or have no absolute one`);
			if (dark !== width > 1000) { // colours and widths each once
				await page.screenshot({ path: `${shots}/${name}-${width}-${dark ? "dark" : "light"}.png`, fullPage: true });
				continue;
			}
			await page.evaluate(axe);
			const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
			for (const v of found.violations) {
				const nodes = v.nodes.slice(0, 3).map(n => n.target.join(" ") + " " + (n.any[0] || n.all[0] || n.none[0] || {}).message).join("; ");
				if (["serious", "critical"].includes(v.impact)) bad(`${where}: axe: ${v.id}: ${v.help}: ${nodes}`);
				else console.log(`${where}: axe: ${v.impact}: ${v.id}: ${v.help}: ${nodes}`);
			}
			await page.screenshot({ path: `${shots}/${name}-${width}-${dark ? "dark" : "light"}.png`, fullPage: true });
		}
		await page.close();
	}
}

// With keys alone.
async function keys(browser) {
	const page = await open(browser);
	await page.goto(site + "messages", { waitUntil: "load" });
	await page.keyboard.press("Tab");
	check(await page.evaluate(() => document.activeElement.className) === "skip", "the first stop is not the link to the content");
	const seen = [];
	for (let i = 0; i < 12; i++) {
		await page.keyboard.press("Tab");
		const at = await page.evaluate(() => { const e = document.activeElement, s = getComputedStyle(e); return [e.tagName + " " + (e.name || e.textContent).slice(0, 20), s.outlineStyle, s.outlineWidth]; });
		seen.push(at[0]);
		check(at[1] !== "none" && at[2] !== "0px", "the focus cannot be seen at " + at[0]);
	}
	check(seen.some(s => s.startsWith("INPUT q")), "no key leads to the search: " + seen);
	await page.evaluate(() => document.activeElement.blur());
	await page.keyboard.press("/");
	check(await page.evaluate(() => document.activeElement.id) === "q", "/ does not lead to the search");
	// The search follows what is typed, without a new page.
	await page.evaluate(() => { window.same = true; });
	await page.keyboard.type("to:busy", { delay: 20 });
	await page.waitForFunction(id => { const t = document.getElementById("live").innerText; return t.includes(id[0]) && !t.includes(id[1]); }, patience, [ids.deferred, ids.down]).catch(() => bad("the search does not follow what is typed"));
	check(await page.evaluate(() => window.same && location.search === "?q=to%3Abusy"), "the search is not in the address, or made a new page");
	await page.close();
}

// send has the page "try" send a message.
async function send(page, to) {
	const form = "section[aria-labelledby=try-message] ";
	await page.type(form + "input[name=user]", "alice@example.org");
	await page.type(form + "input[name=password]", "secret");
	await page.type(form + "input[name=to]", to);
	await press(page, form + "button");
}

// What happens elsewhere is seen at once; what the reader has chosen stays.
async function live(browser) {
	const watching = await open(browser), acting = await open(browser);
	await watching.goto(site + "messages?q=live-busy", { waitUntil: "load" });
	await watching.waitForSelector("html[data-live=yes]");
	const tryOne = async n => {
		await acting.bringToFront();
		await acting.goto(site + "try", { waitUntil: "load" });
		await send(acting, `live-busy-${n}@example.net`);
		await says(acting, "Accepted as");
		const said = await text(acting);
		check(said.includes("S: 220") && said.includes("C: MAIL FROM:<alice@example.org>") && !said.includes("secret"), "the dialogue: " + said);
	};
	await tryOne(1);
	await watching.bringToFront();
	await says(watching, "live-busy-1@example.net");
	await watching.waitForSelector("input[name=id]");
	await choose(watching, "input[name=id]");
	await watching.type("input[name=reason]", "keep what I typed");
	await tryOne(2);
	await watching.bringToFront();
	await says(watching, "live-busy-2@example.net");
	const kept = await watching.evaluate(() => [document.querySelector("input[name=id]").checked, document.querySelector("input[name=reason]").value, document.activeElement.name]);
	check(kept[0] && kept[1] === "keep what I typed" && kept[2] === "reason", "an update takes away what the reader typed: " + kept);
	await watching.close();
	await acting.close();
}

// Every action, with JavaScript and without.
async function act(browser, plain) {
	const page = await open(browser, { plain });
	const how = plain ? "without JavaScript: " : "";
	const to = plain ? "plain" : "live";
	const find = async q => {
		await page.goto(site + "messages", { waitUntil: "load" });
		await page.evaluate(() => { document.getElementById("q").value = ""; });
		await page.type("#q", q);
		if (plain) await press(page, "form.search button");
		else await page.waitForFunction(() => document.querySelectorAll("input[name=id]").length === 1, patience); // what else there was is gone
	};
	const expect = async what => { const said = await text(page); check(said.includes(what), `${how}no "${what}" in ${said.slice(0, 900)}`); };
	for (const [button, done] of [["hold", "1 message held."], ["release", "1 message released."], ["retry", "1 message tried again."], ["reroute", "1 message rerouted."]]) {
		await find(`to:${to}-busy-1`);
		await choose(page, "input[name=id]");
		await page.type("input[name=reason]", "because of <" + button + ">");
		await press(page, `button[value=${button}]`);
		await expect(done);
	}
	await find(`to:${to}-busy-1`);
	await choose(page, "input[name=id]");
	await press(page, "button[value=bounce]");
	await expect("Bounce 1 message?");
	await page.screenshot({ path: `${shots}/ask-1280-light.png` });
	await press(page, "form.ask button.danger");
	await expect("1 message bounced.");
	await find(`to:${to}-busy-2`);
	await choose(page, "input[name=all]");
	await press(page, "button[value=delete]");
	await expect("Delete 1 message?");
	await press(page, "form.ask button.danger");
	await expect("1 message deleted.");
	for (const [button, done] of [["pause", "is paused"], ["resume", "is taking messages again"], ["probe", "is being tried"]]) {
		await page.goto(site + "lanes?q=127.0.0.1:9", { waitUntil: "load" });
		await press(page, `button[value^="${button} "]`);
		await expect(done);
	}
	await page.goto(site + "try", { waitUntil: "load" });
	const form = "section[aria-labelledby=try-login] ";
	await page.type(form + "input[name=user]", "alice@example.org");
	await page.type(form + "input[name=password]", "wrong");
	await press(page, form + "button");
	await expect("refused");
	await page.type("section[aria-labelledby=try-doctor] input[name=domains]", "example.invalid");
	await press(page, "section[aria-labelledby=try-doctor] button");
	await expect("What to do");
	if (!plain) await page.screenshot({ path: `${shots}/doctor-1280-light.png`, fullPage: true });
	await page.goto(site + "try", { waitUntil: "load" });
	await send(page, `tried-${to}@example.net`);
	await expect("Accepted as");
	await page.goto(site + "guesses", { waitUntil: "load" });
	if (await page.$("button[value^=lift]")) {
		await press(page, "button[value^=lift]");
		await expect("lifted.");
		await says(page, "Nobody.");
	} else check(plain, "nobody is blocked");
	await page.close();
}

(async () => {
	const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars"], protocolTimeout: 60000 });
	try {
		if (process.argv[5] === "readme") {
			const page = await open(browser, { width: 1200 });
			await page.setViewport({ width: 1200, height: 860 });
			await page.goto(site + "messages", { waitUntil: "load" });
			await page.waitForSelector("html[data-live=yes]");
			await page.screenshot({ path: shots + "/readme.png" });
			return;
		}
		await look(browser);
		await keys(browser);
		await live(browser);
		await act(browser, false);
		await act(browser, true);
	} catch (e) {
		bad(e.stack);
	} finally {
		await browser.close();
	}
	console.log(wrong.length ? wrong.length + " things are wrong" : "all is well");
	process.exit(wrong.length ? 1 : 0);
})();

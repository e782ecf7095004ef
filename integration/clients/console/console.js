// Drives Debian's Chromium through the console: every page light and dark, narrow and wide; every action; live updates;
// all of it without JavaScript too. What is wrong is on standard error, and in the exit code.
// usage: console.js <site> <directory for screenshots> <ids of messages as JSON> audit|actions|plain|readme
const { chromium } = require("playwright-core");
const { audit } = require("./audit.js");
const { act } = require("./actions.js");
const [site, shots, ids, part] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4]), process.argv[5]];

const wrong = [];
const bad = what => { wrong.push(what); console.error(what); };
const check = (ok, what) => { if (!ok) bad(what); };

// open opens a page as its reader has it: dark, width, plain (without JavaScript). fails is set while an error is what is expected.
async function open(browser, options = {}) {
	const context = await browser.newContext({
		httpCredentials: { username: "admin", password: "look" }, timezoneId: "Asia/Tokyo", javaScriptEnabled: !options.plain,
		colorScheme: options.dark ? "dark" : "light", viewport: { width: options.width || 1280, height: options.height || 900 },
	});
	context.setDefaultTimeout(120000);
	const page = await context.newPage();
	page.plain = options.plain;
	page.on("console", m => {
		const expected = page.fails && m.text().startsWith("Failed to load resource: the server responded with a status of 4");
		if (["error", "warning"].includes(m.type()) && !expected) bad(`${page.url()}: console: ${m.text()} ${m.location().url || ""}`);
	});
	page.on("pageerror", e => bad(page.url() + ": " + e));
	page.on("dialog", d => { bad(page.url() + ": a dialog: " + d.message()); d.dismiss(); });
	page.on("request", r => { if (!r.url().startsWith(site) && !r.url().startsWith("data:")) bad("a request outside the site: " + r.url()); });
	page.visit = path => page.goto(site + path, { waitUntil: "load" });
	page.text = () => page.evaluate(() => document.body.innerText);
	page.says = what => page.getByText(what).first().waitFor().catch(() => bad(page.url() + ": does not say " + what));
	page.done = () => context.close();
	// press clicks what leads to another page.
	page.press = async selector => {
		await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.locator(selector).first().click()]);
	};
	return page;
}

// With keys alone.
async function keys(browser) {
	const page = await open(browser);
	await page.visit("messages");
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
	await page.waitForFunction(id => { const t = document.getElementById("live").innerText; return t.includes(id[0]) && !t.includes(id[1]); }, [ids.deferred, ids.down]).catch(() => bad("the search does not follow what is typed"));
	check(await page.evaluate(() => window.same && location.search === "?q=to%3Abusy"), "the search is not in the address, or made a new page");
	// A message is chosen and asked about without a pointer.
	await page.locator("input[name=id]").first().focus();
	await page.keyboard.press("Space");
	await page.locator("button[value=delete]").focus();
	await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.keyboard.press("Enter")]);
	await page.says("Delete 1 message?");
	await page.getByText("Cancel").focus();
	await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.keyboard.press("Enter")]);
	check(page.url() === site + "messages?q=to%3Abusy", "Cancel leads to " + page.url());
	await page.done();
}

// What happens elsewhere is seen at once; what the reader has chosen stays.
async function live(browser) {
	const watching = await open(browser), acting = await open(browser);
	await watching.visit("messages?q=live-busy");
	await watching.waitForSelector("html[data-live=yes]");
	const send = async n => {
		await acting.visit("try");
		const form = acting.locator("section[aria-labelledby=try-message]");
		await form.locator("input[name=user]").fill("alice@example.org");
		await form.locator("input[name=password]").fill("secret");
		await form.locator("input[name=to]").fill(`live-busy-${n}@example.net`);
		await acting.press("section[aria-labelledby=try-message] button");
		await acting.says("Accepted as");
	};
	await send(1);
	await watching.says("live-busy-1@example.net");
	await watching.locator("input[name=id]").check();
	await watching.locator("input[name=reason]").pressSequentially("keep what I typed");
	await send(2);
	await watching.says("live-busy-2@example.net");
	const kept = await watching.evaluate(() => [document.querySelector("input[name=id]").checked, document.querySelector("input[name=reason]").value, document.activeElement.name]);
	check(kept[0] && kept[1] === "keep what I typed" && kept[2] === "reason", "an update takes away what the reader typed: " + kept);
	await send(3);
	await watching.says("live-busy-3@example.net");
	// Nor is a key lost that is down when one comes.
	await watching.locator("input[name=id]").last().focus();
	await watching.keyboard.down("Space");
	await watching.evaluate(() => stream.onmessage({ data: live.innerHTML.replace("live-busy-3@", "live-busy-4@") }));
	await watching.keyboard.up("Space");
	await watching.says("live-busy-4@example.net");
	check(await watching.locator("input[name=id]").last().isChecked(), "an update takes away the key that is down");
	// Every page that changes is live.
	for (const path of ["", "lanes", "guesses", "message?id=" + ids.deferred]) {
		await watching.visit(path);
		await watching.waitForSelector("html[data-live=yes]").catch(() => bad(path + ": is not live"));
	}
	await watching.done();
	await acting.done();
}

// steps are what each part does.
const steps = run => ({
	audit: [() => audit(run)],
	actions: [() => keys(run.browser), () => live(run.browser), () => act(run, false)],
	plain: [() => act(run, true)],
});

(async () => {
	const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, timeout: 180000, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars"] });
	const run = { browser, open, check, bad, ids, shots };
	try {
		if (part === "readme") {
			const page = await open(browser, { width: 1200, height: 860 });
			await page.visit("messages");
			await page.waitForSelector("html[data-live=yes]");
			await page.screenshot({ path: shots + "/readme.png" });
			return;
		}
		for (const step of steps(run)[part]) {
			const began = Date.now();
			await step();
			console.log(String(step).slice(6), "took", Date.now() - began, "ms");
		}
	} catch (e) {
		bad(e.stack);
	} finally {
		await browser.close();
	}
	console.log(wrong.length ? wrong.length + " things are wrong" : "all is well");
	process.exitCode = wrong.length ? 1 : 0;
})();

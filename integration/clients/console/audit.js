// Each page of the console as it looks, light and dark, narrow and wide, and what axe says of it; then without JavaScript.
const axe = require("fs").readFileSync(require.resolve("axe-core"), "utf8");

// In CI each page is judged in each width in each colours, elsewhere one narrow and dark, the next wide and light.
const whole = process.env.CI === "true" || "CONSOLE_SHOTS" in process.env;

const widths = { narrow: 360, wide: 1280 };
const between = [700, 1160, 1920];

// pages are addresses, or what is done to come to one. fails: it is the page of an error.
const pages = ids => {
	const choose = async (page, button) => {
		await page.visit("messages?q=busy");
		await page.locator("input[name=id]").first().check();
		await page.press(`button[value=${button}]`);
	};
	const fill = async (page, section, fields) => {
		await page.visit("try");
		for (const [name, value] of Object.entries(fields)) await page.locator(`section[aria-labelledby=${section}] input[name=${name}]`).fill(value);
		await page.press(`section[aria-labelledby=${section}] button`);
	};
	return {
		now: { at: "" }, messages: { at: "messages" }, search: { at: "messages?q=busy" }, nothing: { at: "messages?q=to:no-such-thing" }, "wrong-search": { at: "messages?q=older:tea" },
		message: { at: "message?id=" + ids.deferred }, story: { at: "message?id=" + ids.failed }, hostile: { at: "message?id=" + ids.hostile },
		source: { at: "source?id=" + ids.deferred }, lanes: { at: "lanes" }, guesses: { at: "guesses" }, "hostile-guesses": { at: "guesses?q=script" },
		config: { at: "config" }, try: { at: "try" }, doctor: { at: "doctor" },
		"ask-bounce": { go: page => choose(page, "bounce") },
		"ask-all": { go: async page => { await page.visit("messages"); await page.locator("input[name=all]").check(); await page.press("button[value=delete]"); } },
		"ask-grown": { go: async page => {
			await page.visit("messages");
			await page.locator("input[name=all]").check();
			await page.press("button[value=delete]");
			await page.evaluate(() => { document.querySelector("input[name=sure]").value = "1"; document.querySelector("input[name=until]").value = ""; });
			await page.press("form.ask button.danger");
		} },
		"acted-badly": { go: async page => { await page.visit("messages"); await page.press("button[value=hold]"); } },
		"try-message": { go: page => fill(page, "try-message", { user: "alice@example.org", password: "secret", to: "<script>@example.net" }) },
		"try-login": { go: page => fill(page, "try-login", { user: "alice@example.org", password: "<img src=x onerror=alert(7)>" }) },
		"try-doctor": { go: page => fill(page, "try-doctor", { domains: "example.invalid" }) },
		"no-page": { at: "nothing", fails: true }, "no-message": { at: "message?id=M000000000000000", fails: true }, "no-id": { at: "message", fails: true }, "hostile-error": { at: "message?id=" + encodeURIComponent("<img src=x onerror=alert(8)>\u202e"), fails: true },
	};
};

async function audit({ browser, open, check, bad, ids, shots }) {
	const page = await open(browser);
	const looks = [["narrow", "dark"], ["wide", "light"], ["narrow", "light"], ["wide", "dark"]];
	let judged = 0;
	for (const [name, { at, go, fails }] of Object.entries(pages(ids))) {
		page.fails = fails;
		await page.setViewportSize({ width: widths.wide, height: 900 });
		if (go) await go(page); else check((await page.visit(at)).ok() !== Boolean(fails), `${name}: whether it is an error`);
		if (await page.locator("body[data-of]").count()) await page.waitForSelector("html[data-live=yes]");
		await page.evaluate(axe);
		for (const width of whole ? between : [widths.narrow, ...between]) {
			await page.setViewportSize({ width, height: 900 });
			await fits(page, `${name} at ${width}`, check);
		}
		for (const [size, colours] of whole ? looks : [looks[judged++ % 2]]) {
			const width = widths[size];
			const where = `${name}, ${size}, ${colours}`;
			await page.emulateMedia({ colorScheme: colours });
			await page.setViewportSize({ width, height: 900 });
			await fits(page, where, check);
			const times = await page.evaluate(() => [...document.querySelectorAll("time")].filter(t => !t.title.includes(t.textContent + " here, ") || !t.title.endsWith("UTC") || isNaN(new Date(t.dateTime))).length);
			check(times === 0, `${where}: ${times} times are not in the reader's zone, or have no absolute one`);
			report(await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] })), where, bad);
			if (whole) await page.screenshot({ path: `${shots}/${name}-${width}-${colours}.png`, fullPage: "CONSOLE_SHOTS" in process.env });
		}
	}
	await page.done();
	await plain(browser, open, check, ids);
}

async function fits(page, where, check) {
	const over = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
	check(over <= 0, `${where}: is ${over} pixels too wide`);
}

function report(found, where, bad) {
	for (const v of found.violations) {
		const nodes = v.nodes.slice(0, 3).map(n => n.target.join(" ") + " " + (n.any[0] || n.all[0] || n.none[0] || {}).message).join("; ");
		if (["serious", "critical"].includes(v.impact)) bad(`${where}: axe: ${v.id}: ${v.help}: ${nodes}`);
		else console.log(`${where}: axe: ${v.impact}: ${v.id}: ${v.help}: ${nodes}`);
	}
}

// Without JavaScript every page is there whole, its times in UTC.
async function plain(browser, open, check, ids) {
	const page = await open(browser, { plain: true });
	for (const [name, { at, go, fails }] of Object.entries(pages(ids))) {
		if (name === "ask-grown") continue; // which takes two readers
		page.fails = fails;
		if (go) await go(page); else await page.visit(at);
		const seen = await page.evaluate(() => [document.querySelectorAll("main h1").length, document.querySelector("main").innerText.length, [...document.querySelectorAll("time")].filter(t => !t.textContent.endsWith("UTC")).length]);
		for (const width of whole ? [...Object.values(widths), ...between] : [widths.narrow]) {
			await page.setViewportSize({ width, height: 900 });
			await fits(page, `${name} without JavaScript at ${width}`, check);
		}
		check(seen[0] === 1 && seen[1] > 20, `${name} without JavaScript: ${seen[0]} headings, ${seen[1]} characters`);
		check(seen[2] === 0, `${name} without JavaScript: ${seen[2]} times do not say that they are UTC`);
	}
	await page.done();
}

module.exports = { audit };

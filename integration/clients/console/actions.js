// Every action of the console, with JavaScript or without.
async function act({ browser, open, check, bad, ids, shots }, plain) {
	const page = await open(browser, { plain });
	const how = plain ? "without JavaScript: " : "";
	const to = plain ? "plain" : "live";
	const expect = async (...texts) => {
		const said = await page.text();
		for (const text of texts) check(said.includes(text), `${how}no "${text}" in ${said.slice(0, 1500)}`);
	};
	// find searches, and chooses n messages that are found.
	const find = async (q, n) => {
		await page.visit("messages");
		const box = page.locator("#q");
		if (plain) {
			await box.fill(q);
			await page.press("form.search button");
		} else {
			await box.pressSequentially(q);
			await page.waitForFunction(n => document.querySelectorAll("input[name=id]").length === n, n).catch(() => bad(`${how}${q}: not ${n} messages`)); // what else there was is gone
		}
		check(await page.locator("input[name=id]").count() === n, `${how}${q}: not ${n} messages`);
		for (let i = 0; i < n; i++) await page.locator("input[name=id]").nth(i).check();
	};
	const reason = text => page.locator("main input[name=reason]").first().fill(text);

	// One message, and more than one, from the list; one alone in CI, as it is acted on from its own page too.
	for (const n of process.env.CI === "true" ? [1, 2] : [2]) {
		const many = n === 1 ? "1 message" : n + " messages";
		for (const [button, done] of [["hold", "held"], ["release", "released"], ["retry", "tried again"], ["reroute", "rerouted"]]) {
			await find(n === 1 ? `to:${to}-busy-1` : `to:${to}-busy`, n === 1 ? 1 : 3);
			if (n === 2) await page.locator("input[name=id]").nth(2).uncheck();
			await reason("because of <" + button + ">");
			await page.press(`button[value=${button}]`);
			await expect(`${many} ${done}.`);
			if (button === "hold") await expect("because of <hold>");
		}
	}
	// From the page of one.
	await find(`to:${to}-busy-3`, 1);
	await page.press("td a[href^='message?id='], th a[href^='message?id=']");
	for (const [button, done] of [["hold", "held"], ["release", "released"], ["retry", "tried again"], ["reroute", "rerouted"]]) {
		await page.press(`button[value=${button}]`);
		await expect(`1 message ${done}.`);
	}
	// What cannot be undone is asked about, with how many they are; whoever cancels has done nothing.
	await find(`to:${to}-busy-3`, 1);
	await page.press("button[value=delete]");
	await expect("Delete 1 message?");
	await page.press("form.ask a.button");
	await find(`to:${to}-busy`, 3);
	await page.locator("input[name=id]").nth(2).uncheck();
	await page.press("button[value=bounce]");
	await expect("Bounce 2 messages?");
	await reason("gone <b>away</b>");
	await page.press("form.ask button.danger");
	await expect("2 messages bounced.");
	await find(`to:${to}-busy-3`, 1);
	await page.locator("input[name=all]").check();
	await page.press("button[value=delete]");
	await expect("Delete 1 message?", "matches the search");
	await page.press("form.ask button.danger");
	await expect("1 message deleted.", "Nothing that matches waits.");

	for (const [button, done, state] of [["pause", "is paused", "paused"], ["resume", "is taking messages again", ""], ["probe", "is being tried", ""]]) {
		await page.visit("lanes?q=127.0.0.1:9");
		await reason("because of <" + button + ">");
		await page.press(`button[value^="${button} "]`);
		await expect(done, state);
	}

	await trying(page, expect, to);

	// Whoever was blocked may come again.
	await page.visit("guesses");
	const blocked = plain ? "127.0.0.3" : "127.0.0.2";
	await reason("it was <i>me</i>");
	await page.press(`button[value^=lift][value*="${blocked}"]`);
	await expect(`1 block of ${blocked}/32 lifted.`);
	check(await page.locator(`button[value^=lift][value*="${blocked}"]`).count() === 0, how + blocked + " is still blocked");
	await page.done();
}

// trying is what can be tried: a message, a log-in, and DNS and the rest by the doctor, from both places.
async function trying(page, expect, to) {
	const section = name => `section[aria-labelledby=${name}] `;
	const fill = async (name, fields) => {
		await page.visit("try");
		for (const [field, value] of Object.entries(fields)) await page.locator(section(name) + `input[name=${field}]`).fill(value);
		await page.press(section(name) + "button");
	};
	await fill("try-message", { user: "alice@example.org", password: "secret", to: `tried-${to}@example.net` });
	await expect("Accepted as", "S: 220", "C: MAIL FROM:<alice@example.org>");
	if ((await page.text()).includes("secret")) throw new Error("the dialogue shows the password");
	await fill("try-message", { user: "alice@example.org", password: "wrong", to: "bob@example.net" });
	await expect("535");
	await fill("try-login", { user: "alice@example.org", password: "wrong" });
	await expect("refused");
	await fill("try-login", { user: "alice@example.org", password: "secret" });
	await expect("accepted", "DIGEST-MD5");
	await fill("try-doctor", { domains: "example.invalid" });
	await expect("What to do", "example.invalid");
	await page.visit("doctor");
	await page.locator(section("examine") + "input[name=domains]").fill("example.invalid");
	await page.press(section("examine") + "button");
	await expect("Remedy", "example.invalid");
}

module.exports = { act };

// What makes the pages live. They work without it.
"use strict";

// Times are in the reader's zone, those of today without the date; the title has the whole of them, in both.
const day = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short" }), clock = new Intl.DateTimeFormat("sv-SE", { timeStyle: "medium" });
function localTimes(root) {
	const today = day.format(new Date());
	for (const t of root.querySelectorAll("time")) {
		const at = new Date(t.dateTime);
		if (isNaN(at)) continue;
		const whole = day.format(at) + " " + clock.format(at);
		t.textContent = day.format(at) === today ? clock.format(at) : whole;
		t.title = whole + " here, " + t.title;
	}
}

const live = document.getElementById("live");

// swap puts in what has changed, and leaves what the reader has typed, chosen, opened and focused.
function swap(html) {
	waiting = undefined;
	const fresh = new DOMParser().parseFromString(html, "text/html").body;
	localTimes(fresh);
	const key = e => e.name + "=" + (e.type === "checkbox" ? e.value : "");
	const kept = new Map();
	for (const e of live.querySelectorAll("input:not([type=hidden]), select, textarea")) kept.set(key(e), e);
	for (const e of fresh.querySelectorAll("input:not([type=hidden]), select, textarea")) {
		const old = kept.get(key(e));
		if (!old) continue;
		if (e.type === "checkbox") e.checked = old.checked;
		else e.value = old.value;
	}
	const open = [...live.querySelectorAll("details")].map(d => d.open);
	fresh.querySelectorAll("details").forEach((d, i) => { if (i < open.length) d.open = open[i]; });
	const at = document.activeElement;
	const place = live.contains(at) ? [at.tagName, at.name || "", at.value || "", at.getAttribute("href") || ""] : null;
	live.replaceChildren(...fresh.childNodes);
	if (!place) return;
	const again = [...live.querySelectorAll(place[0])].find(e => (e.name || "") === place[1] && (e.type === "text" || (e.value || "") === place[2]) && (e.getAttribute("href") || "") === place[3]);
	if (again) again.focus({ preventScroll: true });
}

// busy tells whether the reader would be disturbed: by a change under the pointer or a key, which would do nothing, or of what is being copied.
let pressed = false, waiting;
const released = () => { pressed = false; if (waiting && !busy()) swap(waiting); };
addEventListener("pointerdown", () => { pressed = true; });
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(released, 300));
addEventListener("keydown", e => { if (e.key === " " && live && live.contains(e.target)) pressed = true; });
for (const end of ["keyup", "blur"]) addEventListener(end, () => { if (pressed) setTimeout(released); }); // after what the key does
function busy() {
	if (pressed) return true;
	const s = document.getSelection();
	return s && !s.isCollapsed && live.contains(s.anchorNode);
}

let stream;
function listen() {
	if (stream) stream.close();
	const of = document.body.dataset.of;
	if (of === undefined || !live || !window.EventSource) return;
	const q = new URLSearchParams(location.search);
	q.set("of", of);
	stream = new EventSource("events?" + q);
	stream.onmessage = e => { if (busy()) waiting = e.data; else swap(e.data); };
	stream.onopen = () => document.documentElement.dataset.live = "yes";
	stream.onerror = () => document.documentElement.dataset.live = "no";
}

// A search follows what is typed.
const box = document.querySelector("input[data-live]");
let asked;
async function search() {
	const q = new URLSearchParams();
	if (box.value.trim()) q.set("q", box.value);
	history.replaceState(null, "", location.pathname + (q.size ? "?" + q : ""));
	if (asked) asked.abort();
	asked = new AbortController();
	if (stream) stream.close();
	q.set("part", "live");
	try {
		const answer = await fetch(location.pathname + "?" + q, { signal: asked.signal });
		if (answer.ok) {
			const html = await answer.text();
			if (pressed) waiting = html;
			else swap(html);
		}
		listen();
	} catch (e) {
		if (e.name !== "AbortError") listen();
	}
}

localTimes(document);
if (box) {
	let soon;
	box.addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(search, 200); });
	document.addEventListener("keydown", e => {
		if (e.key === "/" && !e.target.closest("input, textarea, select")) { e.preventDefault(); box.focus(); box.select(); }
	});
}
document.addEventListener("change", e => {
	if (!e.target.matches("[data-every]")) return;
	for (const c of e.target.form.querySelectorAll("input[name=id]")) c.checked = e.target.checked;
});
addEventListener("pagehide", () => { if (stream) stream.close(); });
listen();

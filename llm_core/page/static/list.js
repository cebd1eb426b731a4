// The list of conversations beside the chat. Its rows stay where they are while somebody points at one.
const RESTING_MS = 1000; // a pointer that has not moved for so long points at nothing
const BUSY_LOOK_MS = 2000; // between two looks at the list while a reply is made in a conversation that is not on the screen
const MONTH = new Intl.DateTimeFormat(locale, { month: "long", year: "numeric" });
const PAGE = 200; // conversations that are listed at once, and more each time that the end is seen

const list = {
	root: document.querySelector("#conversations .days"),
	status: document.querySelector("#conversations [role=status]"),
	search: document.querySelector("#search :is(textarea, input)"),
	end: button("more", t("list.older"), t("list.show_older")),
	rows: [],
	items: new Map(), // of each row, by its conversation
	count: PAGE,
	asked: 0,
	isPressed: false,
	movedAt: -Infinity,

	async refresh() {
		const asked = ++this.asked;
		clearTimeout(this.again);
		const search = this.search.value;
		const found = await ask("list", { search, count: this.count });
		if (asked !== this.asked || !found?.rows) return; // an answer to an earlier question comes too late
		this.found = { ...found, search };
		this.settle();
		const isBusy = found.rows.some((row) => row.busy && row.conversation !== screen.conversation);
		if (isBusy && !document.hidden) this.again = setTimeout(() => this.refresh(), BUSY_LOOK_MS);
	},
	more() {
		if (this.rows.length < this.count) return; // more are on their way
		this.count += PAGE;
		this.refresh();
	},

	settle() {
		clearTimeout(this.later);
		if (!this.found) return;
		if (this.isHeld()) {
			this.later = setTimeout(() => this.settle(), 100);
			return;
		}
		const { rows, more, kept, search } = this.found;
		this.found = null;
		// Of the one on the screen it is known here, and later than what was asked for.
		this.rows = rows.map((row) => (row.conversation === screen.conversation && screen.isOpen ? { ...row, busy: Boolean(runningTurn()) } : row));
		this.end.hidden = !more;
		const status = !kept
			? t("list.no_cookies")
			: rows.length > 0
				? ""
				: search.trim() ? t("list.nothing_found") : t("list.nothing_yet");
		if (this.status.textContent !== status) this.status.textContent = status;
		this.draw();
	},
	isHeld() {
		const pointedAt = this.root.matches(":hover") && performance.now() - this.movedAt < RESTING_MS;
		return this.isPressed || pointedAt || this.root.querySelector("input:not(.tick), .asked") !== null;
	},

	// A row that is as it was stays the same element, and is not touched: so it keeps the focus, and a thousand of them cost
	// little.
	draw() {
		const days = new Map();
		const items = new Map();
		const today = startOfToday();
		for (const row of this.rows) {
			const day = dayOf(row, today);
			const item = this.items.get(row.conversation) ?? makeRow(row);
			fillRow(item, row);
			items.set(row.conversation, item);
			if (!days.has(day)) days.set(day, []);
			days.get(day).push(item);
		}
		this.items = items;
		const focused = document.activeElement;
		const sections = [...days].map(([day, shown]) => this.section(day, shown));
		for (const section of [...this.root.children]) if (!sections.includes(section) && section !== this.end) section.remove();
		sections.forEach((section, place) => {
			if (this.root.children[place] !== section) this.root.insertBefore(section, this.root.children[place] ?? null);
		});
		if (this.root.lastElementChild !== this.end) this.root.append(this.end);
		if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
		this.mark();
		selection.draw();
	},
	section(day, items) {
		let section = [...this.root.children].find((each) => each.dataset.day === day);
		if (!section) {
			section = document.createElement("section");
			section.dataset.day = day;
			section.append(part("h2", "day", day), document.createElement("ul"));
			section.lastChild.setAttribute("aria-label", t("list.of_day", { day }));
		}
		const shown = section.lastChild;
		const isSame = shown.children.length === items.length && items.every((item, place) => shown.children[place] === item);
		if (!isSame) shown.replaceChildren(...items);
		return section;
	},
	mark() {
		const open = this.items.get(screen.conversation)?.querySelector(".open");
		for (const other of this.root.querySelectorAll("[aria-current]")) if (other !== open) other.removeAttribute("aria-current");
		open?.setAttribute("aria-current", "true");
	},

	// The reply on the screen has ended.
	replied(conversation) {
		const row = this.rows.find((each) => each.conversation === conversation);
		const item = this.items.get(conversation);
		if (!row?.busy || !item) return;
		const done = { ...row, busy: false };
		this.rows = this.rows.with(this.rows.indexOf(row), done);
		fillRow(item, done);
	},
	// What replied on the screen does so behind it from now on.
	left() {
		this.mark();
		if (this.rows.some((row) => row.busy)) this.refresh();
	},

	// On a phone, or where it was folded away, the list has to be there first.
	focusSearch() {
		document.querySelector("#sidebar:not(.open) .toggle-button")?.click();
		this.search.focus();
		this.search.select();
	},
	leaveSearch() {
		if (this.search.value) {
			this.search.value = "";
			this.search.dispatchEvent(new Event("input", { bubbles: true }));
		}
		document.querySelector("#message textarea").focus();
	},
};

function startOfToday() {
	const today = new Date();
	today.setHours(0, 0, 0, 0);
	return today;
}

// When a conversation was used last, in words that come before those of older ones.
function dayOf({ pinned, at }, today) {
	if (pinned) return t("list.pinned");
	const then = new Date(1000 * at);
	const days = Math.ceil((today - then) / 86_400_000);
	if (days <= 0) return t("list.today");
	if (days === 1) return t("list.yesterday");
	if (days <= 7) return t("list.week");
	if (days <= 30) return t("list.month");
	return MONTH.format(then);
}

function button(kind, text, title) {
	const made = document.createElement("button");
	made.type = "button";
	made.className = kind;
	made.textContent = text;
	made.title = title;
	made.setAttribute("aria-label", title);
	return made;
}

list.root.addEventListener("pointermove", () => (list.movedAt = performance.now()));
list.root.addEventListener("pointerdown", () => (list.isPressed = true));
for (const over of ["pointerup", "pointercancel"]) {
	// The click comes after it.
	window.addEventListener(over, () => setTimeout(() => (list.isPressed = false), 50), true);
}
// Who looks elsewhere has thought better of it.
list.root.addEventListener("focusout", (event) => event.target.matches(".asked") && calm(event.target));
list.root.addEventListener("mouseout", (event) => {
	const item = event.target.closest("li");
	const asked = item?.querySelector(".asked");
	if (asked && !item.contains(event.relatedTarget)) calm(asked);
});
list.search.addEventListener("input", () => {
	clearTimeout(list.typing);
	list.count = PAGE;
	list.typing = setTimeout(() => list.refresh(), 150);
});
list.end.addEventListener("click", () => list.more());
new IntersectionObserver(([seen]) => seen.isIntersecting && list.more()).observe(list.end);

// Several conversations of the list at once. Ctrl or Cmd and a click begins it, Shift and a click takes all up to there;
// "Select" does the same for touch and keyboard, with a box to tick at each row. Escape leaves.
const MOST_OPENED = 100; // conversations of a file in one request
const MAX_FILE_BYTES = 500_000_000; // all of it is in the browser's memory
const selection = {
	isOn: false,
	chosen: new Set(), // ids of conversations
	from: null, // where a range begins
	bar: part("div", "selection"),
	acts: part("div", "acts"),
	status: part("span", "count"),

	build() {
		this.status.setAttribute("role", "status");
		this.begin = button("begin", t("selection.begin"), t("selection.begin"));
		this.begin.addEventListener("click", () => {
			this.enter();
			list.root.querySelector(".tick")?.focus();
		});
		const file = fileButton("file", t("files.open"), ".json", (text, refused) => this.open(text, refused), MAX_FILE_BYTES);
		this.pin = button("pin-all", t("list.pin"), t("list.pin"));
		this.pin.addEventListener("click", () => this.pinAll());
		const save = button("save", t("files.save"), t("files.save"));
		save.addEventListener("click", () => this.save());
		const remove = button("remove", t("list.delete"), t("list.delete"));
		asksFirst(remove, t("list.delete"), () => this.remove());
		const leave = button("leave", t("selection.leave"), t("selection.leave"));
		leave.addEventListener("click", () => this.leave());
		this.acts.append(this.status, leave, this.pin, save, remove);
		this.acts.setAttribute("role", "group");
		this.acts.setAttribute("aria-label", t("selection.none"));
		this.bar.append(this.begin, file);
		list.root.before(this.bar);
	},

	// Whether a press on a row is the selection's, and opens nothing.
	takes(event, conversation) {
		if (event.ctrlKey || event.metaKey) this.toggle(conversation);
		else if (event.shiftKey) this.range(conversation);
		else if (this.isOn) this.toggle(conversation);
		else return false;
		return true;
	},
	toggle(conversation) {
		if (!this.chosen.delete(conversation)) this.chosen.add(conversation);
		this.from = conversation;
		this.enter();
	},
	range(conversation) {
		const ids = [...list.root.querySelectorAll("li")].map((item) => item.dataset.id);
		const [first, last] = [ids.indexOf(this.from ?? screen.conversation), ids.indexOf(conversation)].sort((a, b) => a - b);
		for (const id of ids.slice(Math.max(first, 0), last + 1)) this.chosen.add(id);
		this.enter();
	},
	enter() {
		this.isOn = true;
		this.draw();
	},
	leave() {
		const hadFocus = document.activeElement?.closest("#conversations");
		this.isOn = false;
		this.from = null;
		this.chosen.clear();
		this.draw();
		if (hadFocus) this.begin.focus();
	},

	draw() {
		const there = new Set(list.rows.map((row) => row.conversation));
		for (const id of this.chosen) if (!there.has(id)) this.chosen.delete(id);
		this.bar.classList.toggle("on", this.isOn);
		this.begin.hidden = this.isOn || !list.rows.length;
		if (!this.isOn) this.acts.remove();
		else if (!this.acts.isConnected) this.bar.append(this.acts);
		list.root.classList.toggle("selecting", this.isOn);
		setText(this.status, this.chosen.size ? t("selection.count", { count: this.chosen.size }) : t("selection.none"));
		for (const made of this.acts.querySelectorAll(".pin-all, .save, .remove")) made.disabled = !this.chosen.size;
		setText(this.pin, t(this.arePinned() ? "list.unpin" : "list.pin"));
		if (this.isOn) for (const [conversation, item] of list.items) this.drawTick(conversation, item);
		else for (const tick of list.root.querySelectorAll(".tick")) tick.remove();
	},
	drawTick(conversation, item) {
		let tick = item.querySelector(":scope > .tick");
		if (!tick) {
			tick = part("input", "tick");
			tick.type = "checkbox";
			tick.addEventListener("click", (event) => {
				event.preventDefault(); // what is ticked is drawn from what is chosen
				if (event.shiftKey) this.range(conversation);
				else this.toggle(conversation);
				setTimeout(() => this.draw(), 0);
			});
			item.prepend(tick);
		}
		tick.setAttribute("aria-label", t("selection.tick", { title: item.querySelector(".open").textContent }));
		tick.checked = this.chosen.has(conversation);
	},
	arePinned() {
		const rows = list.rows.filter((row) => this.chosen.has(row.conversation));
		return rows.length > 0 && rows.every((row) => row.pinned);
	},

	// ── what is done with them ──

	async ask(command, more) {
		const answer = await ask(command, more);
		const isDone = answer !== undefined && answer.refused === undefined;
		if (!isDone) notice(refusal(answer));
		return isDone ? answer : null;
	},
	async changed(conversations) {
		conversations.forEach(tellTabs);
		list.movedAt = -Infinity;
		await list.refresh();
	},
	async pinAll() {
		const conversations = [...this.chosen];
		await this.ask("pin_several", { conversations, pinned: !this.arePinned() });
		this.changed(conversations);
	},
	async save() {
		const answer = await this.ask("export_several", { conversations: [...this.chosen] });
		if (!answer) return;
		const title = answer.count === 1 ? answer.title : t("selection.file", answer);
		saveFile(fileName(title, "json"), answer.text);
	},
	async remove() {
		const conversations = [...this.chosen];
		const here = conversations.includes(screen.conversation) ? screen.conversation : null;
		this.leave();
		if (here) newChat();
		const answer = await this.ask("remove_several", { conversations });
		const gone = answer?.restorable ?? [];
		if (gone.length) offerRestoring({ said: t("selection.deleted", { count: gone.length }), undo: (one) => this.restore(one, gone, here) });
		this.changed(conversations);
	},
	async restore(one, conversations, here) {
		forgetDeleted(one);
		const answer = await this.ask("restore_several", { conversations });
		if (!answer) offerRestoring(one);
		else if (answer.restored.includes(here)) openConversation(here);
		this.changed(conversations);
	},
	// As far as it can be opened: the list has what was.
	async open(text, refused) {
		if (text === null) {
			notice(refused);
			return;
		}
		const opened = [];
		let isWhole = true;
		for (const part of partsOf(text)) {
			const answer = await this.openPart(part);
			isWhole = answer !== null;
			if (!isWhole) break;
			opened.push(...answer.conversations);
		}
		if (isWhole) openConversation(opened[0]);
		if (opened.length) this.changed(opened);
	},
	async openPart(text) {
		if (bytesInRequest(text) <= MAX_REQUEST_BYTES) return this.ask("open_conversations", { text });
		notice(tooLarge());
		return null;
	},
};

// A file of many conversations in parts for which a request has room. What is wrong with a file the server says.
function partsOf(text) {
	const parts = [];
	let room = 0;
	for (const one of sessionsIn(text)) {
		const size = bytesInRequest(JSON.stringify(one)) + 2; // with what stands between two
		if (size > room || parts.at(-1).length === MOST_OPENED) {
			parts.push([]);
			room = MAX_REQUEST_BYTES - 100; // what stands around them
		}
		parts.at(-1).push(one);
		room -= size;
	}
	return parts.length ? parts.map((sessions) => JSON.stringify({ sessions })) : [text];
}

function sessionsIn(text) {
	try {
		const { sessions } = JSON.parse(text);
		return Array.isArray(sessions) ? sessions : [];
	} catch {
		return [];
	}
}

selection.build();
selection.draw();

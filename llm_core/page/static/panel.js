// The panel of models: one is chosen for this conversation, and who may change them unloads, removes and fetches.
const COMMANDS = {
	fetch: "fetch_model",
	stop: "stop_fetching",
	load: "load_model",
	unload: "unload_model",
	remove: "remove_model",
};
const DONE = {
	fetch: ({ name }) => t("models.done_fetch", { name }),
	stop: ({ name }) => t("models.done_stop", { name }),
	load: ({ name }) => t("models.done_load", { name }),
	unload: ({ name }) => t("models.done_unload", { name }),
	remove: ({ name }, { freed }) => t(freed ? "models.done_remove_freed" : "models.done_remove", { name, size: freed }),
};

// An element with a class and a text.
function part(tag, kind, text = "") {
	const made = document.createElement(tag);
	made.className = kind;
	made.textContent = text;
	return made;
}

// What is there already stays, so that nothing is lost from under a finger or a screen reader.
function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
	element.hidden = text === "";
}

const panel = {
	dialog: document.createElement("dialog"),
	status: part("p", "said"),
	list: part("ul", "rows"),
	items: new Map(), // of each row, by its key

	get isOpen() {
		return this.dialog.open;
	},
	open() {
		if (!this.dialog.isConnected) this.build();
		this.say("");
		this.dialog.showModal();
		this.draw();
		this.list.querySelector("[aria-current]")?.focus();
		models.refresh();
	},
	close() {
		this.dialog.close();
	},
	say(sentence) {
		this.status.textContent = sentence;
	},

	build() {
		const title = part("h2", "", t("models.title"));
		title.id = "models-title";
		const close = button("close", "✕", t("models.close"));
		close.addEventListener("click", () => this.close());
		const top = part("div", "top");
		top.append(title, close);
		const hint = part("p", "hint", t("models.hint"));
		this.status.setAttribute("role", "status");
		this.list.setAttribute("aria-label", t("models.title"));
		this.dialog.id = "models";
		this.dialog.setAttribute("aria-labelledby", title.id);
		this.dialog.append(top, hint, this.status, this.list, offered.root);
		// What is beside it is pressed to leave it.
		this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.close());
		models.head.after(this.dialog);
	},

	draw() {
		if (!this.isOpen) return;
		const keys = models.rows.map((row) => row.key);
		for (const [key, item] of this.items) {
			if (keys.includes(key)) continue;
			if (item.root.contains(document.activeElement)) this.dialog.querySelector(".close").focus();
			item.root.remove();
			this.items.delete(key);
		}
		models.rows.forEach((row, place) => {
			const item = this.items.get(keys[place]) ?? this.item(keys[place]);
			if (this.list.children[place] !== item.root) this.list.insertBefore(item.root, this.list.children[place] ?? null);
			this.fill(item, row);
		});
		offered.draw();
	},
	item(key) {
		const item = {
			root: document.createElement("li"),
			choose: button("choose", "", ""),
			name: part("span", "name"),
			facts: part("span", "facts"),
			told: part("p", "told"),
			bar: document.createElement("progress"),
			acts: part("div", "acts"),
			row: null,
		};
		item.choose.append(item.name, item.facts);
		item.choose.addEventListener("click", () => models.choose(item.row));
		item.root.append(item.choose, item.acts, item.told, item.bar);
		this.items.set(key, item);
		return item;
	},
	fill(item, row) {
		item.row = row;
		const isChosen = row === models.row(screen.model);
		item.root.dataset.state = row.state;
		setText(item.name, row.name);
		const facts = tellAll(row.facts);
		setText(item.facts, facts);
		setText(item.told, tellAll([isChosen ? t("models.answers_here") : "", ...row.told]));
		item.choose.disabled = !row.can_write || (!row.is_served && row.state !== "here");
		item.choose.title = row.name;
		item.choose.setAttribute("aria-label", t("models.row", { name: row.name, facts }));
		if (isChosen) item.choose.setAttribute("aria-current", "true");
		else item.choose.removeAttribute("aria-current");
		item.bar.hidden = row.state !== "fetching" && row.state !== "loading";
		item.bar.value = row.progress;
		item.bar.setAttribute("aria-label", t("models.progress", { name: row.name }));
		const kinds = row.acts.join(" ") + (row.progress > 0);
		if (item.acts.dataset.kinds === kinds) return;
		const hadFocus = item.acts.contains(document.activeElement);
		item.acts.dataset.kinds = kinds;
		item.acts.replaceChildren(...row.acts.map((kind) => this.button(kind, item)));
		if (hadFocus) (item.acts.firstElementChild ?? this.dialog.querySelector(".close")).focus();
	},

	button(kind, item) {
		const fetch = item.row.progress > 0 ? "go_on" : "fetch";
		const word = t(`models.${{ fetch, load: "try_again" }[kind] ?? kind}`);
		const made = button(kind, word, t("models.act", { act: word, name: item.row.name }));
		if (kind === "remove") asksFirst(made, word, () => this.act(kind, item.row));
		else made.addEventListener("click", () => this.act(kind, item.row));
		return made;
	},
	async act(kind, row) {
		const named = kind === "fetch" ? { source: row.source } : { model: row.key };
		const answer = await ask(COMMANDS[kind], named);
		const isDone = answer !== undefined && answer.refused === undefined;
		if (isDone && kind === "fetch") models.fetching.add(row.source);
		this.say(isDone ? DONE[kind](row, answer) : refusal(answer));
		models.refresh();
	},
};

// Pressed once it asks, pressed again it does it. Who looks elsewhere has thought better of it.
function asksFirst(pressed, word, does) {
	const calm = () => {
		pressed.classList.remove("asked");
		pressed.textContent = word;
	};
	pressed.addEventListener("click", (event) => {
		if (!pressed.matches(".asked")) {
			pressed.classList.add("asked");
			pressed.textContent = t("models.ask", { act: word });
			pressed.setAttribute("aria-disabled", "true");
			setTimeout(() => pressed.removeAttribute("aria-disabled"), SURE_MS);
		} else if (event.detail < 2 && !pressed.hasAttribute("aria-disabled")) {
			calm();
			does();
		}
	});
	pressed.addEventListener("blur", calm);
}

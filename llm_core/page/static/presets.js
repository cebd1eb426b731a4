// Presets: named sets of what is set for a conversation. One is chosen for this conversation, and what is set here can be
// kept as one. The server has them; each answer brings all of them as they are then.
const presets = {
	dialog: document.createElement("dialog"),
	opener: button("presets-opener", t("presets.title"), t("presets.title")),
	status: part("p", "said"),
	list: part("ul", "rows"),
	name: document.createElement("input"),
	rows: [],
	asked: 0,
	taken: 0, // the newest question whose answer is shown

	// What new conversations begin with.
	get default() {
		return this.rows.find((row) => row.is_default);
	},
	fresh() {
		return { ...props.defaults, ...this.default?.options };
	},
	freshModel() {
		return this.default?.is_served ? this.default.model : null;
	},

	async ask(command, more = {}) {
		const nth = ++this.asked;
		const answer = await ask(command, more);
		const isDone = answer?.rows !== undefined;
		if (isDone && nth > this.taken) {
			this.taken = nth; // what an earlier question brings after this one is older
			this.take(answer.rows);
		} else if (!isDone && command !== "presets") this.say(refusal(answer));
		return isDone ? answer : null;
	},
	take(rows) {
		this.rows = rows;
		if (screen.isOpen && screen.version === 0 && !shownTurns().length) {
			screen.model = models.of(screen.conversation, { version: 0, model: null });
			settings.take({ version: 0 });
			models.draw();
		}
		this.draw();
	},
	say(sentence, undo = null) {
		clearTimeout(this.undone);
		this.status.replaceChildren(sentence);
		if (!undo) return;
		this.status.append(" ", press(t("notes.undo"), undo));
		this.undone = setTimeout(() => this.say(""), RESTORE_MS);
	},

	choose(row) {
		if (this.isOpening()) return;
		const hasModel = row.model !== null;
		settings.set(row.options);
		settings.draw();
		if (hasModel && row.is_served) models.set(row.model);
		this.dialog.close();
		notice(hasModel && !row.is_served ? t("presets.no_model", row) : "");
		this.draw();
		box.focus();
	},
	isSet(row) {
		const isModel = row.model === null || !row.is_served || models.row(row.model) === models.row(screen.model);
		return isModel && Object.entries(row.options).every(([name, value]) => isSame(value, screen.settings?.[name]));
	},
	// Then it is not known what is set.
	isOpening() {
		if (!screen.isOpen) this.say(t("notes.opening"));
		return !screen.isOpen;
	},
	async save() {
		if (this.isOpening()) return;
		const name = this.name.value.trim();
		if (!name) {
			this.name.focus();
			return;
		}
		const answer = await this.ask("save_preset", { name, options: screen.settings, model: screen.model });
		if (!answer) return;
		this.name.value = "";
		this.say(t("presets.saved", answer));
	},
	async remove(row) {
		if (!(await this.ask("delete_preset", { name: row.name }))) return;
		this.dialog.querySelector(".close").focus();
		const back = { text: row.file, default: row.is_default ? row.name : null };
		this.say(t("notes.deleted", { title: row.name }), async () => (await this.ask("open_presets", back)) && this.say(""));
	},
	async open(text, refused) {
		if (text === null) {
			this.say(refused);
			return;
		}
		const answer = await this.ask("open_presets", { text });
		if (answer) this.say(t("presets.opened", { names: namesInWords(answer.names) }));
	},

	// ── what is seen ──

	show() {
		if (!this.dialog.isConnected) this.build();
		this.say("");
		this.dialog.showModal();
		this.draw();
		(this.list.querySelector("[aria-current]") ?? this.dialog.querySelector(".close")).focus();
		this.ask("presets");
	},
	build() {
		const title = part("h2", "", t("presets.title"));
		title.id = "presets-title";
		const close = button("close", "✕", t("models.close"));
		close.addEventListener("click", () => this.dialog.close());
		const top = part("div", "top");
		top.append(title, close);
		this.status.setAttribute("role", "status");
		this.list.setAttribute("aria-label", t("presets.title"));
		Object.assign(this.name, { maxLength: 60, placeholder: t("presets.name") });
		this.name.setAttribute("aria-label", t("presets.name"));
		const form = part("form", "save");
		const save = button("primary", t("presets.save"), t("presets.save"));
		save.type = "submit";
		form.append(this.name, save, fileButton("file", t("files.open"), ".json,.yaml,.yml", (...of) => this.open(...of)));
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			this.save();
		});
		this.dialog.id = "presets";
		this.dialog.setAttribute("aria-labelledby", title.id);
		this.dialog.append(top, part("p", "hint", t("presets.hint")), this.status, this.list, form);
		this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
		document.querySelector("#header").append(this.dialog);
	},
	draw() {
		const settingsPart = document.querySelector("#settings");
		if (settingsPart && this.opener.parentElement !== settingsPart) {
			settingsPart.append(this.opener); // beside the label, which is as long as its language has it
			const label = settingsPart.querySelector(".label-wrap > span").offsetWidth;
			settingsPart.style.setProperty("--settings-label", `${label}px`);
		}
		const set = this.rows.find((row) => this.isSet(row));
		const text = set?.name ?? t("presets.title");
		if (this.opener.textContent !== text) {
			this.opener.textContent = this.opener.title = text;
			this.opener.setAttribute("aria-label", set ? t("presets.row", { name: text }) : text);
		}
		if (!this.dialog.open || this.list.querySelector("input")) return;
		const focused = document.activeElement?.dataset?.key;
		this.list.replaceChildren(...this.rows.map((row) => this.item(row, row === set)));
		if (!this.rows.length) this.list.append(part("li", "hint", t("presets.none")));
		if (focused) this.list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
	},
	item(row, isSet) {
		const item = document.createElement("li");
		const choose = button("choose", "", t("presets.row", row));
		const facts = [row.own ? "" : t("presets.operators"), row.model, row.options.system_prompt?.slice(0, 120)].filter(Boolean);
		choose.append(part("span", "name", row.name), part("span", "facts", facts.join(" · ")));
		choose.addEventListener("click", () => this.choose(row));
		if (isSet) choose.setAttribute("aria-current", "true");
		const acts = part("div", "acts");
		const star = button("default", row.is_default ? "★" : "☆", t(row.is_default ? "presets.make_default_off" : "presets.make_default"));
		star.setAttribute("aria-pressed", row.is_default);
		star.addEventListener("click", () => this.ask("default_preset", { name: row.is_default ? null : row.name }));
		const file = button("file", "↓", t("files.save"));
		file.addEventListener("click", () => saveFile(fileName(row.name, "json"), row.file));
		acts.append(star, file);
		if (row.own) {
			const rename = button("rename", "✎", t("list.rename"));
			rename.addEventListener("click", () => this.rename(item, row));
			const remove = button("delete", "✕", t("list.delete"));
			asksFirst(remove, "✕", () => this.remove(row));
			acts.append(rename, remove);
		}
		item.append(choose, acts);
		for (const made of item.querySelectorAll("button")) made.dataset.key = `${made.className} ${row.name}`;
		return item;
	},
	rename(item, row) {
		const input = nameBox(row.name, 60, t("presets.name"), async (title) => {
			if (title) await this.ask("rename_preset", { name: row.name, title });
			this.draw();
			this.list.querySelector(`[data-key="${CSS.escape(`rename ${title || row.name}`)}"]`)?.focus();
		});
		item.querySelector(".choose").replaceWith(input);
		input.select();
	},
};
const namesInWords = (names) => new Intl.ListFormat(locale).format(names.map((name) => `“${name}”`));
presets.opener.setAttribute("aria-haspopup", "dialog");
presets.opener.addEventListener("click", () => presets.show());

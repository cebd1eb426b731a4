// What could be fetched: models that are recommended for this machine, and what the Hub has.
const offered = {
	root: part("div", "offered"),
	items: [],

	draw() {
		this.root.hidden = !models.mayChange;
		if (!models.mayChange) return;
		if (!this.root.childElementCount) this.root.append(this.recommended(), this.search());
		this.items = this.items.filter(({ pressed }) => pressed.isConnected);
		for (const item of this.items) this.mark(item);
	},
	mark({ pressed, row }) {
		const known = models.rows.find((each) => each.source === row.source);
		const isFetched = known && known.state !== "absent";
		const word = t(!isFetched ? "models.fetch" : known.state === "fetching" ? "models.fetching" : "models.here");
		if (pressed.textContent === word) return;
		pressed.textContent = word;
		pressed.setAttribute("aria-label", t("models.act", { act: word, name: row.name }));
		if (isFetched) pressed.setAttribute("aria-disabled", "true");
		else pressed.removeAttribute("aria-disabled");
	},

	// A part that is folded away; what is in it is asked for when it is unfolded, until it is there.
	fold(kind, title, body, load) {
		const made = part("details", kind);
		made.append(part("summary", "", title), ...body);
		let isThere = !load;
		made.addEventListener("toggle", async () => {
			if (!made.open || isThere) return;
			isThere = true;
			isThere = await load();
		});
		return made;
	},
	status() {
		const made = part("p", "said");
		made.setAttribute("role", "status");
		return made;
	},
	rows(list, rows) {
		list.replaceChildren(...rows.map((row) => this.row(row)));
	},
	row(row) {
		const item = document.createElement("li");
		item.append(part("span", "name", row.name), part("span", "facts", tellAll(row.facts)));
		if (row.why) item.append(part("p", "told", row.why));
		if (row.is_too_large) {
			item.classList.add("too-large");
			return item;
		}
		const pressed = button("fetch", "", row.name);
		pressed.addEventListener("click", () => pressed.hasAttribute("aria-disabled") || panel.act("fetch", row));
		item.append(pressed);
		this.items.push({ pressed, row });
		this.mark({ pressed, row });
		return item;
	},

	recommended() {
		const status = this.status();
		const list = part("ul", "rows");
		list.setAttribute("aria-label", t("models.recommended_list"));
		return this.fold("recommended", t("models.recommended"), [status, list], async () => {
			const found = await ask("recommended_models", {});
			status.textContent = found?.rows ? "" : refusal(found);
			this.rows(list, found?.rows ?? []);
			return Boolean(found?.rows);
		});
	},

	search() {
		const status = this.status();
		const list = part("ul", "repos");
		list.setAttribute("aria-label", t("models.repositories"));
		const form = part("form", "ask");
		form.setAttribute("role", "search");
		const words = document.createElement("input");
		words.type = "text";
		words.placeholder = t("models.words");
		words.maxLength = 200;
		words.setAttribute("aria-label", t("models.words"));
		const go = button("go", t("models.search"), t("models.search"));
		go.type = "submit";
		form.append(words, go);
		let asked = 0;
		form.addEventListener("submit", async (event) => {
			event.preventDefault();
			const nth = ++asked;
			status.textContent = t("models.asking");
			list.replaceChildren();
			const found = await ask("search_models", { query: words.value });
			if (nth !== asked) return;
			if (!found?.repos) status.textContent = refusal(found);
			else status.textContent = found.repos.length ? "" : t("models.nothing_found");
			list.replaceChildren(...(found?.repos ?? []).map((repo) => this.repo(repo)));
		});
		return this.fold("search", t("models.search_hub"), [form, status, list]);
	},
	repo({ repo, facts }) {
		const status = this.status();
		const list = part("ul", "rows");
		list.setAttribute("aria-label", t("models.files_of", { repo }));
		const made = this.fold("repo", "", [status, list], async () => {
			status.textContent = t("models.asking");
			const found = await ask("files_of_repo", { repo });
			if (!found?.rows) status.textContent = refusal(found);
			else status.textContent = found.rows.length ? "" : t("models.nothing_in_it");
			this.rows(list, found?.rows ?? []);
			return Boolean(found?.rows);
		});
		made.querySelector("summary").append(part("span", "name", repo), part("span", "facts", tellAll(facts)));
		const item = document.createElement("li");
		item.append(made);
		return item;
	},
};

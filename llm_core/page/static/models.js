// Which model answers in this conversation, and which there are. The conversation's own is `screen.model`, null for the
// default one; what was chosen and not sent yet is kept with the drafts. The panel in which one chooses is panel.js.
const LOOK_MS = 1000; // between two looks at the models, while something moves or the panel is open
const OFFER_CLOSED = "llm-core-offer-closed";

const models = {
	LAST: "llm-core-model",
	head: document.createElement("div"),
	rows: [],
	mayChange: false,
	isKnown: false,
	asked: 0,
	fetching: new Set(), // sources of which it is to be told what became of them

	async refresh() {
		const asked = ++this.asked;
		clearTimeout(this.later);
		const found = document.hidden && this.isKnown ? undefined : await ask("models", {});
		if (asked !== this.asked) return; // an answer to an earlier question comes too late
		if (found?.rows) this.take(found);
		if (panel.isOpen || !this.isKnown || this.rows.some((row) => this.isMoving(row))) {
			this.later = setTimeout(() => this.refresh(), LOOK_MS);
		}
	},
	isMoving(row) {
		return row.state === "fetching" || row.state === "loading" || (row.is_default && !row.is_known);
	},
	take(found) {
		this.rows = found.rows;
		this.mayChange = found.may_change;
		document.body.classList.toggle("may-change", this.mayChange);
		this.isKnown = true;
		for (const { source, state, name, told } of this.rows) {
			if (state === "fetching") this.fetching.add(source);
			else if (this.fetching.delete(source)) panel.say(state === "absent" ? tellAll(told) : t("models.arrived", { name }));
		}
		offer.show(found.offer);
		this.draw();
		drawLines();
	},

	row(name) {
		return this.rows.find((row) => (name === null ? row.is_default : row.names.includes(name)));
	},
	get canChoose() {
		return this.mayChange || this.rows.filter((each) => each.is_served && each.can_write).length > 1;
	},
	isServed(name) {
		return Boolean(this.row(name)?.is_served);
	},

	// The one that a conversation goes on with: chosen here, or its own; a new one begins with the last that was chosen.
	of(conversation, found) {
		const last = found.version === 0 ? sessionStorage.getItem(this.LAST) : null;
		const isThere = last !== null && (!this.isKnown || this.isServed(last));
		const fresh = found.version === 0 ? presets.freshModel() : null;
		return drafts.of(conversation).model ?? found.model ?? fresh ?? (isThere ? last : null);
	},
	async choose(row) {
		const at = pressedAt();
		let { name } = row;
		if (!row.is_served) {
			const answer = await ask("load_model", { model: row.key });
			if (answer?.name === undefined) {
				panel.say(refusal(answer));
				return;
			}
			name = answer.name;
			this.refresh();
		}
		this.set(name, at);
		panel.close();
	},
	set(name, at = pressedAt()) {
		sessionStorage.setItem(this.LAST, name);
		drafts.change(at.conversation, { model: name });
		if (isHere(at)) screen.model = name;
		this.draw();
	},

	// In the head: a button where there is something to choose, else just its name.
	draw() {
		panel.draw();
		presets.draw();
		gauge.draw();
		if (!screen.isOpen || !this.isKnown) return;
		const row = this.row(screen.model);
		const line = row ? tellAll(row.line) : (screen.model ?? "");
		const settings = document.querySelector("#settings");
		if (settings) settings.dataset.thinking = row?.can_switch_thinking ? "switched" : "";
		const { canChoose } = this;
		let shown = this.head.firstElementChild;
		if (shown?.localName !== (canChoose ? "button" : "p")) {
			shown = canChoose ? this.button() : document.createElement("p");
			shown.classList.add("model");
			this.head.replaceChildren(shown);
		}
		if (shown.textContent === line) return;
		shown.textContent = shown.title = line;
		if (canChoose) shown.setAttribute("aria-label", t("models.head", { line }));
	},
	button() {
		const made = button("choose-model", "", "");
		made.setAttribute("aria-haspopup", "dialog");
		made.addEventListener("click", () => panel.open());
		return made;
	},

	// Under each reply stands who made it, where that could be another one than the reader thinks.
	areSeveral(replies) {
		const made = new Set(replies.map((reply) => reply.model).filter(Boolean));
		return made.size > 1 || this.rows.filter((row) => row.is_served && row.can_write).length > 1;
	},
};

// Where there is none but the model that comes with the program: one line above an empty chat, until it is closed.
const offer = {
	isClosed: localStorage.getItem(OFFER_CLOSED) !== null,
	line: null,

	show(found) {
		if (!found || this.isClosed) {
			this.line?.remove();
			this.line = null;
			return;
		}
		if (this.line) return;
		const words = document.createElement("p");
		words.textContent = tell(found.sentence);
		const fetch = button("fetch", t("models.offer_fetch"), t("models.act", { act: t("models.offer_fetch"), name: found.name }));
		fetch.addEventListener("click", () => {
			this.close();
			models.head.firstElementChild.focus(); // there it comes back to
			panel.open();
			panel.act("fetch", found);
		});
		const close = button("close", t("models.offer_close"), t("models.offer_close"));
		close.addEventListener("click", () => {
			this.close();
			box.focus();
		});
		this.line = document.createElement("div");
		this.line.id = "offer";
		this.line.setAttribute("role", "status");
		const acts = document.createElement("div");
		acts.className = "acts";
		acts.append(fetch, close);
		this.line.append(words, acts);
		models.head.after(this.line);
		this.draw();
	},
	draw() {
		if (this.line) this.line.hidden = shownTurns().length > 0;
	},
	close() {
		this.isClosed = true;
		this.show(null);
		try {
			localStorage.setItem(OFFER_CLOSED, "yes");
		} catch {
			// the browser's storage is full: it is closed for as long as the page
		}
	},
};

models.head.id = "model";
document.querySelector("#header").append(models.head);

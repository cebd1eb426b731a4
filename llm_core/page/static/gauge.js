// How much of what the model can read at once is in use: what it read and wrote last, and an estimate of what came since.
const CHARS_A_TOKEN = 4; // of most languages in Latin letters

const gauge = {
	root: part("div", ""),
	bar: document.createElement("meter"),
	words: part("span", ""),
	told: part("span", "told"),

	soon() {
		this.later ??= setTimeout(() => {
			this.later = null;
			this.draw();
		}, 200);
	},
	draw() {
		const context = models.row(screen.model)?.context ?? 0;
		const settings = document.querySelector("#settings");
		this.root.hidden = !context || !screen.isOpen || !settings;
		if (this.root.hidden) return;
		if (this.root.parentElement !== settings) settings.append(this.root);
		const used = Math.min(this.used(), context);
		const isNear = used > 0.8 * context;
		this.bar.value = used / context;
		this.root.classList.toggle("near", isNear);
		const showsFree = isNear || attached.files.length > 0;
		const words = t(showsFree ? "gauge.free" : "gauge.used", { used, context, free: context - used });
		setText(this.words, used ? words : "");
		setText(this.told, this.leftOut(context));
		this.root.title = t("gauge.what");
		this.root.hidden = !used;
	},
	// What the next message has the model not read any more, in words. A quarter of the context is the reply's.
	leftOut(context) {
		const room = 0.75 * context;
		const next = tokensOf(box.text) + attached.tokens(attached.files);
		if (!attached.files.length || this.used() <= room) return "";
		return next > room ? t("attachments.too_long") : t("attachments.leaves_out");
	},
	used() {
		let used = 0;
		for (const { question, attachments, reply } of shownTurns()) {
			const known = reply?.at(-1)?.metadata.used;
			if (known) used = known;
			else used += attached.tokens(attachments ?? []) + tokensOf(question ?? "") + (reply ?? []).reduce((sum, { content }) => sum + tokensOf(content[0].text), 0);
		}
		return used + tokensOf(box.text) + attached.tokens(attached.files);
	},
};
const tokensOf = (text) => Math.ceil(text.length / CHARS_A_TOKEN);

gauge.root.id = "gauge";
gauge.bar.setAttribute("aria-label", t("gauge.label"));
gauge.root.append(gauge.bar, gauge.words, gauge.told);

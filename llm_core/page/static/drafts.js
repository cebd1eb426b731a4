// What was done and is not in the store: the text in the box, messages that are on their way or were not taken, and the
// model and the settings that were chosen for the next one. It lasts as long as the tab, over reloads and restarts. Each conversation has its own.
const drafts = {
	NAME: "llm-core-drafts",
	all: {},

	load() {
		try {
			this.all = JSON.parse(sessionStorage.getItem(this.NAME) ?? "{}");
		} catch {
			this.all = {};
		}
	},
	save() {
		try {
			sessionStorage.setItem(this.NAME, JSON.stringify(this.all));
		} catch {
			// the browser's storage is full: they last as long as the page
		}
	},
	of(conversation) {
		return this.all[conversation] ?? { box: "", editing: null, files: [], unsent: [], model: null, settings: null };
	},
	change(conversation, changes) {
		const changed = { ...this.of(conversation), ...changes };
		const { box, files, unsent, model, settings } = changed;
		if (box || files?.length || unsent.length || model || settings) this.all[conversation] = changed;
		else delete this.all[conversation];
		this.save();
	},

	// A message: `stream` is its id, `files` what is attached, `replaces` the turn whose place it takes, `model`
	// and `settings` those that it was sent with, `reason` why it was not sent, null while it is not known whether it was, `notBefore` when it may be sent again.
	put(conversation, message) {
		const others = this.of(conversation).unsent.filter((each) => each.stream !== message.stream);
		this.change(conversation, { unsent: [...others, message] });
	},
	// `code` is of the kind of error, `retry_after` the seconds after which it may be sent again.
	refuse(conversation, stream, reason, { code = "", retry_after = 0 } = {}) {
		const refused = { reason, code, notBefore: Date.now() + 1000 * (retry_after ?? 0) };
		const unsent = this.of(conversation).unsent;
		this.change(conversation, { unsent: unsent.map((each) => (each.stream === stream ? { ...each, ...refused } : each)) });
	},
	drop(conversation, stream) {
		const { unsent, model, settings } = this.of(conversation);
		const dropped = unsent.find((each) => each.stream === stream);
		if (!dropped) return;
		const isTaken = dropped.reason === null; // then the session remembers what it was sent with
		const areTaken = isTaken && Object.entries(settings ?? {}).every(([name, value]) => isSame(value, dropped.settings?.[name]));
		this.change(conversation, {
			unsent: unsent.filter((each) => each.stream !== stream),
			model: isTaken && dropped.model === model ? null : model,
			settings: areTaken ? null : settings,
		});
	},
	// Another turn stands in the place of one.
	moved(conversation, from, to) {
		const { editing, unsent } = this.of(conversation);
		const moved = unsent.map((each) => (each.replaces === from ? { ...each, replaces: to } : each));
		this.change(conversation, { editing: editing === from ? to : editing, unsent: moved });
	},
	// The turns whose place something is to take: the last hundred (MAX_REPLACED, page/commands.py).
	replaced(conversation) {
		const { editing, unsent } = this.of(conversation);
		return [...unsent.map((each) => each.replaces), editing].filter(Boolean).slice(-100);
	},
	refused(conversation) {
		return this.of(conversation).unsent.filter((each) => each.reason !== null);
	},
};
drafts.load();

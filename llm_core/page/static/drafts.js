// What was done and is not in the store: the text in the box, messages that are on their way or were not taken, and the
// model that was chosen for the next one. It lasts as long as the tab, over reloads and restarts. Each conversation has its own.
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
		return this.all[conversation] ?? { box: "", editing: null, unsent: [], model: null };
	},
	change(conversation, changes) {
		const changed = { ...this.of(conversation), ...changes };
		if (changed.box || changed.unsent.length || changed.model) this.all[conversation] = changed;
		else delete this.all[conversation];
		this.save();
	},

	// A message: `stream` is its id, `replaces` the turn whose place it takes, `model` the one that it was sent to,
	// `reason` why it was not sent, null while it is not known whether it was.
	put(conversation, message) {
		const others = this.of(conversation).unsent.filter((each) => each.stream !== message.stream);
		this.change(conversation, { unsent: [...others, message] });
	},
	refuse(conversation, stream, reason) {
		const unsent = this.of(conversation).unsent;
		this.change(conversation, { unsent: unsent.map((each) => (each.stream === stream ? { ...each, reason } : each)) });
	},
	drop(conversation, stream) {
		const { unsent, model } = this.of(conversation);
		const dropped = unsent.find((each) => each.stream === stream);
		if (!dropped) return;
		const isTaken = dropped.reason === null && dropped.model === model; // then the session remembers the model
		const others = unsent.filter((each) => each.stream !== stream);
		this.change(conversation, { unsent: others, model: isTaken ? null : model });
	},
	refused(conversation) {
		return this.of(conversation).unsent.filter((each) => each.reason !== null);
	},
};
drafts.load();

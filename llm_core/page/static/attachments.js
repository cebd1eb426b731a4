// Files of messages: those in the message box, and those that were sent. A file is its name and its text, or where that
// is kept: the stream of a turn, and a place among its files.
// As the server takes a file.
const asSent = ({ name, media_type, text, stream, place }) => (text === undefined ? { stream, place } : { name, media_type, text });

// The files of a turn, to be sent once more.
function filesOf({ stream, attachments }) {
	return (attachments ?? []).map((file, place) => (file.text === undefined && !file.stream ? { ...file, stream, place } : file));
}

const tooMany = () => t("attachments.too_many", { count: props.attachments.files });
const tooMuch = () => t("attachments.too_much", { characters: props.attachments.all_chars });
const charsOf = ({ text, chars }) => text?.length ?? chars ?? 0;

function groupOfFiles(files) {
	const row = part("div", "attached");
	row.setAttribute("role", "group");
	row.setAttribute("aria-label", t("attachments.files"));
	row.append(...files);
	row.hidden = !files.length;
	return row;
}

const attached = {
	files: [], // in the message box
	reading: [], // what the server reads now: a name, and the conversation that it is for
	row: groupOfFiles([]),

	set(files) {
		this.files = files ?? [];
		this.draw();
	},
	// Whether there is room for it; if not, that is said.
	add(file) {
		const chars = this.files.reduce((sum, each) => sum + charsOf(each), charsOf(file));
		const isMuch = chars > props.attachments.all_chars;
		const isRefused = isMuch || this.files.length >= props.attachments.files;
		if (isRefused) notice(isMuch ? tooMuch() : tooMany());
		else this.set([...this.files, file]);
		keepBox();
		return !isRefused;
	},
	remove(file) {
		this.set(this.files.filter((each) => each !== file));
		keepBox();
		box.focus();
	},
	tokens: (files) => files.reduce((sum, file) => sum + (file.tokens ?? Math.ceil(charsOf(file) / CHARS_A_TOKEN)), 0),
	readingHere() {
		return this.reading.filter(({ conversation }) => conversation === screen.conversation);
	},
	isReading() {
		const isReading = this.readingHere().length > 0;
		if (isReading) notice(t("attachments.wait"));
		return isReading;
	},

	draw() {
		const message = document.querySelector("#message");
		if (this.row.parentElement !== message) message.prepend(this.row);
		const reading = this.readingHere().map(({ name }) => this.chip({ name }, t("attachments.reading")));
		this.row.replaceChildren(...this.files.map((file) => this.inBox(file)), ...reading);
		this.row.hidden = !this.row.childElementCount;
		gauge.soon();
	},
	inBox(file) {
		const chip = this.shown(file);
		if (file.pasted) {
			const text = button("as-text", t("attachments.as_text"), t("attachments.as_text_of", file));
			text.addEventListener("click", () => {
				this.remove(file);
				box.insert(file.text);
			});
			chip.append(text);
		}
		const remove = button("remove", "✕", t("attachments.remove", file));
		remove.addEventListener("click", () => this.remove(file));
		chip.append(remove);
		return chip;
	},
	// A file whose text can be looked at.
	shown(file) {
		const count = this.tokens([file]);
		const chip = this.chip(file, t(file.tokens ? "attachments.tokens" : "attachments.about", { count }));
		const open = button("open", "", t("attachments.show", file));
		open.append(...chip.childNodes);
		open.addEventListener("click", () => preview.open(file));
		chip.append(open);
		return chip;
	},
	chip({ name }, facts) {
		const chip = part("span", "chip");
		chip.append(part("span", "name", name), part("span", "facts", facts));
		return chip;
	},
	list(files) {
		return groupOfFiles(files.map((file) => this.shown(file)));
	},

	// Under each message of the visitor's that has some.
	drawSent() {
		const asked = withQuestion(drawing.seen.turns);
		document.querySelectorAll("#chat .message-row.user-row").forEach((row, place) => {
			const files = asked[place] ? filesOf(asked[place]) : [];
			const is = JSON.stringify([asked[place]?.stream, files.map(({ name }) => name)]);
			const shown = row.querySelector(":scope > .attached");
			if (shown?.dataset.is === is) return;
			shown?.remove();
			if (!files.length) return;
			const made = this.list(files);
			made.dataset.is = is;
			row.append(made);
		});
	},
};

// The text of a file, to be read in peace.
const preview = {
	dialog: document.createElement("dialog"),
	title: part("h2", ""),
	text: part("pre", ""),

	async open(file) {
		if (!this.dialog.isConnected) this.build();
		const nth = (this.opened = (this.opened ?? 0) + 1);
		setText(this.title, file.name);
		this.text.textContent = file.text ?? "";
		this.dialog.showModal();
		if (file.text !== undefined) return;
		const found = await ask("attached_text", { stream: file.stream, place: file.place });
		if (nth === this.opened) this.text.textContent = found?.text ?? refusal(found);
	},
	build() {
		this.dialog.id = "preview";
		this.title.id = "preview-title";
		this.dialog.setAttribute("aria-labelledby", this.title.id);
		this.text.tabIndex = 0; // it scrolls by keyboard
		const close = button("close", "✕", t("models.close"));
		close.addEventListener("click", () => this.dialog.close());
		const top = part("div", "top");
		top.append(this.title, close);
		this.dialog.append(top, this.text);
		this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
		this.dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape closes it, and stops no reply
		document.querySelector(".gradio-container").append(this.dialog);
	},
};

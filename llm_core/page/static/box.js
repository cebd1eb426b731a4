// The message box: what is typed is kept, whatever becomes of the page.
const box = {
	area: document.querySelector("#message textarea"),
	editing: null, // the stream of the turn that the text takes the place of

	get text() {
		return this.area.value;
	},
	set(text, editing = null, files = []) {
		this.editing = editing;
		attached.set(files);
		this.area.value = text;
		this.area.dispatchEvent(new Event("input", { bubbles: true }));
	},
	// At the caret, as if it were typed.
	insert(text) {
		this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
		this.area.dispatchEvent(new Event("input", { bubbles: true }));
	},
	focus() {
		if (!matchMedia("(pointer: coarse)").matches) this.area.focus();
	},
};

for (const [part, name] of [["textarea", t("widgets.message")], [".submit-button", t("page.send")], [".stop-button", t("page.stop")]]) {
	document.querySelector(`#message ${part}`)?.setAttribute("aria-label", name);
}

// A text for the box; what is typed there already is not lost for it.
function intoBox(text, editing = null, files = []) {
	setAside();
	box.set(text, editing, files);
	drawNotes();
	box.focus();
}

function setAside() {
	if (!box.text.trim() && !attached.files.length) return;
	const { text, editing: replaces } = box;
	const message = { stream: newStream(), text, files: attached.files, replaces, reason: t("notes.set_aside") };
	drafts.put(screen.conversation, message);
}

function takeBackIntoBox(message) {
	drafts.drop(screen.conversation, message.stream);
	intoBox(message.text, isThere(message.replaces) ? message.replaces : null, message.files);
}

function cancelEdit() {
	box.set("");
	drawNotes();
}

function isThere(stream) {
	return screen.turns.some((turn) => turn.stream === stream);
}

// A turn stands where another one stood: what was to take the place of that takes the place of this.
function moveEdits({ stream, replaces }) {
	if (replaces === null) return;
	if (box.editing === replaces) box.editing = stream;
	drafts.moved(screen.conversation, replaces, stream);
}

function keepBox() {
	drafts.change(screen.conversation, { box: box.text, editing: box.editing, files: attached.files });
}

function drawBox() {
	composer.draw();
	const state = !screen.isOpen ? "opening" : runningTurn() ? "busy" : "idle";
	if (document.body.dataset.chat === state) return;
	for (const part of [document.body, ...document.querySelectorAll("#chat, #message")]) part.dataset.chat = state;
}

box.area.addEventListener("input", () => {
	sentence &&= "";
	keepBox();
	gauge.soon();
});
// On a touch keyboard Enter is the only way to a new line; the message goes with the button.
window.addEventListener(
	"keypress",
	(event) => {
		if (event.target === box.area && event.key === "Enter" && matchMedia("(pointer: coarse)").matches) {
			event.stopImmediatePropagation();
		}
	},
	true
);
window.addEventListener("keydown", (event) => {
	if (panel.isOpen || presets.dialog.open || event.isComposing || event.keyCode === 229) return; // Escape closes the panel, and no more
	if (event.key === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
		event.preventDefault();
		list.focusSearch();
	} else if (event.key === "Escape" && event.target === list.search) list.leaveSearch();
	else if (event.key === "Escape" && selection.isOn) selection.leave();
	else if (event.key === "Escape") chatScreen.stop();
});

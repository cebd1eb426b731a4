// The message box and what stands above it: why something was not done, messages that were not sent, and what is edited.
const UNREACHABLE = "The server cannot be reached. Nothing was changed; try again.";

const box = {
	area: document.querySelector("#message textarea"),
	editing: null, // the stream of the turn that the text takes the place of

	get text() {
		return this.area.value;
	},
	set(text, editing = null) {
		this.editing = editing;
		this.area.value = text;
		this.area.dispatchEvent(new Event("input", { bubbles: true }));
	},
	focus() {
		if (!matchMedia("(pointer: coarse)").matches) this.area.focus();
	},
};

for (const [part, name] of [["textarea", "Message"], [".submit-button", "Send"], [".stop-button", "Stop"]]) {
	document.querySelector(`#message ${part}`)?.setAttribute("aria-label", name);
}

// Above the message box.
const notes = document.createElement("div");
notes.id = "notes";
notes.setAttribute("role", "status");
let sentence = "";

function notice(text) {
	sentence = text;
	drawNotes();
}

function drawNotes() {
	const group = box.area.closest(".gr-group, .group") ?? document.querySelector("#message");
	if (notes.nextElementSibling !== group) group.before(notes);
	const lines = [];
	if (sentence) lines.push(note("notice", sentence));
	for (const message of drafts.refused(screen.conversation)) lines.push(unsentNote(message));
	if (box.editing) {
		const line = note("editing", "You are editing an earlier message. What followed it will be replaced.");
		line.append(press("Cancel", () => cancelEdit()));
		lines.push(line);
	}
	notes.replaceChildren(...lines);
}

function note(kind, text) {
	const line = document.createElement("div");
	line.className = `note ${kind}`;
	const words = document.createElement("p");
	words.textContent = text;
	line.append(words);
	return line;
}

function unsentNote(message) {
	const line = note("unsent", message.reason);
	const text = document.createElement("pre");
	text.textContent = message.text;
	line.append(
		text,
		press("Send again", () => {
			toSendAgain = message;
			trigger("again");
		}),
		press("Edit", () => takeBackIntoBox(message)),
		press("Discard", () => {
			drafts.drop(screen.conversation, message.stream);
			drawNotes();
		})
	);
	return line;
}

function press(text, does) {
	const made = button("", text, text);
	// Not by the second half of a double click on what stood here before.
	made.addEventListener("click", (event) => event.detail < 2 && does());
	return made;
}

let toSendAgain = null;

// A text for the box; what is typed there already is not lost for it.
function intoBox(text, editing = null) {
	setAside();
	box.set(text, editing);
	drawNotes();
	box.focus();
}

function setAside() {
	if (!box.text.trim()) return;
	const message = { stream: newStream(), text: box.text, replaces: box.editing, reason: "Set aside: not sent." };
	drafts.put(screen.conversation, message);
}

function takeBackIntoBox(message) {
	drafts.drop(screen.conversation, message.stream);
	intoBox(message.text, isThere(message.replaces) ? message.replaces : null);
}

function cancelEdit() {
	box.set("");
	drawNotes();
}

function isThere(stream) {
	return screen.turns.some((turn) => turn.stream === stream);
}

function keepBox() {
	drafts.change(screen.conversation, { box: box.text, editing: box.editing });
}

function drawBox() {
	const state = !screen.isOpen ? "opening" : runningTurn() ? "busy" : "idle";
	if (document.body.dataset.chat === state) return;
	for (const part of [document.body, ...document.querySelectorAll("#chat, #message")]) part.dataset.chat = state;
}

box.area.addEventListener("input", () => {
	sentence &&= "";
	keepBox();
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
	if (panel.isOpen || event.isComposing || event.keyCode === 229) return; // Escape closes the panel, and no more
	if (event.key === "Escape") chatScreen.stop();
});

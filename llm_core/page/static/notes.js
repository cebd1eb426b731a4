// What stands above the message box: what is wrong, what was not sent or was deleted, and what can be done about it.
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
	const lines = [link.note()];
	const isTold = sentence === UNREACHABLE && link.state !== "there"; // by the line above
	if (sentence && !isTold) lines.push(note("notice", sentence));
	for (const one of deleted) lines.push(deletedNote(one));
	for (const message of drafts.refused(screen.conversation)) lines.push(unsentNote(message));
	if (isThere(box.editing)) {
		const line = note("editing", t("notes.editing"));
		line.append(press(t("notes.cancel"), () => cancelEdit()));
		lines.push(line);
	}
	notes.replaceChildren(...lines.filter(Boolean));
	countDown();
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
	const again = press(t("notes.send_again"), () => chatScreen.sendAgain(message));
	again.dataset.notBefore = message.notBefore ?? 0;
	const isOfModel = message.code === "model_error" || message.code === "model_not_found";
	line.append(
		text,
		attached.list(message.files ?? []),
		isOfModel && models.canChoose ? press(t("notes.choose_model"), () => panel.open()) : "",
		again,
		press(t("notes.edit"), () => takeBackIntoBox(message)),
		press(t("notes.discard"), () => {
			drafts.drop(screen.conversation, message.stream);
			drawNotes();
		})
	);
	return line;
}

function deletedNote(one) {
	const line = note("deleted", one.said ?? t("notes.deleted", { title: one.title }));
	line.append(press(t("notes.undo"), () => (one.undo ?? restore)(one)));
	return line;
}

// What a full queue or the rate limit has refused can be sent again when there may be room, in a conversation that is open.
function countDown() {
	clearTimeout(notes.later);
	let isCounting = false;
	for (const again of notes.querySelectorAll("[data-not-before]")) {
		const left = Math.ceil((again.dataset.notBefore - Date.now()) / 1000);
		const text = left > 0 ? t("notes.send_again_in", { count: left }) : t("notes.send_again");
		if (again.textContent !== text) again.textContent = text;
		again.disabled = left > 0 || !screen.isOpen;
		isCounting ||= left > 0;
	}
	if (isCounting) notes.later = setTimeout(countDown, 250);
}

function press(text, does) {
	const made = button("", text, text);
	// Not by the second half of a double click on what stood here before.
	made.addEventListener("click", (event) => event.detail < 2 && does());
	return made;
}

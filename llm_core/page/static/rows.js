// A row of the list: a conversation is opened, pinned, given another title, or deleted.
// Nothing asks through the browser's own dialogs, which a page in the frame of another site may not open.
const SURE_MS = 400; // the second half of a double click comes sooner

function makeRow({ conversation, title }) {
	const item = document.createElement("li");
	item.dataset.id = conversation;
	const open = button("open", title, title);
	open.setAttribute("dir", "auto");
	open.addEventListener("click", (event) => selection.takes(event, conversation) || openConversation(conversation));
	const busy = part("span", "busy");
	busy.setAttribute("role", "img");
	busy.setAttribute("aria-label", t("list.busy"));
	const pin = button("pin", "☆", t("list.pin"));
	pin.addEventListener("click", () => pinRow(pin, conversation));
	const rename = button("rename", "✎", t("list.rename"));
	rename.addEventListener("click", () => renameRow(item, conversation));
	const remove = button("delete", "✕", t("list.delete"));
	remove.addEventListener("click", (event) => removeRow(remove, conversation, event));
	item.append(open, busy, pin, rename, remove);
	return item;
}

function fillRow(item, row) {
	if (isSame(item.row, row)) return;
	item.row = row;
	const { title, busy, pinned } = row;
	const open = item.querySelector(".open");
	if (open.textContent !== title) fillTitle(open, title);
	item.querySelector(".busy").hidden = !busy;
	const pin = item.querySelector(".pin");
	if (pin.getAttribute("aria-pressed") === String(pinned)) return;
	pin.setAttribute("aria-pressed", String(pinned));
	pin.textContent = pinned ? "★" : "☆";
	pin.title = t(pinned ? "list.unpin" : "list.pin");
}

function fillTitle(open, title) {
	open.textContent = open.title = title;
	open.setAttribute("aria-label", title);
}

async function pinRow(pin, conversation) {
	const answer = await ask("pin", { conversation, pinned: pin.getAttribute("aria-pressed") !== "true" });
	if (answer?.refused !== undefined || answer === undefined) notice(refusal(answer));
	list.movedAt = -Infinity; // the row moves from under the pointer: that is what was asked for
	tellTabs(conversation);
	list.refresh();
}

function removeRow(pressed, conversation, event) {
	if (!pressed.matches(".asked")) {
		pressed.classList.add("asked");
		pressed.textContent = t("list.delete_asked");
		pressed.setAttribute("aria-disabled", "true");
		setTimeout(() => pressed.removeAttribute("aria-disabled"), SURE_MS);
	} else if (event.detail < 2 && !pressed.hasAttribute("aria-disabled")) {
		const item = pressed.closest("li");
		list.rows = list.rows.filter((row) => row.conversation !== conversation);
		list.items.delete(conversation);
		(item.parentElement.childElementCount > 1 ? item : item.closest("section")).remove();
		removeConversation(conversation, item.querySelector(".open").textContent);
	}
}

function calm(asked) {
	asked.classList.remove("asked");
	asked.textContent = "✕";
}

// A box for another name of something. It ends once: by Enter, by Escape, or when it is left; `end` gets the new name, ""
// where it stays as it is.
function nameBox(name, longest, label, end) {
	const input = document.createElement("input");
	Object.assign(input, { value: name, maxLength: longest });
	input.setAttribute("aria-label", label);
	let isOver = false;
	const over = (keep) => {
		if (isOver) return;
		isOver = true;
		const typed = input.value.trim();
		input.remove();
		end(keep && typed !== name ? typed : "");
	};
	input.addEventListener("keydown", (event) => {
		event.stopPropagation();
		if (event.isComposing || event.keyCode === 229) return; // an input method's own Enter and Escape
		if (event.key !== "Enter" && event.key !== "Escape") return;
		event.preventDefault(); // Escape would close a panel
		over(event.key === "Enter");
	});
	input.addEventListener("blur", () => over(true));
	return input;
}

function renameRow(item, conversation) {
	const open = item.querySelector(".open");
	const input = nameBox(open.textContent, 200, t("list.title"), async (title) => {
		open.hidden = false;
		if (!title) return;
		fillTitle(open, title);
		item.row = null; // it has another title than the row said
		const answer = await ask("rename", { conversation, title });
		if (answer?.refused !== undefined || answer === undefined) notice(refusal(answer));
		tellTabs(conversation);
		list.refresh();
	});
	open.hidden = true;
	item.prepend(input);
	input.select();
}

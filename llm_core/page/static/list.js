// The list of conversations beside the chat. Its rows stay where they are while somebody points at one.
// Nothing asks through the browser's own dialogs, which a page in the frame of another site may not open.
const RESTING_MS = 1000; // a pointer that has not moved for so long points at nothing
const SURE_MS = 400; // the second half of a double click comes sooner

const list = {
	root: document.querySelector("#conversations ul"),
	status: document.querySelector("#conversations [role=status]"),
	search: document.querySelector("#search :is(textarea, input)"),
	rows: [],
	more: false,
	asked: 0,
	isPressed: false,
	movedAt: -Infinity,

	async refresh() {
		const asked = ++this.asked;
		const search = this.search.value;
		const found = await ask("list", { search });
		if (asked !== this.asked || !found?.rows) return; // an answer to an earlier question comes too late
		this.found = { ...found, search };
		this.settle();
	},

	settle() {
		clearTimeout(this.later);
		if (!this.found) return;
		if (this.isHeld()) {
			this.later = setTimeout(() => this.settle(), 100);
			return;
		}
		const { rows, more, kept, search } = this.found;
		this.found = null;
		this.rows = rows;
		this.status.textContent = !kept
			? "Your browser keeps no cookies for this page: conversations can be found here until it is closed."
			: rows.length === 0
				? search.trim() ? "No conversation has this text." : "Your conversations will be listed here."
				: more ? `These are the newest ${rows.length}. Search finds older ones.` : "";
		this.draw();
	},
	isHeld() {
		const pointedAt = this.root.matches(":hover") && performance.now() - this.movedAt < RESTING_MS;
		return this.isPressed || pointedAt || this.root.querySelector("input, .asked") !== null;
	},

	draw() {
		this.root.replaceChildren(...this.rows.map((row) => this.row(row)));
		this.mark();
	},
	mark() {
		for (const item of this.root.children) {
			const open = item.querySelector(".open");
			if (item.dataset.id === screen.conversation) open.setAttribute("aria-current", "true");
			else open.removeAttribute("aria-current");
		}
	},
	row({ conversation, title }) {
		const item = document.createElement("li");
		item.dataset.id = conversation;
		const open = button("open", title, title);
		open.addEventListener("click", () => openConversation(conversation));
		const rename = button("rename", "✎", "Rename");
		rename.addEventListener("click", () => this.rename(item, conversation));
		const remove = button("delete", "✕", "Delete");
		remove.addEventListener("click", (event) => this.remove(remove, conversation, event));
		item.append(open, rename, remove);
		return item;
	},

	remove(pressed, conversation, event) {
		if (!pressed.matches(".asked")) {
			pressed.classList.add("asked");
			pressed.textContent = "Delete?";
			pressed.setAttribute("aria-disabled", "true");
			setTimeout(() => pressed.removeAttribute("aria-disabled"), SURE_MS);
		} else if (event.detail < 2 && !pressed.hasAttribute("aria-disabled")) {
			this.rows = this.rows.filter((row) => row.conversation !== conversation);
			pressed.closest("li").remove();
			removeConversation(conversation);
		}
	},

	rename(item, conversation) {
		const open = item.querySelector(".open");
		const input = document.createElement("input");
		input.value = open.textContent;
		input.maxLength = 200;
		input.setAttribute("aria-label", "Title");
		open.hidden = true;
		item.prepend(input);
		input.select();
		let isOver = false;
		const end = async (keep) => {
			if (isOver) return;
			isOver = true;
			const title = input.value.trim();
			input.remove();
			open.hidden = false;
			if (!keep || !title || title === open.textContent) return;
			open.textContent = open.title = title;
			const answer = await ask("rename", { conversation, title });
			if (answer?.refused !== undefined || answer === undefined) notice(answer?.refused ?? UNREACHABLE);
			tellTabs(conversation);
			this.refresh();
		};
		input.addEventListener("keydown", (event) => {
			event.stopPropagation();
			if (event.isComposing || event.keyCode === 229) return; // an input method's own Enter and Escape
			if (event.key === "Enter") end(true);
			if (event.key === "Escape") end(false);
		});
		input.addEventListener("blur", () => end(true));
	},

	calm(asked) {
		asked.classList.remove("asked");
		asked.textContent = "✕";
	},
};

function button(kind, text, title) {
	const made = document.createElement("button");
	made.type = "button";
	made.className = kind;
	made.textContent = text;
	made.title = title;
	made.setAttribute("aria-label", title);
	return made;
}

list.root.addEventListener("pointermove", () => (list.movedAt = performance.now()));
list.root.addEventListener("pointerdown", () => (list.isPressed = true));
for (const over of ["pointerup", "pointercancel"]) {
	// The click comes after it.
	window.addEventListener(over, () => setTimeout(() => (list.isPressed = false), 50), true);
}
// Who looks elsewhere has thought better of it.
list.root.addEventListener("focusout", (event) => event.target.matches(".asked") && list.calm(event.target));
list.root.addEventListener("mouseout", (event) => {
	const item = event.target.closest("li");
	const asked = item?.querySelector(".asked");
	if (asked && !item.contains(event.relatedTarget)) list.calm(asked);
});
list.search.addEventListener("input", () => {
	clearTimeout(list.typing);
	list.typing = setTimeout(() => list.refresh(), 150);
});

// The list of conversations: what is clicked becomes an event of the component. `element` and `trigger` are Gradio's.
// Nothing asks through the browser's own dialogs, which a page in the frame of another site may not open.
const idOf = (part) => part.closest("[data-id]").dataset.id;

element.addEventListener("click", (event) => {
	const button = event.target.closest("li > button");
	if (!button) return;
	if (button.matches(".open")) {
		trigger("open_conversation", { conversation: idOf(button) });
		foldOnPhone();
	} else if (button.matches(".rename")) {
		rename(button.closest("li"));
	} else if (button.matches(".asked")) {
		trigger("delete_conversation", { conversation: idOf(button) });
	} else {
		button.classList.add("asked");
		button.textContent = "Delete?";
	}
});

// On a phone the list covers the chat, so it is only there when it is asked for.
function foldOnPhone() {
	if (window.innerWidth <= 768) document.querySelector("#sidebar.open .toggle-button")?.click();
}
foldOnPhone();
document.addEventListener("click", (event) => event.target.closest("#new-chat") && foldOnPhone());

// Who looks elsewhere has thought better of it.
element.addEventListener("focusout", (event) => {
	if (event.target.matches("button.asked")) calm(event.target);
});
element.addEventListener("mouseout", (event) => {
	const row = event.target.closest("li");
	const asked = row?.querySelector("button.asked");
	if (asked && !row.contains(event.relatedTarget)) calm(asked);
});

// Answers may come in another order than they were asked for, and the last one may be of an earlier search.
watch("value", () => {
	const shown = element.querySelector("[data-search]")?.dataset.search;
	const wanted = document.querySelector("#search :is(textarea, input)")?.value;
	if (shown !== undefined && wanted !== undefined && shown !== wanted) trigger("list_again");
});

// The conversation is named in the page's address, so that a reload shows it again.
watch("value", () => {
	const list = element.querySelector("[data-current]");
	if (!list) return;
	const address = new URL(location);
	if (list.dataset.current) address.searchParams.set("c", list.dataset.current);
	else address.searchParams.delete("c");
	if (address.href !== location.href) history.replaceState(history.state, "", address);
});

function calm(button) {
	button.classList.remove("asked");
	button.textContent = "✕";
}

function rename(row) {
	const shown = row.querySelector(".open");
	const input = document.createElement("input");
	input.value = shown.textContent;
	input.maxLength = row.dataset.longest;
	input.setAttribute("aria-label", "Title");
	shown.hidden = true;
	row.prepend(input);
	input.select();

	let over = false;
	const end = (keep) => {
		if (over) return;
		over = true;
		const title = input.value.trim();
		input.remove();
		shown.hidden = false;
		if (keep && title && title !== shown.textContent) {
			shown.textContent = title;
			trigger("rename_conversation", { conversation: idOf(row), title });
		}
	};
	input.addEventListener("keydown", (event) => {
		if (event.key === "Enter") end(true);
		if (event.key === "Escape") end(false);
		event.stopPropagation();
	});
	input.addEventListener("blur", () => end(true));
}

// Gradio labels what has no role, calls buttons a list, and has some labels in English alone.
function drawRoles(parts) {
	for (const part of parts) {
		if (part.matches(".message-buttons")) drawButtons(part);
		else drawSaid(part);
	}
	drawFolds();
	setLabel(scrollBox(), t("page.conversation"));
	// What grows there is not read out word for word: heard.js says what is to be heard of it.
	scrollBox()?.setAttribute("aria-live", "off");
	setLabel(document.querySelector("#sidebar .toggle-button"), t("page.show_list"));
	document.querySelector("footer[aria-label]")?.removeAttribute("aria-label");
	const examples = document.querySelector("#chat .examples[role=list]");
	examples?.setAttribute("role", "group");
	for (const example of examples?.querySelectorAll("button[aria-label]") ?? []) setLabel(example, example.textContent.trim());
	examples?.setAttribute("aria-label", t("page.examples"));
}

function drawSaid(row) {
	// What the model writes as HTML has no name by which the page finds parts of its own. A diagram keeps those in it.
	for (const named of row.querySelectorAll(".prose [id]:not(svg, svg *)")) named.removeAttribute("id");
	for (const posing of row.querySelectorAll('.prose :is([class*="message-"], .thought-group)')) posing.removeAttribute("class");
	for (const said of row.querySelectorAll(".message [aria-label][data-testid]:not([role])")) said.setAttribute("role", "group");
	for (const said of row.querySelectorAll("[data-testid=bot][aria-label]")) setLabel(said, t("page.reply"));
	if (row.matches(".user-row")) {
		for (const typed of row.querySelectorAll("pre.typed")) {
			setLabel(typed.closest("[aria-label]"), t("page.your_message", { text: typed.textContent }));
		}
	}
	for (const copying of row.querySelectorAll(".copy_code_button")) setLabel(copying, t("page.copy"));
}

function drawButtons(buttons) {
	const isUser = buttons.matches(".message-buttons-right");
	const copying = buttons.querySelector("button");
	setLabel(copying, t(isUser ? "page.copy" : "page.copy_markdown"));
	if (copying && !isUser && !buttons.querySelector(".copy-plain")) copying.after(plainButton());
	for (const sign of buttons.querySelectorAll("svg[aria-label]")) sign.removeAttribute("aria-label");
}

// As soon as Gradio has drawn something, and before anybody sees it.
const roles = new MutationObserver((records) => {
	drawRoles(changedParts(records));
	if (drawing.isLate()) drawing.finish();
	roles.takeRecords(); // what was just done is no reason to do it again
});
roles.observe(document.querySelector("#chat"), {
	childList: true,
	subtree: true,
	attributes: true,
	attributeFilter: ["aria-label"],
});
drawRoles(allParts());

// What was said, and the buttons below it.
function allParts() {
	return [...document.querySelectorAll("#chat .message-wrap > *")];
}

// Those that have changed; all where it is not known which.
function changedParts(records) {
	const parts = new Set(records.map(({ target }) => target.closest("#chat .message-wrap > *")));
	return parts.has(null) ? allParts() : [...parts];
}

function drawFolds() {
	const titles = drawing.seen.turns.flatMap(replyOf).map(({ metadata }) => metadata.title).filter(Boolean);
	document.querySelectorAll("#chat .thought-group > .title").forEach((title, nth) => drawFold(title, titles[nth]));
}

// What folds is one button, where Gradio has one inside of another.
function drawFold(title, label) {
	const folds = title.querySelector("button");
	if (!folds) return;
	title.removeAttribute("role");
	title.removeAttribute("tabindex");
	setLabel(folds, label);
	folds.removeAttribute("title");
	folds.setAttribute("aria-expanded", String(title.parentElement.querySelector(":scope > .content") !== null));
}

// The settings are made when they are unfolded.
function drawSettings() {
	for (const input of document.querySelectorAll("#settings :is([type=number], [type=range])")) {
		setLabel(input, input.closest(".block").querySelector("[data-testid=block-info]")?.textContent.trim());
	}
	for (const back of document.querySelectorAll("#settings .reset-button")) setLabel(back, t("page.reset"));
	for (const input of document.querySelectorAll("#tools input[title]")) input.removeAttribute("title");
}
new MutationObserver(drawSettings).observe(document.querySelector("#settings"), { childList: true, subtree: true });
drawSettings();

function setLabel(element, label) {
	if (!element || !label || element.getAttribute("aria-label") === label) return;
	element.setAttribute("aria-label", label);
	if (element.title) element.title = label;
}

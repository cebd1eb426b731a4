// What a screen reader says of a reply: that it has begun, and all of it once, at its end.
const heard = {
	region: part("div", "heard"),
	begun: null, // the stream of the reply of which the beginning was said
	ended: null, // the one whose text is to be said when it has been drawn

	say(text) {
		this.region.textContent = text;
	},
	begin(stream) {
		if (this.begun === stream) return;
		this.begun = stream;
		this.say(t("page.reply_begins"));
	},
	end(stream) {
		if (this.begun === stream) this.ended = stream;
	},
	draw() {
		const { ended, turns } = drawing.seen;
		if (!ended || ended !== this.ended) return;
		this.ended = this.begun = null;
		const nth = inRows(turns).findLastIndex((group) => group.some((turn) => turn.stream === ended));
		const row = document.querySelectorAll("#chat .message-row.bot-row")[nth];
		if (row) this.say(plainText(row));
	},
};
heard.region.setAttribute("role", "status");
document.body.append(heard.region);

// A reply as text without marks, as people would type it: what is drawn, but for thoughts and calls.
function plainText(row) {
	const parts = [...row.querySelectorAll(".prose")].filter((prose) => !prose.closest(".thought-group"));
	return parts.map((prose) => plainBlocks(prose).trim()).filter(Boolean).join("\n\n");
}

function plainBlocks(element, indent = "") {
	return Array.from(element.childNodes, (node) => plainNode(node, indent)).join("").replace(/\n{3,}/g, "\n\n");
}

function plainNode(node, indent) {
	if (node.nodeType === Node.TEXT_NODE) return isBetweenBlocks(node) ? "" : node.data.replace(/\s+/g, " ");
	if (node.nodeType !== Node.ELEMENT_NODE || node.matches("button, svg, style")) return "";
	if (node.matches(".katex")) return node.querySelector("annotation")?.textContent ?? node.textContent;
	if (node.matches("pre")) return `\n\n${node.textContent.replace(/\n$/, "")}\n\n`;
	if (node.matches("br")) return "\n";
	if (node.matches("ul ul, ul ol, ol ul, ol ol")) return `\n${plainBlocks(node, indent).trimStart().replace(/^/, indent)}\n`;
	if (node.matches("li")) return `\n${indent}${mark(node)} ${plainBlocks(node, `${indent}  `).trim().replaceAll("\n\n", "\n")}`;
	if (node.matches("tr")) return `\n${Array.from(node.cells, (cell) => plainBlocks(cell).trim()).join("\t")}`;
	if (node.matches("a")) return plainLink(node, indent);
	const inside = plainBlocks(node, indent);
	return node.matches(BLOCKS) ? `\n\n${inside.trim()}\n\n` : inside;
}

const BLOCKS = "p, h1, h2, h3, h4, h5, h6, ul, ol, table, blockquote, div, hr";
const isBlock = (node) => node === null || (node.nodeType === Node.ELEMENT_NODE && node.matches(`${BLOCKS}, pre, li, thead, tbody, tr, td, th`));

function isBetweenBlocks(space) {
	return !space.data.trim() && (isBlock(space.previousSibling) || isBlock(space.nextSibling));
}

function mark(item) {
	if (!item.parentElement.matches("ol")) return "-";
	const first = item.parentElement.start;
	return `${first + [...item.parentElement.children].indexOf(item)}.`;
}

function plainLink(link, indent) {
	const text = plainBlocks(link, indent);
	const address = link.getAttribute("href") ?? "";
	return !/^https?:/.test(address) || text.includes(address) ? text : `${text} (${address})`;
}

function plainButton() {
	const made = button("copy-plain", "", t("page.copy_plain"));
	made.innerHTML = '<svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true"><path d="M3 3.5h10M3 8h10M3 12.5h6" fill="none" stroke="currentColor" stroke-width="1.3" stroke-linecap="round"/></svg>';
	return made;
}

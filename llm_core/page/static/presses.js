// What is pressed in the chat and Gradio has no event for, or does otherwise.
let pressedExample = null;
window.addEventListener(
	"click",
	(event) => {
		const pressed = event.target.closest?.("button");
		if (!pressed) return;
		if (pressed.closest("#chat .examples, #chat .example")) pressedExample = pressed.innerText.trim();
		if (pressed.matches("#new-chat")) newChat();
		if (pressed.matches("#sign-out")) signOut();
		const panel = pressed.closest("#chat .message-buttons");
		if (!panel) return;
		const buttons = [...panel.querySelectorAll("button")];
		const isUser = panel.matches(".message-buttons-right");
		if (pressed === buttons[0]) copy(event, panel, isUser);
		else if (pressed.matches(".copy-plain")) copyPlain(panel);
		else if (isUser && pressed === buttons.at(-1)) edit(event, panel);
	},
	true
);

// The form of the sign-in comes in the page's place; what is in the box stays in this browser.
async function signOut() {
	keepBox();
	const answer = await fetch(new URL("sign-out", document.baseURI), { method: "POST", redirect: "manual" }).catch(() => undefined);
	if (answer) location.reload();
	else notice(UNREACHABLE);
}

function rowOf(panel, isUser) {
	const side = isUser ? ".message-buttons-right" : ".message-buttons-left";
	return [...document.querySelectorAll(`#chat ${side}`)].indexOf(panel);
}

// Gradio's own edit takes the text away from where it can be lost. Here it is in the message box, like any other.
function edit(event, panel) {
	event.stopImmediatePropagation();
	event.preventDefault();
	const turn = seenTurn(rowOf(panel, true));
	if (!turn) notice(CHANGING);
	else if (turn === screen.sending) notice(t("notes.sending"));
	else intoBox(turn.question, turn.stream, filesOf(turn));
}

// What was said in a reply: the parts of one text as they are, texts with a thought or a call between them apart.
function said({ reply }) {
	const texts = [""];
	for (const { content, metadata } of reply ?? []) {
		if (metadata.title) texts.push("");
		else texts[texts.length - 1] += content[0].text;
	}
	return texts.filter(Boolean).join("\n\n");
}

// Gradio would copy thoughts and calls along with what was said.
function copy(event, panel, isUser) {
	const nth = rowOf(panel, isUser);
	let text = withQuestion(drawing.seen.turns)[nth]?.question;
	if (!isUser) {
		text = inRows(drawing.seen.turns)[nth]?.map(said).filter(Boolean).join("\n\n");
	}
	if (text === undefined || !navigator.clipboard) return; // then Gradio's way has to do
	event.stopImmediatePropagation();
	keepCopy(panel.querySelector("button"), text);
}

function copyPlain(panel) {
	const row = document.querySelectorAll("#chat .message-row.bot-row")[rowOf(panel, false)];
	if (row && navigator.clipboard) keepCopy(panel.querySelector(".copy-plain"), plainText(row));
}

async function keepCopy(pressed, text) {
	await navigator.clipboard.writeText(text);
	heard.say(t("page.copied"));
	pressed.classList.add("copied");
	setTimeout(() => pressed.classList.remove("copied"), 1000);
}

// On a phone the list covers the chat, so it is only there when it is asked for.
function foldOnPhone() {
	if (window.innerWidth <= 768) document.querySelector("#sidebar.open .toggle-button")?.click();
}

// The server as this page sees it: commands and their answers, and what is told while there are none.
const UNREACHABLE = t("link.unreachable");
const SIGNED_OUT = t("link.signed_out");
const LOST = t("link.lost");
const RETURN = "llm-core-return";
const GOES_ON = t("link.goes_on");

function random(bytes) {
	const numbers = crypto.getRandomValues(new Uint8Array(bytes));
	return Array.from(numbers, (number) => number.toString(16).padStart(2, "0")).join("");
}
const newStream = () => random(16);
const newConversation = () => random(16);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Whose conversations these are where the browser keeps no cookie.
const key = sessionStorage.getItem("llm-core-key") ?? random(24);
sessionStorage.setItem("llm-core-key", key);

const link = {
	state: "there", // or "lost", or "signed out"

	set(state) {
		if (this.state === state) return;
		this.state = state;
		drawNotes();
	},
	// Why there was no answer. Gradio says of each failure the same.
	async lookWhy() {
		try {
			const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
			this.set(answer.status === 401 ? "signed out" : answer.status < 500 ? "there" : "lost");
		} catch {
			this.set("lost");
		}
	},
	// The form leads to the page's beginning: which conversation was on the screen has to be kept.
	signIn() {
		keepBox();
		sessionStorage.setItem(RETURN, screen.conversation);
		location.reload();
	},
	returning() {
		const conversation = sessionStorage.getItem(RETURN);
		sessionStorage.removeItem(RETURN);
		return conversation;
	},
	async heal() {
		if (this.state !== "lost") return;
		await this.lookWhy();
		if (this.state !== "there") return;
		look();
		list.refresh();
	},
	note() {
		if (this.state === "there") return null;
		if (this.state === "signed out") {
			const line = note("lost", SIGNED_OUT);
			line.append(press(t("link.sign_in"), () => this.signIn()));
			return line;
		}
		const line = note("lost", runningTurn() ? `${LOST} ${GOES_ON}` : LOST);
		line.append(press(t("link.try_now"), () => link.heal()));
		return line;
	},
};

// The answer of the server; undefined where there is none.
async function ask(name, { conversation = screen.conversation, ...more }) {
	let answer;
	try {
		answer = await server[name]({ key, conversation, ...more });
	} catch {
		// as where Gradio answers nothing
	}
	if (answer === undefined) await link.lookWhy();
	else link.set("there");
	return answer;
}

setInterval(() => link.heal(), 3000);
window.addEventListener("offline", () => link.lookWhy());
window.addEventListener("online", () => link.heal());

// What is on the screen, and drawing it: one conversation, at the version that was seen, in its n-th opening.
const LEAST_MS = 40; // between two drawings
const screen = { conversation: "", generation: 0, version: 0, turns: [], earlier: 0, prompt: "", model: null, isOpen: false, sending: null };
const WAITING = [{ role: "assistant", content: [{ type: "text", text: "" }], metadata: { id: "waiting", log: "…" } }];

// The turns as they are shown: what is being sent stands where it will be.
function shownTurns() {
	const { turns, sending } = screen;
	if (!sending) return turns;
	const place = turns.findIndex((turn) => turn.stream === sending.replaces);
	return [...(place < 0 ? turns : turns.slice(0, place)), sending];
}

function askedTurns() {
	return shownTurns().filter((turn) => turn.question !== null);
}

function runningTurn() {
	return shownTurns().findLast((turn) => turn.running);
}

function shownMessages() {
	return shownTurns().flatMap(({ question, reply }) => [
		...(question === null ? [] : [{ role: "user", content: [{ type: "text", text: asTyped(question) }], metadata: {} }]),
		...(reply?.length ? reply : WAITING),
	]);
}

// What is typed is no Markdown: nothing in it is set, or loads something.
function asTyped(text) {
	const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
	return `<pre class="typed">\n${escaped}</pre>\n`;
}

const drawing = {
	isDirty: false,
	isBusy: false,
	notBefore: 0,
	seen: { generation: 0, streams: [] }, // what is drawn, question by question: what the screen has may be newer
	followsText: true, // false once the visitor has scrolled up to read

	// As often as this machine can draw, and no more than that: the next drawing waits for the last one.
	ask() {
		this.isDirty = true;
		if (this.isBusy) return;
		this.isBusy = true;
		setTimeout(() => this.begin(), Math.max(0, this.notBefore - performance.now()));
	},
	begin() {
		this.isDirty = false;
		this.since = performance.now();
		trigger("draw");
		this.unheard = setTimeout(() => this.end(), 2000); // Gradio passes nothing on while it has lost the server
	},
	// Gradio has asked for the messages, and draws them in this turn of the event loop.
	done() {
		clearTimeout(this.unheard);
		const seen = { generation: screen.generation, streams: askedTurns().map((turn) => turn.stream) };
		afterDrawing(
			() => {
				this.seen = seen;
				this.finish();
			},
			() => this.end()
		);
		return [shownMessages()]; // one output
	},
	finish() {
		drawLines();
		drawEarlier();
		offer.draw();
		const box = scrollBox();
		if (box && this.followsText) box.scrollTop = box.scrollHeight;
	},
	end() {
		const took = performance.now() - this.since;
		keepPace(took);
		this.notBefore = performance.now() + Math.max(LEAST_MS - took, took);
		this.isBusy = false;
		if (this.isDirty) this.ask();
	},
};

// The n-th question, from the end where n is negative, as long as it is the one that the visitor sees there: what was
// opened, or has come, may not be drawn yet.
function seenTurn(nth) {
	const turn = askedTurns().at(nth);
	const { generation, streams } = drawing.seen;
	return generation === screen.generation && turn?.stream === streams.at(nth) ? turn : undefined;
}

// A hidden page draws nothing, and is not told when it would.
function afterDrawing(before, after) {
	if (document.hidden) {
		setTimeout(() => (before(), after()), 0);
		return;
	}
	let isOver = false;
	const both = () => {
		if (isOver) return;
		isOver = true;
		before();
		setTimeout(after, 0);
	};
	requestAnimationFrame(both);
	setTimeout(both, 500);
}

function scrollBox() {
	return document.querySelector("#chat .bubble-wrap");
}

// The quiet line of each reply. It travels in the last message's metadata, which Gradio keeps but does not show: so it
// is never part of what is copied.
function drawLines() {
	const replies = [];
	let role = null;
	for (const message of shownMessages()) {
		if (message.role === "assistant") {
			if (role === "assistant") replies.pop();
			replies.push(message.metadata);
		}
		role = message.role;
	}
	const areSeveral = models.areSeveral(replies);
	document.querySelectorAll("#chat .message-row.bot-row").forEach((row, index) => {
		const { log: took = "", id = "", model } = replies[index] ?? {};
		const log = areSeveral && model ? [took, model].filter(Boolean).join(" · ") : took;
		let line = row.querySelector(":scope > .reply-line");
		if (!line) {
			line = document.createElement("p");
			row.append(line);
		}
		const kind = `reply-line ${id}`;
		if (line.className !== kind) {
			line.className = kind;
			line.setAttribute("role", id === "failed" ? "alert" : "status");
		}
		if (line.textContent !== log) line.textContent = log;
	});
	for (const typed of document.querySelectorAll("#chat pre.typed")) {
		typed.closest("[aria-label]")?.setAttribute("aria-label", `Your message: ${typed.textContent}`);
	}
}

const earlierButton = button("earlier", "Show earlier messages", "Show earlier messages");
earlierButton.addEventListener("click", () => showEarlier());

function drawEarlier() {
	const box = scrollBox();
	if (box && earlierButton.parentElement !== box) box.prepend(earlierButton);
	earlierButton.hidden = screen.earlier === 0 || !screen.isOpen;
}

async function showEarlier() {
	const { conversation, generation } = screen;
	const first = screen.turns[0];
	const found = await ask("earlier", { conversation, before: first.stream });
	if (generation !== screen.generation || screen.turns[0] !== first || !found?.turns) return;
	const box = scrollBox();
	const below = box.scrollHeight - box.scrollTop;
	screen.turns = [...found.turns, ...screen.turns];
	screen.earlier = found.earlier;
	drawing.followsText = false;
	drawing.ask();
	afterDrawing(
		() => {},
		() => setTimeout(() => (box.scrollTop = box.scrollHeight - below), 50)
	);
}

let lastTop = 0;
document.addEventListener(
	"scroll",
	(event) => {
		const box = event.target;
		if (!(box instanceof Element) || !box.matches("#chat .bubble-wrap")) return;
		if (box.scrollTop + box.clientHeight > box.scrollHeight - 40) drawing.followsText = true;
		else if (box.scrollTop < lastTop) drawing.followsText = false;
		lastTop = box.scrollTop;
	},
	true
);

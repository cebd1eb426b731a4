// What is on the screen, and drawing it: one conversation, at the version that was seen, in its n-th opening.
const LEAST_MS = 40; // between two drawings
const UNHEARD_MS = 2000; // until a drawing that Gradio has not begun is asked for again
const screen = { conversation: "", generation: 0, version: 0, turns: [], earlier: 0, leftOut: null, settings: null, model: null, isOpen: false, sending: null };
const WAITING = [{ role: "assistant", content: [{ type: "text", text: "" }], metadata: { id: "waiting", log: "…" } }];

// The turns as they are shown: what is being sent stands where it will be.
function shownTurns() {
	const { turns, sending } = screen;
	if (!sending) return turns;
	const place = turns.findIndex((turn) => turn.stream === sending.replaces);
	return [...(place < 0 ? turns : turns.slice(0, place)), sending];
}

function withQuestion(turns) {
	return turns.filter((turn) => turn.question !== null);
}

// Turns as Gradio has them in rows: a question, and all that was said until the next one.
function inRows(turns) {
	const groups = [];
	for (const turn of turns) {
		if (turn.question === null && groups.length) groups.at(-1).push(turn);
		else groups.push([turn]);
	}
	return groups;
}

function runningTurn() {
	return shownTurns().findLast((turn) => turn.running);
}

function messagesOf(turns) {
	return turns.flatMap((turn) => [
		...(turn.question === null ? [] : [{ role: "user", content: [{ type: "text", text: asTyped(turn.question) }], metadata: {} }]),
		...replyOf(turn),
	]);
}

function replyOf({ reply }) {
	return reply?.length ? reply : WAITING;
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
	seen: { generation: 0, turns: [], ended: null }, // what is drawn: what the screen has may be newer
	rows: 0, // in which what belongs to them was drawn
	followsText: true, // false once the visitor has scrolled up to read

	// As often as this machine can draw, and no more than that: the next drawing waits for the last one.
	ask() {
		this.isDirty = true;
		document.body.dataset.drawing = ""; // what is seen is not what there is
		if (this.isBusy) return;
		this.isBusy = true;
		clearTimeout(this.begins);
		this.begins = setTimeout(() => this.begin(), Math.max(0, this.notBefore - performance.now()));
	},
	begin() {
		this.isDirty = false;
		this.since = performance.now();
		trigger("draw");
		clearTimeout(this.unheard);
		this.unheard = setTimeout(() => this.beginAgain(), UNHEARD_MS);
	},
	// Gradio passes nothing on while it has lost the server, and may leave out what it is told while it draws.
	beginAgain() {
		this.isBusy = false;
		this.ask();
	},
	// Gradio has asked for the messages, and draws them in this turn of the event loop.
	done() {
		clearTimeout(this.unheard);
		const seen = { generation: screen.generation, turns: shownTurns(), ended: heard.ended };
		afterDrawing(
			() => {
				this.seen = seen;
				this.finish();
			},
			() => this.end()
		);
		return [messagesOf(seen.turns)]; // one output
	},
	finish() {
		this.rows = countRows();
		drawLines();
		drawFolds();
		versions.draw();
		attached.drawSent();
		drawCut();
		gauge.draw();
		drawEarlier();
		offer.draw();
		heard.draw();
		this.keepEnd();
	},
	// Gradio may have drawn the rows after what belongs to them: a page that is loaded fetches what draws them first.
	isLate() {
		return !this.isBusy && this.rows !== countRows();
	},
	// What comes into sight is laid out only then, and may be longer than was thought.
	keepEnd() {
		const box = scrollBox();
		if (!box) return;
		if (this.followsText) box.scrollTop = box.scrollHeight;
		toEnd.draw();
		const text = box.querySelector(".message-wrap");
		if (!text || text === this.observed) return;
		this.observed = text;
		this.sizes?.disconnect();
		this.sizes = new ResizeObserver(() => this.keepEnd());
		this.sizes.observe(text);
	},
	end() {
		const took = performance.now() - this.since;
		keepPace(took);
		this.notBefore = performance.now() + Math.max(LEAST_MS - took, took);
		this.isBusy = false;
		if (this.isDirty) this.ask();
		else delete document.body.dataset.drawing;
	},
};

// The n-th question, from the end where n is negative, as long as it is the one that the visitor sees there: what was
// opened, or has come, may not be drawn yet.
function seenTurn(nth) {
	const turn = withQuestion(shownTurns()).at(nth);
	const { generation, turns } = drawing.seen;
	return generation === screen.generation && turn?.stream === withQuestion(turns).at(nth)?.stream ? turn : undefined;
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

function countRows() {
	return document.querySelectorAll("#chat .message-row").length;
}

function scrollBox() {
	return document.querySelector("#chat .bubble-wrap");
}

// The quiet line of each reply. It travels in the last message's metadata, which Gradio keeps but does not show: so it
// is never part of what is copied.
function drawLines() {
	const replies = inRows(drawing.seen.turns).map((turns) => replyOf(turns.at(-1)).at(-1).metadata);
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
			if (id === "failed" || id === "waiting") line.setAttribute("role", id === "failed" ? "alert" : "status");
			else line.removeAttribute("role");
		}
		if (line.textContent !== log) line.textContent = log;
	});
}

const earlierButton = button("earlier", t("page.earlier"), t("page.earlier"));
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
	screen.turns = [...found.turns.map(turnInWords), ...screen.turns];
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
		toEnd.draw();
	},
	true
);

// Where what the model still reads begins.
const cut = document.createElement("p");
cut.className = "cut";
cut.setAttribute("role", "note");
cut.textContent = t("page.cut");

function drawCut() {
	const place = inRows(drawing.seen.turns).findLastIndex((group) => group.some((turn) => turn.stream === screen.leftOut));
	const row = place < 0 ? null : document.querySelectorAll("#chat .message-row.bot-row")[place];
	if (!row) cut.remove();
	else if (row.lastElementChild !== cut) row.append(cut);
}

// Back to the newest message, for who has scrolled up.
const toEnd = {
	button: button("to-end", "↓", t("page.to_end")),

	draw() {
		const box = scrollBox();
		if (!box) return;
		if (this.button.parentElement !== box.parentElement) box.after(this.button);
		const isAtEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 120;
		if (isAtEnd && document.activeElement === this.button) document.querySelector("#message textarea").focus();
		this.button.hidden = isAtEnd;
	},
};
toEnd.button.hidden = true;
toEnd.button.addEventListener("click", () => {
	drawing.followsText = true;
	const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
	scrollBox().scrollTo({ top: scrollBox().scrollHeight, behavior });
});

// What the visitor does. Each command has the conversation and the version that were on the screen when it was pressed.
const CHANGING = t("notes.changing");

// Ends the reply that is being made. What was pressed is then still meant for this screen, whose turns are the same;
// its version is higher where the message was on its way.
async function stopped() {
	const running = runningTurn();
	const at = pressedAt();
	if (!running) return at;
	chatScreen.stop();
	for (let waited = 0; isHere(at) && waited < 12000 && runningTurn()?.stream === running.stream; waited += 20) await pause(20);
	return isHere(at) ? pressedAt() : at;
}

// The turn that Retry and Undo are for: the last one, as long as it is what the visitor sees.
function lastAsked() {
	const turn = seenTurn(-1);
	if (!turn) notice(CHANGING);
	return turn;
}

function isBusy() {
	if (!screen.isOpen) notice(t("notes.opening"));
	else if (runningTurn()) notice(t("notes.busy"));
	return !screen.isOpen || Boolean(runningTurn());
}

window.chatScreen = {
	send() {
		const text = box.text;
		if (isBusy() || attached.isReading()) return;
		const { files } = attached;
		if (!text.trim()) {
			notice(t(files.length ? "attachments.say" : "notes.empty"));
			return;
		}
		const replaces = isThere(box.editing) ? box.editing : null;
		box.set("");
		keepBox();
		begin(pressedAt(), text, replaces, newStream(), files);
	},
	sendAgain(message) {
		if (isBusy()) return;
		begin(pressedAt(), message.text, isThere(message.replaces) ? message.replaces : null, message.stream, message.files);
	},
	example() {
		if (pressedExample && !isBusy()) begin(pressedAt(), pressedExample);
	},
	async retry() {
		const turn = lastAsked();
		if (turn) begin(await stopped(), turn.question, turn.stream, newStream(), filesOf(turn));
	},
	async undo() {
		const turn = lastAsked();
		if (!turn) return;
		const at = await stopped();
		if (isHere(at) && !isThere(turn.stream)) return; // it was refused meanwhile, and stands above the box
		looks++;
		// Who leaves the page before the answer has the text: either the turn is still there, or this is.
		const before = drafts.of(at.conversation).unsent.find((each) => each.stream === turn.stream);
		const taken = { stream: turn.stream, text: turn.question, files: filesOf(turn), replaces: null, reason: null };
		drafts.put(at.conversation, taken);
		inFlight.add(turn.stream);
		const answer = await ask("take_back", { conversation: at.conversation, version: at.version, stream: turn.stream });
		inFlight.delete(turn.stream);
		if (answer !== undefined) drafts.drop(at.conversation, turn.stream);
		if (answer?.refused !== undefined && before) drafts.put(at.conversation, before);
		if (answer?.now) {
			if (isHere(at)) {
				show(answer.now);
				intoBox(turn.question, null, taken.files);
			} else drafts.put(at.conversation, { ...taken, reason: t("notes.taken_back") });
			tellTabs(at.conversation);
			list.refresh();
		} else if (isHere(at)) {
			notice(refusal(answer));
			if (answer === undefined || answer.changed) look();
		}
	},
	stop() {
		const running = runningTurn();
		if (running && running === screen.sending && inFlight.has(running.stream)) running.stop = true;
		else if (running) ask("stop", { stream: running.stream });
	},
	// Leads the conversation to another version of a turn, and to what followed that.
	async choose(stream) {
		const at = pressedAt();
		if (isBusy()) return;
		looks++;
		const { conversation, version } = at;
		const shown = screen.turns.find(({ questions, replies }) => [questions, replies].some((of) => of && [of.before, of.after].includes(stream)));
		const answer = await ask("choose", { conversation, version, stream });
		if (answer?.now) {
			if (isHere(at)) {
				drawing.followsText = false; // what was pressed stays under the pointer
				if (shown) moveEdits({ stream, replaces: shown.stream });
				show(answer.now);
			}
			tellTabs(conversation);
			list.refresh();
		} else if (isHere(at)) {
			notice(refusal(answer));
			if (answer === undefined || answer.changed) look();
		}
	},
	drawn: () => drawing.done(),
};

// ── other tabs, other moments ──

let channel = null;
try {
	channel = new BroadcastChannel("llm-core");
} catch {
	// a frame that may not: then its tabs learn of each other when they are looked at
}
function tellTabs(conversation) {
	channel?.postMessage({ conversation });
}
channel?.addEventListener("message", ({ data }) => {
	list.refresh();
	if (data.conversation === screen.conversation) look();
});
document.addEventListener("visibilitychange", () => {
	if (document.hidden) keepBox();
	else {
		list.refresh();
		models.refresh();
		look();
	}
});
window.addEventListener("pagehide", keepBox);
window.addEventListener("popstate", () => {
	const conversation = new URL(location).searchParams.get("c");
	if (conversation && conversation !== screen.conversation) openConversation(conversation, { address: "stay" });
});
watch("value", () => props.value && takeUpdate(JSON.parse(props.value)));

// What was on its way when the page was left may have arrived, and nobody has told.
const onTheirWay = Object.keys(drafts.all).filter((each) => drafts.of(each).unsent.some(({ reason }) => reason === null));
if (onTheirWay.length) {
	setTimeout(() => {
		list.refresh();
		onTheirWay.forEach(tellTabs);
	}, UNSURE_MS);
}

const addressed = new URL(location).searchParams.get("c") ?? link.returning() ?? "";
if (/^[A-Za-z0-9._:-]{1,128}$/.test(addressed)) openConversation(addressed, { address: "replace" });
else if (window.parent !== window) openConversation(newConversation(), { address: "replace", latest: true });
else newChat("replace");
list.refresh();
models.refresh();
presets.ask("presets");

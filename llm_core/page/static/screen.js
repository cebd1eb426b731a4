// What the visitor does. Each command has the conversation and the version that were on the screen when it was pressed.
const UNSURE_MS = 1500; // a message that was sent is with the server by then, or never
const QUIET_MS = 5000; // a reply from which nothing was heard for so long is asked for again
const OPTIONS = ["system_prompt", "temperature", "top_p", "max_tokens", "thinking", "tools"];
const CHANGING = "The conversation has just changed. Look at it, and press again.";
const NOT_THERE = "The server did not get this message.";
const inFlight = new Set();
const following = { stream: null, generation: 0, next: 0, heardAt: 0, pace: LEAST_MS };

function random(bytes) {
	const numbers = crypto.getRandomValues(new Uint8Array(bytes));
	return Array.from(numbers, (number) => number.toString(16).padStart(2, "0")).join("");
}
const newStream = () => random(16);
const newConversation = () => random(16);

// Whose conversations these are where the browser keeps no cookie.
const key = sessionStorage.getItem("llm-core-key") ?? random(24);
sessionStorage.setItem("llm-core-key", key);

// The answer of the server; undefined where there is none.
async function ask(name, { conversation = screen.conversation, ...more }) {
	return server[name]({ key, conversation, ...more });
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
function pressedAt() {
	const { conversation, version, generation, model } = screen;
	return { conversation, version, generation, model };
}
const isHere = (at) => at.generation === screen.generation;

function draw() {
	drawBox();
	drawNotes();
	drawing.ask();
}

// ── conversations ──

// What leaves the screen leaves nothing behind that could be taken for the next conversation's.
function leaveFor(conversation, address) {
	const early = screen.conversation ? "" : box.text; // typed before this script was there
	if (screen.conversation) keepBox();
	const generation = screen.generation + 1;
	const nothing = { version: 0, turns: [], earlier: 0, model: null, isOpen: false, sending: null };
	Object.assign(screen, { conversation, generation, ...nothing });
	following.stream = null;
	sentence = "";
	drawing.followsText = true;
	const kept = drafts.of(conversation);
	box.set(kept.box, kept.editing);
	if (early.trim()) intoBox(early);
	setAddress(conversation, address);
	list.mark();
	draw();
}

function setAddress(conversation, how) {
	const address = new URL(location);
	address.searchParams.set("c", conversation);
	if (how === "push" && address.href !== location.href) history.pushState(null, "", address);
	else if (how !== "stay") history.replaceState(null, "", address);
}

async function openConversation(conversation, { address = "push", latest = false } = {}) {
	foldOnPhone();
	leaveFor(conversation, address);
	const at = pressedAt();
	for (;;) {
		const found = await ask("open", { conversation, latest });
		if (!isHere(at)) return;
		if (found?.turns) {
			if (found.conversation !== conversation) {
				screen.conversation = found.conversation;
				setAddress(found.conversation, "replace");
				list.mark();
			}
			arrive(found);
			return;
		}
		notice(found?.refused ?? "The server cannot be reached. Trying again…");
		await pause(1500);
		if (!isHere(at)) return;
	}
}

function arrive(found) {
	screen.isOpen = true;
	sentence = "";
	screen.prompt = found.system_prompt;
	trigger("opened");
	show(found);
	box.focus();
}

function newChat(address = "push") {
	foldOnPhone();
	if (screen.isOpen && screen.version === 0 && !shownTurns().length) {
		box.focus();
		return;
	}
	leaveFor(newConversation(), address);
	arrive({ version: 0, turns: [], earlier: 0, system_prompt: props.system_prompt });
}

// The conversation as the server has it now.
function show(found, isSure = false) {
	const place = screen.turns.findIndex((turn) => turn.stream === found.turns[0]?.stream);
	const before = place > 0 ? screen.turns.slice(0, place) : []; // earlier ones that the visitor has asked for
	const known = new Map(screen.turns.map((turn) => [turn.stream, turn]));
	const turns = found.turns.map((turn) => (turn.running && known.get(turn.stream)?.running ? known.get(turn.stream) : turn));
	screen.version = found.version;
	screen.turns = [...before, ...turns];
	screen.earlier = found.earlier - before.length;
	screen.model = models.of(screen.conversation, found);
	models.draw();
	reconcile(isSure);
	const running = screen.turns.findLast((turn) => turn.running);
	if (running) follow(running.stream);
	draw();
}

// Of each message that was on its way: it is there, or it is not.
function reconcile(isSure) {
	const { conversation } = screen;
	let isOpenYet = false;
	for (const { stream, reason } of drafts.of(conversation).unsent) {
		if (reason !== null || inFlight.has(stream)) continue;
		const turn = screen.turns.find((each) => each.stream === stream);
		if (turn && !turn.running) drafts.drop(conversation, stream);
		else if (!turn && isSure) drafts.refuse(conversation, stream, NOT_THERE);
		else if (!turn) isOpenYet = true;
	}
	// Who reloads the page while a message is on its way is quicker than the message.
	if (isOpenYet) setTimeout(lookAgain, UNSURE_MS, screen.generation, true);
}

let looks = 0;
// Looks whether something has changed behind this screen. What the visitor does meanwhile comes first.
async function look(isSure = false) {
	const at = pressedAt();
	const nth = ++looks;
	if (!screen.isOpen || screen.sending) return false;
	const found = await ask("open", {});
	if (!isHere(at) || nth !== looks || screen.sending || !found?.turns) return false;
	if (found.version === 0 && screen.version > 0) notice("This conversation was deleted in another tab.");
	show(found, isSure);
	return true;
}

// Until it has been seen what is there now.
async function lookAgain(generation, isSure = false) {
	while (generation === screen.generation && !(await look(isSure))) await pause(UNSURE_MS);
	list.refresh();
	tellTabs(screen.conversation);
}

async function removeConversation(conversation) {
	if (conversation === screen.conversation) newChat();
	const answer = await ask("remove", { conversation });
	if (answer === undefined || answer.refused !== undefined) notice(answer?.refused ?? UNREACHABLE);
	tellTabs(conversation);
	list.refresh();
}

// ── replies ──

async function begin(at, text, options, replaces = null, stream = newStream()) {
	const { conversation, version, model } = at;
	looks++;
	drafts.put(conversation, { stream, text, replaces, model, reason: null });
	inFlight.add(stream);
	sentence = "";
	const sending = { stream, question: text, reply: null, running: true, replaces, stop: false };
	if (isHere(at)) {
		screen.sending = sending;
		drawing.followsText = true;
		draw();
	}
	const set = Object.fromEntries(OPTIONS.map((name, place) => [name, options[place]]));
	let answer = await ask("begin", { conversation, version, stream, message: text, replaces, model, options: set });
	answer ??= await outcome(at, stream);
	inFlight.delete(stream);
	list.refresh();
	tellTabs(conversation);
	if (answer.refused !== undefined) {
		drafts.refuse(conversation, stream, answer.refused);
		if (!isHere(at)) return;
		screen.sending = null;
		draw();
		if (answer.changed) look();
		return;
	}
	if (answer.admitted) drafts.drop(conversation, stream);
	if (!isHere(at)) {
		if (!answer.admitted) settle(conversation, stream);
		else if (conversation === screen.conversation) lookAgain(screen.generation); // opened anew meanwhile
		else tellTabs(conversation);
		return;
	}
	if (replaces === null && answer.version !== null) keepSending(answer.version);
	follow(stream);
	if (sending.stop) chatScreen.stop();
}

// What was being sent is in the store.
function keepSending(version) {
	screen.turns = shownTurns();
	screen.sending = null;
	screen.version = version;
	draw();
}

// What was being sent when its conversation left the screen: nobody follows it there, and it may still be refused.
async function settle(conversation, stream) {
	let turn;
	do {
		await pause(UNSURE_MS);
		const found = await ask("open", { conversation });
		turn = found?.turns ? found.turns.find((each) => each.stream === stream) : { running: true };
	} while (turn?.running);
	if (turn) drafts.drop(conversation, stream);
	else drafts.refuse(conversation, stream, NOT_THERE);
	if (conversation === screen.conversation) lookAgain(screen.generation);
	else tellTabs(conversation);
	list.refresh();
}

// Nobody has answered: whether the message is there is asked until somebody does.
async function outcome(at, stream) {
	for (;;) {
		if (isHere(at)) notice("The connection to the server was lost. Trying again…");
		await pause(1500);
		const found = await ask("open", { conversation: at.conversation });
		if (!found?.turns) continue;
		if (isHere(at)) notice("");
		return found.turns.some((turn) => turn.stream === stream) ? { version: null } : { refused: NOT_THERE };
	}
}

function follow(stream) {
	const { conversation, generation } = screen;
	if (following.stream === stream && following.generation === generation) return;
	Object.assign(following, { stream, generation, next: 0, heardAt: performance.now(), pace: LEAST_MS });
	trigger("show", { key, conversation, generation, stream });
}

// An update is for the opening that it was made for, and for no other.
function takeUpdate(update) {
	if (update.generation !== screen.generation || update.conversation !== screen.conversation) return;
	if (update.stream !== following.stream) return;
	const { stream } = update;
	following.heardAt = performance.now();
	if (update.number > 0 && update.number !== following.next) {
		following.stream = null; // one has been missed: then from the beginning
		follow(stream);
		return;
	}
	following.next = update.number + 1;
	if (update.refused !== undefined || update.gone) {
		following.stream = null;
		if (update.refused !== undefined) drafts.refuse(screen.conversation, stream, update.refused);
		if (screen.sending?.stream === stream) screen.sending = null;
		screen.turns = screen.turns.filter((turn) => turn.stream !== stream);
		if (update.version !== undefined && update.version !== null) screen.version = update.version;
		draw();
		list.refresh();
		tellTabs(screen.conversation);
		look();
		return;
	}
	if (update.now) {
		following.stream = null;
		if (screen.sending?.stream === stream) screen.sending = null;
		show(update.now, true);
		tellTabs(screen.conversation);
		return;
	}
	if (update.admitted || update.ended) drafts.drop(screen.conversation, stream);
	const isKept = (update.admitted || update.ended) && update.version !== null;
	if (isKept && screen.sending?.stream === stream) keepSending(update.version);
	const turn = shownTurns().find((each) => each.stream === stream);
	if (!turn) return;
	const reply = [...(turn.reply ?? []).slice(0, update.keep), ...update.add];
	const drawn = { ...turn, reply, running: !update.ended };
	if (screen.sending?.stream === stream) screen.sending = drawn;
	else screen.turns = screen.turns.map((each) => (each.stream === stream ? drawn : each));
	if (update.ended) {
		following.stream = null;
		tellTabs(screen.conversation);
		if (!models.row(screen.model)?.is_known) models.refresh(); // now it has been loaded
	}
	drawBox();
	drawing.ask();
}

// No more updates come than this machine can draw: else it would draw ever older ones.
function keepPace(drawingTook) {
	const wanted = Math.min(1000, Math.max(LEAST_MS, 2 * drawingTook));
	const isOff = wanted > 1.5 * following.pace || wanted < following.pace / 3;
	if (!following.stream || !isOff) return;
	following.pace = wanted;
	ask("pace", { stream: following.stream, seconds: wanted / 1000 });
}

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
	if (!screen.isOpen) notice("The conversation is still being opened. Your text stays here.");
	else if (runningTurn()) notice("Wait for the reply, or stop it. Your text stays here.");
	return !screen.isOpen || Boolean(runningTurn());
}

window.chatScreen = {
	send(options) {
		const text = box.text;
		if (isBusy()) return;
		if (!text.trim()) {
			notice("Type a message first.");
			return;
		}
		const replaces = isThere(box.editing) ? box.editing : null;
		box.set("");
		keepBox();
		begin(pressedAt(), text, options, replaces);
	},
	sendAgain(options) {
		const message = toSendAgain;
		if (!message || isBusy()) return;
		toSendAgain = null;
		begin(pressedAt(), message.text, options, isThere(message.replaces) ? message.replaces : null, message.stream);
	},
	example(options) {
		if (pressedExample && !isBusy()) begin(pressedAt(), pressedExample, options);
	},
	async retry(options) {
		const turn = lastAsked();
		if (turn) begin(await stopped(), turn.question, options, turn.stream);
	},
	async undo() {
		const turn = lastAsked();
		if (!turn) return;
		const at = await stopped();
		if (isHere(at) && !isThere(turn.stream)) return; // it was refused meanwhile, and stands above the box
		looks++;
		// Who leaves the page before the answer has the text: either the turn is still there, or this is.
		const before = drafts.of(at.conversation).unsent.find((each) => each.stream === turn.stream);
		const taken = { stream: turn.stream, text: turn.question, replaces: null, reason: null };
		drafts.put(at.conversation, taken);
		inFlight.add(turn.stream);
		const answer = await ask("take_back", { conversation: at.conversation, version: at.version, stream: turn.stream });
		inFlight.delete(turn.stream);
		if (answer !== undefined) drafts.drop(at.conversation, turn.stream);
		if (answer?.refused !== undefined && before) drafts.put(at.conversation, before);
		if (answer?.now) {
			if (isHere(at)) {
				show(answer.now);
				intoBox(turn.question);
			} else drafts.put(at.conversation, { ...taken, reason: "Taken back." });
			tellTabs(at.conversation);
			list.refresh();
		} else if (isHere(at)) {
			notice(answer?.refused ?? UNREACHABLE);
			if (answer === undefined || answer.changed) look();
		}
	},
	stop() {
		const running = runningTurn();
		if (running && running === screen.sending && inFlight.has(running.stream)) running.stop = true;
		else if (running) ask("stop", { stream: running.stream });
	},
	drawn: () => drawing.done(),
	systemPrompt: () => screen.prompt,
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
setInterval(() => {
	const { stream, generation, heardAt } = following;
	if (!stream || generation !== screen.generation || performance.now() - heardAt < QUIET_MS) return;
	following.stream = null;
	follow(stream);
}, 1000);

watch("value", () => props.value && takeUpdate(JSON.parse(props.value)));

// What was on its way when the page was left may have arrived, and nobody has told.
const onTheirWay = Object.keys(drafts.all).filter((each) => drafts.of(each).unsent.some(({ reason }) => reason === null));
if (onTheirWay.length) {
	setTimeout(() => {
		list.refresh();
		onTheirWay.forEach(tellTabs);
	}, UNSURE_MS);
}

const addressed = new URL(location).searchParams.get("c") ?? "";
if (/^[A-Za-z0-9._:-]{1,128}$/.test(addressed)) openConversation(addressed, { address: "replace" });
else if (window.parent !== window) openConversation(newConversation(), { address: "replace", latest: true });
else newChat("replace");
list.refresh();
models.refresh();

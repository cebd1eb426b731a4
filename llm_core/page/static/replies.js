// A message on its way to the engine, and the reply to it as it grows.
const QUIET_MS = 5000; // a reply from which nothing was heard for so long is asked for again
const inFlight = new Set();
const following = { subscription: 0, stream: null, generation: 0, next: 0, reply: [], heardAt: 0, pace: LEAST_MS };

async function begin(at, text, replaces = null, stream = newStream(), files = []) {
	const { conversation, version, model, settings: options } = at;
	looks++;
	drafts.put(conversation, { stream, text, files, replaces, model, settings: options, reason: null });
	inFlight.add(stream);
	sentence = "";
	const sending = { stream, question: text, attachments: files, reply: null, running: true, replaces, stop: false };
	if (isHere(at)) {
		screen.sending = sending;
		leaveFar();
		drawing.followsText = true;
		draw();
	}
	const asked = { conversation, version, stream, message: text, attachments: files.map(asSent), replaces, model, options };
	let answer = await ask("begin", asked);
	answer ??= await outcome(at, stream);
	inFlight.delete(stream);
	list.refresh();
	tellTabs(conversation);
	if (answer.refused !== undefined) {
		drafts.refuse(conversation, stream, refusal(answer), answer);
		if (!isHere(at)) {
			if (conversation === screen.conversation) drawNotes(); // opened anew meanwhile
			return;
		}
		screen.sending = null;
		draw();
		if (answer.changed) look();
		else lookForCalls(); // whoever looked meanwhile has left them out
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

// What is far above a reply is not drawn with each step of it; it can be asked for again. What is refused leaves the
// newest where they are.
function leaveFar() {
	const above = shownTurns().length - 1;
	const replaced = drafts.replaced(screen.conversation);
	const edited = screen.turns.findIndex((turn) => replaced.includes(turn.stream));
	const far = Math.max(0, Math.min(above - props.newest, edited < 0 ? Infinity : edited));
	screen.turns = screen.turns.slice(far);
	screen.earlier += far;
}

// What was being sent is in the store.
function keepSending(version) {
	screen.turns = shownTurns();
	moveEdits(screen.sending);
	screen.sending = null;
	screen.version = version;
	draw();
}

// What was being sent when its conversation left the screen: nobody follows it there, and it may still be refused.
async function settle(conversation, stream) {
	inFlight.add(stream); // until it is known what became of it
	let turn;
	do {
		await pause(UNSURE_MS);
		const found = await ask("open", { conversation });
		turn = found?.turns ? found.turns.find((each) => each.stream === stream) : { running: true };
	} while (turn?.running);
	inFlight.delete(stream);
	if (turn) drafts.drop(conversation, stream);
	else drafts.refuse(conversation, stream, NOT_THERE);
	if (conversation === screen.conversation) lookAgain(screen.generation);
	else tellTabs(conversation);
	list.refresh();
}

// Nobody has answered: whether the message is there is asked until somebody does.
async function outcome(at, stream) {
	for (;;) {
		if (isHere(at)) notice(link.state === "there" ? TRYING : "");
		await pause(UNSURE_MS);
		const found = await ask("open", { conversation: at.conversation });
		if (!found?.turns) continue;
		if (isHere(at)) notice("");
		return found.turns.some((turn) => turn.stream === stream) ? { version: null } : { refused: NOT_THERE };
	}
}

function follow(stream) {
	const { conversation, generation } = screen;
	if (following.stream === stream && following.generation === generation) return;
	const subscription = following.subscription + 1;
	Object.assign(following, { subscription, stream, generation, next: 0, reply: [], heardAt: performance.now(), pace: LEAST_MS });
	trigger("show", { key, conversation, subscription, version: screen.version, stream });
}

// From the beginning of its reply.
function followAnew(stream) {
	following.stream = null;
	follow(stream);
}

// An update is for what was asked for last: one that was asked for before, of the same reply too, is built on others.
function takeUpdate(update) {
	const { stream } = following;
	if (update.subscription !== following.subscription || !stream || following.generation !== screen.generation) return;
	following.heardAt = performance.now();
	link.set("there");
	if (update.number > 0 && update.number !== following.next) {
		followAnew(stream); // one has been missed
		return;
	}
	following.next = update.number + 1;
	if (update.refused !== undefined || update.gone) {
		following.stream = null;
		if (update.refused !== undefined) drafts.refuse(screen.conversation, stream, refusal(update), update);
		if (update.refused !== undefined && stream === decided) notice(refusal(update)); // it is no message, and has no note
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
		heard.end(stream);
		following.stream = null;
		if (screen.sending?.stream === stream) {
			moveEdits(screen.sending);
			screen.sending = null;
		}
		show(update.now, true);
		list.replied(screen.conversation);
		tellTabs(screen.conversation);
		return;
	}
	if (update.admitted || update.ended) drafts.drop(screen.conversation, stream);
	if (update.add.some(({ content }) => content[0].text)) heard.begin(stream);
	following.reply = withChanges(following.reply, update);
	const isKept = (update.admitted || update.ended) && update.version !== null;
	if (isKept && screen.sending?.stream === stream) keepSending(update.version);
	const turn = shownTurns().find((each) => each.stream === stream);
	if (!turn) return;
	const drawn = { ...turn, reply: following.reply, running: !update.ended, ...update.beside?.turn };
	if (update.beside) screen.leftOut = update.beside.left_out;
	if (screen.sending?.stream === stream) screen.sending = drawn;
	else screen.turns = screen.turns.map((each) => (each.stream === stream ? drawn : each));
	if (update.ended) {
		heard.end(stream);
		following.stream = null;
		list.replied(screen.conversation);
		tellTabs(screen.conversation);
		if (!models.row(screen.model)?.is_known) models.refresh(); // now it has been loaded
		lookForCalls();
	}
	drawBox();
	drawing.ask();
}

function withChanges(before, { keep, add, goes_on }) {
	const added = inWords(add);
	if (goes_on) added[0].content = [{ type: "text", text: before[keep].content[0].text + added[0].content[0].text }];
	return [...before.slice(0, keep), ...added];
}

// No more updates come than this machine can draw: else it would draw ever older ones.
function keepPace(drawingTook) {
	const wanted = Math.min(1000, Math.max(LEAST_MS, 2 * drawingTook));
	const isOff = wanted > 1.5 * following.pace || wanted < following.pace / 3;
	if (!following.stream || !isOff) return;
	following.pace = wanted;
	const { stream, subscription } = following;
	ask("pace", { stream, subscription, seconds: wanted / 1000 });
}

// Gradio does not say when a stream has broken off.
setInterval(() => {
	const { stream, generation, heardAt } = following;
	if (!stream || generation !== screen.generation || performance.now() - heardAt < QUIET_MS) return;
	link.lookWhy();
	followAnew(stream);
}, 1000);

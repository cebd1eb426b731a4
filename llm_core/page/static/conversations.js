// Which conversation is on the screen: it is opened, left, begun, looked at again, deleted and taken back.
const UNSURE_MS = 1500; // a message that was sent is with the server by then, or never
const NOT_THERE = t("notes.not_there");
const TRYING = t("notes.trying");
const RESTORE_MS = 15000; // how long a deletion is offered to be taken back; the server keeps it for longer

const pressedAt = () => {
	const { conversation, version, generation, model, settings } = screen;
	return { conversation, version, generation, model, settings };
};
const isHere = (at) => at.generation === screen.generation;

function draw() {
	drawBox();
	drawNotes();
	drawing.ask();
}

// What leaves the screen leaves nothing behind that could be taken for the next conversation's.
function leaveFor(conversation, address) {
	const early = screen.conversation ? "" : box.text; // typed before this script was there
	if (screen.conversation) keepBox();
	for (const { stream, reason } of drafts.of(screen.conversation).unsent) {
		if (reason === null && !inFlight.has(stream)) settle(screen.conversation, stream); // the engine has not taken it yet
	}
	const generation = screen.generation + 1;
	const nothing = { version: 0, turns: [], earlier: 0, leftOut: null, model: null, settings: null, isOpen: false, sending: null };
	Object.assign(screen, { conversation, generation, ...nothing });
	following.stream = null;
	sentence = "";
	drawing.followsText = true;
	const kept = drafts.of(conversation);
	box.set(kept.box, kept.editing, kept.files);
	if (early.trim()) intoBox(early);
	setAddress(conversation, address);
	list.left();
	settings.draw();
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
	const focused = document.activeElement;
	for (;;) {
		const found = await ask("open", { conversation, latest, including: drafts.replaced(conversation) });
		if (!isHere(at)) return;
		if (found?.turns) {
			if (found.conversation !== conversation) {
				screen.conversation = found.conversation;
				setAddress(found.conversation, "replace");
				list.mark();
			}
			arrive(found, [focused, document.body].includes(document.activeElement)); // else something else is being typed
			return;
		}
		notice(found ? refusal(found) : link.state === "there" ? TRYING : "");
		await pause(1500);
		if (!isHere(at)) return;
	}
}

function arrive(found, takesFocus = true) {
	screen.isOpen = true;
	sentence = "";
	show(found);
	if (takesFocus) box.focus();
}

function newChat(address = "push") {
	foldOnPhone();
	if (screen.isOpen && screen.version === 0 && !shownTurns().length) {
		box.focus();
		return;
	}
	leaveFor(newConversation(), address);
	arrive({ version: 0, turns: [], earlier: 0 });
}

// The conversation as the server has it now.
function show(found, isSure = false) {
	const place = screen.turns.findIndex((turn) => turn.stream === found.turns[0]?.stream);
	const before = place > 0 ? screen.turns.slice(0, place) : []; // earlier ones that the visitor has asked for
	const known = new Map(screen.turns.map((turn) => [turn.stream, turn]));
	// What is followed ends by its own updates; what has ended here runs no more, whatever was read before that.
	const isFollowed = ({ stream }) => stream === following.stream && following.generation === screen.generation;
	const isNewer = (turn) => known.has(turn.stream) && (turn.running || isFollowed(turn));
	const turns = found.turns.map(turnInWords).map((turn) => (isNewer(turn) ? known.get(turn.stream) : turn));
	screen.version = found.version;
	screen.turns = [...before, ...turns];
	screen.earlier = found.earlier - before.length;
	screen.leftOut = found.left_out ?? null;
	screen.model = models.of(screen.conversation, found);
	settings.take(found);
	models.draw();
	reconcile(isSure);
	const running = screen.turns.findLast((turn) => turn.running);
	if (running) follow(running.stream);
	draw();
	lookForCalls();
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
	const found = await ask("open", { including: drafts.replaced(at.conversation) });
	if (!isHere(at) || nth !== looks || screen.sending || !found?.turns) return false;
	if (found.version === 0 && screen.version > 0) notice(t("notes.deleted_elsewhere"));
	show(found, isSure);
	return true;
}

// Until it has been seen what is there now.
async function lookAgain(generation, isSure = false) {
	while (generation === screen.generation && !(await look(isSure))) await pause(UNSURE_MS);
	list.refresh();
	tellTabs(screen.conversation);
}

async function removeConversation(conversation, title) {
	const wasHere = conversation === screen.conversation;
	if (wasHere) newChat();
	const answer = await ask("remove", { conversation });
	if (answer === undefined || answer.refused !== undefined) notice(refusal(answer));
	else if (answer.restorable) offerRestoring({ conversation, title, wasHere });
	tellTabs(conversation);
	list.refresh();
}

const deleted = []; // what can be taken back, the newest last

function offerRestoring(one) {
	deleted.push(one);
	drawNotes();
	setTimeout(() => forgetDeleted(one), RESTORE_MS);
}

function forgetDeleted(one) {
	if (!deleted.includes(one)) return;
	deleted.splice(deleted.indexOf(one), 1);
	drawNotes();
}

async function restore(one) {
	forgetDeleted(one);
	const { conversation } = one;
	const answer = await ask("restore", { conversation });
	if (answer === undefined || answer.refused !== undefined) {
		notice(refusal(answer));
		if (answer === undefined) offerRestoring(one);
	} else if (one.wasHere) openConversation(conversation);
	tellTabs(conversation);
	list.refresh();
}

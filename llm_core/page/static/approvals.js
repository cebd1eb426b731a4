// Calls that wait for the visitor's consent: a card below the conversation, with what would be called and with what.
const consent = document.createElement("div");
consent.id = "consent";
consent.setAttribute("role", "group");
consent.setAttribute("aria-label", t("approvals.label"));
document.querySelector("#chat")?.after(consent);

// Everything that the model wrote is text here, and never markup.
function element(name, text, ...more) {
	const made = document.createElement(name);
	made.textContent = text;
	made.append(...more);
	return made;
}

async function lookForCalls() {
	consent.replaceChildren();
	if (!props.consent) return;
	const at = pressedAt();
	if (runningTurn() || !at.version) return;
	const found = await ask("waiting", {});
	if (isHere(at) && screen.version === at.version && !runningTurn() && found?.calls?.length) drawCalls(at, found.calls);
}

let decisions = new Map(); // by the calls' ids
let decidedAt = ""; // where those calls stand

function drawCalls(at, calls) {
	const place = `${at.generation} ${at.version}`;
	if (place !== decidedAt) decisions = new Map();
	decidedAt = place;
	const card = (call) => {
		const made = element("section", "", element("b", call.name), element("pre", call.arguments));
		const drawDecision = () => {
			for (const each of made.querySelectorAll("button")) each.disabled = true;
			made.append(element("span", t(decisions.get(call.id) ? "approvals.approved" : "approvals.denied")));
		};
		for (const [label, approve] of [[t("approvals.approve"), true], [t("approvals.deny"), false]]) {
			const button = element("button", label);
			button.type = "button";
			button.addEventListener("click", () => {
				decisions.set(call.id, approve);
				drawDecision();
				if (decisions.size === calls.length) decide(at);
			});
			made.append(button);
		}
		if (decisions.has(call.id)) drawDecision();
		return made;
	};
	consent.replaceChildren(element("p", t("approvals.wants")), ...calls.map(card));
}

let decided = null; // the stream of the reply that goes on by what was decided last

async function decide(at) {
	const approvals = Array.from(decisions, ([tool_call_id, approve]) => ({ tool_call_id, approve }));
	const { conversation, version } = at;
	decidedAt = ""; // what is refused is decided anew
	decided = newStream();
	notice("");
	const answer = await ask("decide", { conversation, version, stream: decided, approvals });
	if (!isHere(at)) return;
	if (answer === undefined || answer.refused !== undefined) notice(refusal(answer));
	if (!(await look())) lookForCalls();
	tellTabs(conversation);
}

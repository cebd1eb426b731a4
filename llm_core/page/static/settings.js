// What is set for the replies of this conversation: kept with it from each message on. What was changed and not sent yet
// is kept with the drafts.
const SIDEBAR = "llm-core-sidebar";
const DRAWN_MS = 200;
const inLines = (text) => text.replace(/\r\n?/g, "\n"); // as a text box has it
const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

const settings = {
	take(found) {
		const { version, system_prompt, settings: own } = found;
		const kept = version === 0 ? presets.fresh() : { ...props.defaults, ...own, system_prompt };
		const set = { ...kept, ...drafts.of(screen.conversation).settings };
		if (isSame(set, screen.settings)) return;
		screen.settings = set;
		this.draw();
		presets.draw();
	},
	// By the visitor, now.
	set(changes) {
		if (!screen.isOpen || Object.entries(changes).every(([name, value]) => isSame(value, screen.settings?.[name]))) return;
		screen.settings = { ...screen.settings, ...changes };
		drafts.change(screen.conversation, { settings: { ...drafts.of(screen.conversation).settings, ...changes } });
		presets.draw();
	},
	// Each input has what is set. Gradio may draw later what it made the inputs with: so it is looked at until they have it.
	draw(isAgain = false) {
		clearTimeout(this.again);
		// What is set is not known yet: nothing can be set that would be taken back.
		for (const part of document.querySelectorAll("#settings > :not(.label-wrap)")) part.inert = !screen.isOpen;
		if (!screen.isOpen || !screen.settings) return;
		this.isDrawing = true;
		const given = [...wanted(screen.settings)].filter(([input, value]) => give(input, value));
		this.isDrawing = false;
		if (given.length || !isAgain) this.again = setTimeout(() => this.draw(true), DRAWN_MS);
	},
};

// The inputs that are there, and what each should have.
function* wanted({ system_prompt, thinking, tools, ...numbers }) {
	yield [document.querySelector("#system-prompt textarea"), inLines(system_prompt)];
	for (const [name, value] of Object.entries(numbers)) yield [document.querySelector(`#${idOf(name)} [type=number]`), String(value)];
	yield [document.querySelector("#thinking input"), thinking];
	for (const box of document.querySelectorAll("#tools input")) yield [box, tools.includes(box.name)];
}

// Whether it had something else. It is given as a visitor would, so that Gradio has it too.
function give(input, value) {
	const isBox = input?.type === "checkbox";
	if (!input || isTyped(input) || (isBox ? input.checked : input.value) === value) return false;
	if (isBox) input.click();
	else {
		input.value = value;
		input.dispatchEvent(new Event("input", { bubbles: true }));
	}
	return true;
}

// What each input has.
const setBy = {
	"system-prompt": (input) => input.value,
	temperature: inRange,
	"top-p": inRange,
	"max-tokens": inRange,
	thinking: (input) => input.checked,
	tools: () => Array.from(document.querySelectorAll("#tools input:checked"), (each) => each.name),
};
const SETTING = Object.keys(setBy).map((id) => `#${id}`).join();
const idOf = (name) => name.replaceAll("_", "-");

// Nothing while a number is being typed.
function inRange(input) {
	const number = Number(input.value);
	return input.value !== "" && number === nearest(input) ? number : undefined;
}

function nearest({ value, min, max, step }) {
	const number = Math.min(max, Math.max(min, value));
	return Number(step) % 1 ? number : Math.round(number);
}

function hearSet(input, valueOf) {
	const { id } = input.closest(SETTING) ?? {};
	const value = id && !settings.isDrawing ? (valueOf ?? setBy[id])(input) : undefined;
	if (value !== undefined) settings.set({ [id.replaceAll("-", "_")]: value });
}
let typedNumber = {}; // until it is left
const isTyped = (input) => typedNumber.target === input && typedNumber.generation === screen.generation;
document.addEventListener("input", ({ target }) => {
	if (target.type === "number" && !settings.isDrawing) typedNumber = { target, generation: screen.generation, value: target.value };
	hearSet(target);
});
// A number that is left is put into its range.
document.addEventListener("focusout", ({ target }) => {
	if (!isTyped(target)) return;
	const { value } = typedNumber;
	typedNumber = {};
	hearSet(target, ({ min, max, step }) => nearest({ value, min, max, step }));
	settings.draw();
});
// Gradio changes what these have after the browser has told of them: Enter ticks a box, and a number goes back to its
// beginning.
document.addEventListener("keydown", ({ target, key }) => key === "Enter" && target.type === "checkbox" && setTimeout(() => hearSet(target), 0));
document.addEventListener("click", ({ target }) => {
	const number = target.closest("#settings .reset-button")?.parentElement.querySelector("[type=number]");
	if (number) setTimeout(() => hearSet(number), 0);
});
// They are made when they are unfolded.
new MutationObserver(() => settings.draw()).observe(document.querySelector("#settings"), { childList: true, subtree: true });

// Whether the list is folded away is the browser's own; a phone's folds by itself.
function keepSidebar(event) {
	if (!event.isTrusted || window.innerWidth <= 768 || !event.target.closest("#sidebar .toggle-button")) return;
	setTimeout(() => keepHere(SIDEBAR, document.querySelector("#sidebar.open") ? null : "folded"), 0);
}
document.addEventListener("click", keepSidebar, true);
if (localStorage.getItem(SIDEBAR) && window.innerWidth > 768) document.querySelector("#sidebar.open .toggle-button")?.click();

function keepHere(name, value) {
	try {
		if (value === null) localStorage.removeItem(name);
		else localStorage.setItem(name, value);
	} catch {
		// the browser's storage is full: it lasts as long as the page
	}
}

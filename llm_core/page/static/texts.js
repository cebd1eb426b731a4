// What the page says, in the reader's language: the tables are in llm_core/texts/, and what one has not is English.
const { language, table } = window.pageTexts;
// Numbers and dates as in the reader's country, where the page speaks the language of it.
const locale = navigator.language.split("-")[0] === language.split("-")[0] ? navigator.language : language;
const plurals = new Intl.PluralRules(locale);

// A text of the tables; `count` decides which plural it is.
function t(key, values = {}) {
	const forms = table[key] ?? ENGLISH[key];
	const form = typeof forms === "string" ? forms : (forms[plurals.select(values.count)] ?? forms.other);
	return form.replace(/\{(\w+)\}/g, (_, name) => valueInWords(name, values[name]));
}

function valueInWords(name, value) {
	if (typeof value !== "number") return value;
	if (name === "time") return timeInWords(value);
	if (name === "size") return sizeInWords(value);
	if (name === "percent") return value.toLocaleString(locale, { style: "percent" });
	return value.toLocaleString(locale);
}

// A duration with no more digits than matter.
function timeInWords(seconds) {
	const rounded = (number, digits) => number.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
	if (seconds < 60) return t("units.seconds", { count: rounded(seconds, seconds < 0.095 ? 2 : seconds < 9.95 && seconds % 1 ? 1 : 0) });
	if (seconds < 5400) return t("units.minutes", { count: Math.round(seconds / 60) });
	return t("units.hours", { count: Math.round(seconds / 3600) });
}

function sizeInWords(bytes) {
	const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
	let size = bytes;
	while (size >= 1000 && units.length > 1) {
		size /= 1000;
		units.shift();
	}
	const digits = units[0] === "byte" ? 0 : 1;
	return size.toLocaleString(locale, { style: "unit", unit: units[0], minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// What the server tells: a text as it is, or one of the tables. What it says in English itself is more exact there.
function tell(told) {
	if (typeof told === "string") return told;
	const isEnglish = language === "en" || !(told.key in ENGLISH);
	return told.english && isEnglish ? told.english : t(told.key, told.values);
}
const tellAll = (texts) => texts.map(tell).filter(Boolean).join(" · ");

// Why something was not done: by the code of the refusal, where the tables have it.
function refusal(answer) {
	if (answer?.refused === undefined) return UNREACHABLE;
	return tell({ key: `errors.${answer.code}`, english: answer.refused });
}

// A reply as the server sends it, for Gradio to draw.
function inWords(reply) {
	return reply.map((message) => {
		const { log, title, called, ...more } = message.metadata;
		const metadata = { ...more };
		if (log !== undefined) metadata.log = tellAll(log);
		if (title !== undefined) metadata.title = tell(title);
		return { ...message, metadata, content: called ? [{ type: "text", text: callInWords(called) }] : message.content };
	});
}

const turnInWords = (turn) => ({ ...turn, reply: inWords(turn.reply) });

function callInWords({ arguments: given, result, failed }) {
	const parts = [t("steps.called_with"), given];
	if (result !== null) parts.push(t(failed ? "steps.failed" : "steps.result"), result);
	return parts.join("\n\n");
}

// The head of the page comes from the server, again and again while the model is loaded.
function drawHeader() {
	for (const said of document.querySelectorAll("#header [data-told]")) {
		const text = tell(JSON.parse(said.dataset.told));
		if (said.textContent !== text) said.textContent = text;
	}
}
new MutationObserver(drawHeader).observe(document.querySelector("#header"), { childList: true, subtree: true });
drawHeader();
document.title = t("widgets.title");

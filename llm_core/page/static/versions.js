// ‹ 2/3 ›: at a message that was edited, and at a reply that was made again. What stood there before is one press away.
const versions = {
	draw() {
		const groups = inRows(drawing.seen.turns);
		this.fill("user", withQuestion(drawing.seen.turns).map((turn) => turn.questions), "message");
		this.fill("bot", groups.map(([turn]) => turn.replies), "reply");
	},
	fill(kind, found, noun) {
		document.querySelectorAll(`#chat .message-row.${kind}-row`).forEach((row, place) => {
			const of = found[place];
			let shown = row.querySelector(":scope > .versions");
			if (!of) {
				shown?.remove();
				return;
			}
			if (!shown) row.append((shown = this.make(noun)));
			this.set(shown, of);
		});
	},
	make(noun) {
		const shown = part("div", "versions");
		shown.setAttribute("role", "group");
		shown.setAttribute("aria-label", t(`versions.of_${noun}`));
		const count = part("span", "count");
		count.setAttribute("aria-live", "polite");
		shown.append(this.button(shown, "before", "‹", t(`versions.earlier_${noun}`)), count);
		shown.append(this.button(shown, "after", "›", t(`versions.later_${noun}`)));
		return shown;
	},
	button(shown, which, sign, label) {
		const made = button(which, sign, label);
		made.addEventListener("click", () => shown.of[which] && chatScreen.choose(shown.of[which]));
		return made;
	},
	// The buttons stay, so that who steps by keyboard stays on them.
	set(shown, of) {
		shown.of = of;
		const [before, count, after] = shown.children;
		const text = `${of.at}/${of.of}`;
		if (count.textContent !== text) {
			count.textContent = text;
			count.setAttribute("aria-label", t("versions.nth", { at: of.at, of: of.of }));
		}
		for (const made of [before, after]) {
			if (of[made.className]) made.removeAttribute("aria-disabled");
			else made.setAttribute("aria-disabled", "true");
		}
	},
};

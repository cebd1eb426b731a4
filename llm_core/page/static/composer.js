// How files come into the message box: by its button, dropped on the page, or pasted. The server makes text of them.
const LONG_PASTE = 4000; // characters; what is pasted and longer becomes a file

const composer = {
	button: button("attach", "", t("attachments.attach")),
	input: document.createElement("input"),
	cover: part("div", "drop", t("attachments.drop")),

	add(files) {
		const { conversation } = screen;
		for (const file of files) {
			if (attached.files.length + attached.readingHere().length >= props.attachments.files) notice(tooMany());
			else if (file.size > props.attachments.bytes) notice(t("attachments.too_large", { name: file.name, size: props.attachments.bytes }));
			else this.read(conversation, file);
		}
	},
	async read(conversation, file) {
		const pending = { conversation, name: file.name };
		attached.reading.push(pending);
		attached.draw();
		const answer = await this.ask(file);
		attached.reading.splice(attached.reading.indexOf(pending), 1);
		if (answer?.attachment) this.take(conversation, { ...answer.attachment, tokens: answer.is_estimate ? undefined : answer.tokens });
		else notice(answer?.error?.message ?? (link.state === "signed out" ? SIGNED_OUT : UNREACHABLE));
		attached.draw();
	},
	// Who has gone to another conversation meanwhile finds it in the box of the one that it was for.
	take(conversation, file) {
		if (conversation === screen.conversation) attached.add(file);
		else drafts.change(conversation, { files: [...(drafts.of(conversation).files ?? []), file] });
	},
	// What the server says of a file; undefined where it says nothing.
	async ask(file) {
		let data;
		try {
			data = await file.arrayBuffer();
		} catch {
			return { error: { message: t("attachments.unreadable", { name: file.name }) } };
		}
		const address = new URL("api/llm/attachments", document.baseURI);
		address.searchParams.set("name", file.name.slice(-200));
		if (screen.model) address.searchParams.set("model", screen.model);
		try {
			const headers = { "Content-Type": "application/octet-stream" };
			const answer = await fetch(address, { method: "POST", body: data, headers });
			if (answer.status !== 401) return await answer.json();
		} catch {
			// as where it says nothing
		}
		await link.lookWhy();
		return undefined;
	},
	paste(event) {
		const { files } = event.clipboardData;
		const text = event.clipboardData.getData("text/plain");
		if (files.length && !text) {
			event.preventDefault();
			this.add([...files]);
		} else if (text.length > LONG_PASTE && text.length <= props.attachments.chars) {
			const nth = attached.files.filter(({ pasted }) => pasted).length + 1;
			const name = `${t("attachments.pasted")}${nth > 1 ? ` ${nth}` : ""}.txt`;
			if (attached.add({ name, media_type: "text/plain", text, pasted: true })) event.preventDefault();
		}
	},
	draw() {
		const place = document.querySelector("#message .input-container");
		if (place && this.button.parentElement !== place) place.prepend(this.button);
	},
};

composer.input.id = "attach-files";
composer.input.type = "file";
composer.input.multiple = composer.input.hidden = true;
composer.input.addEventListener("change", () => {
	composer.add([...composer.input.files]);
	composer.input.value = "";
});
composer.button.addEventListener("click", () => composer.input.click());
composer.cover.setAttribute("aria-hidden", "true");
document.querySelector(".gradio-container").append(composer.cover, composer.input);
window.addEventListener("paste", (event) => event.target === box.area && composer.paste(event), true);

// Files may be dropped anywhere. Left to the browser, one would take the page's place.
function whenDragged(name, does) {
	window.addEventListener(name, (event) => event.dataTransfer?.types.includes("Files") && does(event), true);
}
whenDragged("dragover", (event) => {
	event.preventDefault();
	composer.cover.classList.add("over");
});
whenDragged("dragleave", (event) => event.relatedTarget || composer.cover.classList.remove("over"));
whenDragged("drop", (event) => {
	event.preventDefault();
	composer.cover.classList.remove("over");
	composer.add([...event.dataTransfer.files]);
});

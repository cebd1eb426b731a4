// Puts the quiet line of each reply under it. The line travels in the message's metadata ("log", and its kind in "id"),
// which Gradio keeps with the conversation but does not show; so it is never part of what is copied or sent back.
(messages) => {
	const replies = [];
	let role = null;
	for (const message of messages ?? []) {
		if (message.role === "assistant") {
			if (role === "assistant") replies.pop();
			replies.push(message.metadata ?? {});
		}
		role = message.role;
	}
	// Gradio draws the new messages in the same turn of the event loop that calls this.
	requestAnimationFrame(() => {
		document.querySelectorAll("#chat .message-row.bot-row").forEach((row, index) => {
			const { log = "", id = "" } = replies[index] ?? {};
			let line = row.querySelector(":scope > .reply-line");
			if (!line) {
				line = document.createElement("p");
				row.append(line);
			}
			const failed = id === "failed" || id === "refused";
			line.className = `reply-line ${failed ? "failed" : id}`;
			line.setAttribute("role", failed ? "alert" : "status");
			if (line.textContent !== log) line.textContent = log;
		});
	});
}

// Files that the visitor keeps or opens. None of it leaves the machine: a file is made in the browser of what the server
// has answered, and what is in one goes to the server as text.
const MAX_REQUEST_BYTES = 4_000_000; // for a text in a request, with room for what goes with it (MAX_BODY_BYTES, server/server.py)

function saveFile(name, text, type = "application/json") {
	const link = document.createElement("a");
	link.href = URL.createObjectURL(new Blob([text], { type }));
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A title as the name of a file, on any system.
function fileName(title, ending) {
	const kept = title.replace(/[^\p{L}\p{N} ._-]+/gu, "-").replace(/^[ .]+|[ .]+$/g, "").slice(0, 80);
	return `${kept || "file"}.${ending}`;
}

// What a text takes of a request.
const bytesInRequest = (text) => new Blob([JSON.stringify(text)]).size;
const tooLarge = (size = MAX_REQUEST_BYTES) => t("files.too_large", { size });

// A button that has the visitor choose a file, and gives its text, or why it cannot be read.
function fileButton(kind, text, accept, take, most = MAX_REQUEST_BYTES) {
	const input = document.createElement("input");
	input.type = "file";
	input.accept = accept;
	input.hidden = true;
	input.setAttribute("aria-label", text);
	input.addEventListener("change", async () => {
		const [file] = input.files;
		input.value = "";
		if (!file) return;
		if (file.size > most) take(null, tooLarge(most));
		else take(await file.text(), "");
	});
	const made = button(kind, text, text);
	made.addEventListener("click", () => input.click());
	made.append(input);
	return made;
}

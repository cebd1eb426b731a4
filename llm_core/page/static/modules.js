// Makes modules of the file that has the text of all. It runs before anything else of the page.
(async () => {
	const base = new URL("./assets/", document.baseURI).href;
	globalThis.gradioAssets = `${base}SCRIPTS`;
	// A link whose kind nobody knows is not fetched, and keeps Gradio's scripts from fetching what it leads to.
	const theme = document.createElement("link");
	theme.rel = "bundled";
	theme.href = new URL("THEME", document.baseURI).href;
	document.head.append(theme);
	const isKnown = HTMLScriptElement.supports?.("importmap");
	const found = isKnown ? await fetch(gradioAssets).catch(() => null) : null;
	const texts = found?.ok ? await found.json() : {};
	if (document.readyState === "loading") await new Promise((go) => document.addEventListener("DOMContentLoaded", go));
	if (!found?.ok) return void import(`${base}ENTRY`);
	const imports = { "gradio/": base };
	for (const [name, text] of Object.entries(texts)) {
		const made = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
		imports[`gradio/${name}`] = imports[base + name] = made;
	}
	const map = document.createElement("script");
	map.type = "importmap";
	map.textContent = JSON.stringify({ imports });
	document.head.append(map);
	// All at once: else each would wait for the one that asks for it.
	for (const name of ["ENTRY", ...Object.keys(texts)]) import(`gradio/${name}`);
})();

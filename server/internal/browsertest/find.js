() => {
	// Finds things on a page the way a person would: by what is written on them. Runs in a world of its own.
	const squeeze = text => (text ?? "").replace(/\s+/g, " ").trim();
	const visible = element => element.getClientRects().length > 0 && element.checkVisibility({ visibilityProperty: true });
	const part = within => {
		if (!within) return document;
		const found = [...document.querySelectorAll(within)];
		return found.find(visible) ?? found[0] ?? null;
	};
	const all = (within, selector) => { const root = part(within); return root ? [...root.querySelectorAll(selector)] : []; };

	const controls = "input:not([type=hidden]), select, textarea";
	const clickable = "a[href], button, summary, input[type=submit], input[type=button], [role=button], [role=tab], [role=radio], label";

	// labels are the names that a control has.
	const labels = element => {
		const by = element.getAttribute("aria-labelledby");
		const names = [...(element.labels ?? [])].map(l => l.textContent);
		if (by) names.push(by.split(/\s+/).map(id => document.getElementById(id)?.textContent).join(" "));
		if (element.ariaLabel) names.push(element.ariaLabel);
		return names.map(squeeze);
	};
	const names = element => {
		const own = element.ariaLabel ? [element.ariaLabel] : [];
		return [...own, squeeze(element.innerText ?? element.textContent), squeeze(element.textContent), element.value ?? "", element.title ?? ""].map(squeeze);
	};

	// named picks the one element of that name: exactly, else by how it begins. It says why there is none.
	const named = (elements, of, name) => {
		const shown = elements.filter(visible);
		for (const like of [n => n === name, n => n.startsWith(name)]) {
			let found = shown.filter(e => of(e).some(n => n && like(n)));
			found = found.filter(e => !found.some(other => other !== e && e.contains(other)));
			if (found.length === 1) return { element: found[0] };
			if (found.length > 1) return { why: `${found.length} are called "${name}"` };
		}
		return { why: `none of these is called "${name}": ` + shown.map(e => squeeze(of(e)[0] ?? "").slice(0, 40)).join(" | ") };
	};
	const chosen = (within, where, selector, of) => {
		if (where.startsWith("css:")) {
			const found = all(within, where.slice(4)).filter(visible);
			return found.length === 1 ? { element: found[0] } : { why: `${found.length} visible elements match ${where}` };
		}
		return named(all(within, selector), of, where);
	};

	const outline = e => e ? `<${e.localName}${e.id ? "#" + e.id : ""}> ${squeeze(labels(e)[0] ?? e.textContent).slice(0, 50)}` : "nothing";
	const ring = e => [e, e.nextElementSibling, e.parentElement, ...(e.labels ?? [])].filter(Boolean).map(x => { const s = getComputedStyle(x);
		return [s.outlineStyle === "none" || parseFloat(s.outlineWidth) === 0 ? "" : s.outline, s.boxShadow].join(); }).join(";");

	return {
		// point is where a click hits the element, once nothing moves it or lies over it.
		async point(within, where) {
			const { element, why } = chosen(within, where, clickable, names);
			if (!element) return { why };
			if (element.matches(":disabled")) return { why: `${where} is disabled` };
			element.scrollIntoView({ block: "center", inline: "nearest", behavior: "instant" });
			const box = () => { const r = element.getClientRects()[0]; return r ? { x: r.x + r.width / 2, y: r.y + r.height / 2 } : null; };
			const at = box();
			if (!at) return { why: `${where} has no place` };
			const top = document.elementFromPoint(at.x, at.y);
			if (!top || !(element.contains(top) || top.contains(element) && top.closest("label, a, button, summary") === element))
				return { why: `${where} is covered by ${top?.outerHTML.slice(0, 120)}` };
			return at;
		},
		// focus gives a field the keyboard, with all that is in it selected.
		focus(within, where) {
			const { element, why } = chosen(within, where, controls, labels);
			if (!element) return { why };
			if (element.matches(":disabled")) return { why: `${where} is disabled` };
			element.scrollIntoView({ block: "center", behavior: "instant" });
			element.focus();
			element.select?.();
			return { kind: element.localName + ":" + (element.type ?? ""), filled: (element.value ?? "") !== "" };
		},
		value(within, where) {
			const { element, why } = chosen(within, where, controls, labels);
			if (!element) return { why };
			return { value: element.type === "checkbox" || element.type === "radio" ? String(element.checked) : element.value };
		},
		choose(within, where, option) {
			const { element, why } = chosen(within, where, controls, labels);
			if (!element) return { why };
			const found = [...element.options ?? []].find(o => squeeze(o.textContent) === option || o.value === option);
			if (!found) return { why: `${where} has no option "${option}"` };
			element.focus();
			element.value = found.value;
			element.dispatchEvent(new Event("input", { bubbles: true }));
			element.dispatchEvent(new Event("change", { bubbles: true }));
			return { value: found.value };
		},
		text(within) {
			const root = part(within);
			if (!root) return { why: `nothing matches ${within}` };
			return { value: (root === document ? document.body : root)?.innerText ?? "" };
		},
		// begin lists the controls that Tab should reach, and moves the keyboard above the first. Of a group of radio
		// buttons it reaches one.
		begin() {
			const radios = new Map();
			const reachable = [...document.querySelectorAll("a[href], area[href], button, input, select, textarea, summary, iframe, audio[controls], video[controls], [tabindex]")]
				.filter(e => e.tabIndex >= 0 && !e.matches(":disabled, [type=hidden]") && visible(e) && !e.closest("[inert]"))
				.filter(e => e.localName !== "summary" || e === e.parentElement.querySelector(":scope > summary"));
			for (const r of reachable) if (r.type === "radio" && (r.checked || !radios.has(r.form?.id + r.name))) radios.set(r.form?.id + r.name, r);
			globalThis.reachable = reachable.filter(e => e.type !== "radio" || radios.get(e.form?.id + e.name) === e);
			const top = document.documentElement;
			top.tabIndex = -1;
			top.focus({ preventScroll: true });
			top.removeAttribute("tabindex");
			globalThis.resting = globalThis.reachable.map(ring);
			return globalThis.reachable.map(outline);
		},
		// focused tells which of them has the keyboard, and whether its ring, or that of what stands for it, is other
		// than at rest.
		focused() {
			const element = document.activeElement;
			const index = globalThis.reachable.indexOf(element);
			const parts = ["date", "time", "datetime-local", "month", "week"].includes(element.type);
			return { index, parts, name: outline(element), visible: index >= 0 && ring(element) !== globalThis.resting[index] };
		},
		count(within, selector) { return all(within, selector).filter(visible).length; },
		attribute(within, selector, name) {
			const found = all(within, selector)[0];
			return found ? { value: found.getAttribute(name) ?? "" } : { why: `nothing matches ${selector}` };
		},
	};
}

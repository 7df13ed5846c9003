/** The settings of the next conversation: shown, kept for the next visit, checked, and handed over. */

import * as api from "../api.js";
import { element } from "../dom.js";
import { offer, size } from "./choices.js";

const KEY = "pymoshi.setup";
const OWN = "own words"; // the persona that is the user's own words
const NOBODY = "nobody"; // the one that is no prompt at all
const STANDARD = "teacher"; // the one that the server takes where none is asked for
const NUMBERS = ["temperature", "text_temperature", "top_k", "text_top_k", "context", "seed"];

/** @typedef {"browser" | "machine"} Mode */

export class Setup {
    #form = element("setup-form", HTMLFormElement);
    #role = element("role", HTMLDivElement);
    #prompt = element("prompt-field", HTMLLabelElement);
    #preview = element("preview", HTMLButtonElement);
    #hint = element("model-hint", HTMLParagraphElement);
    #audio = new Audio();
    /** @type {api.Settings} */
    #defaults = {};
    /** @type {api.Model[]} */
    #models = [];
    /** @type {api.Voice[]} */
    #voices = [];
    /** @type {api.Persona[]} */
    #personas = [];
    /** @type {Record<string, string | boolean>} */
    #kept = stored();
    #served = "";

    constructor() {
        this.#form.addEventListener("change", (event) => void this.#changed(event));
        this.#form.addEventListener("input", (event) => unmark(event.target));
        this.#form.addEventListener("submit", (event) => event.preventDefault());
        this.#form.addEventListener("reset", () => setTimeout(() => void this.#reset()));
        this.#preview.addEventListener("click", () => void this.#listen());
        this.#audio.addEventListener("ended", () => this.#quiet());
        this.#audio.addEventListener("error", () => this.#quiet());
    }

    /**
     * Asks the server what there is. Settings that the server does not know stay as they are.
     * @param {api.Status} status
     */
    async load(status) {
        this.#defaults = status.settings ?? {};
        this.#served = String(this.#defaults.model ?? status.model);
        const [models, personas] = await Promise.all([api.fetchModels(), api.fetchPersonas()]);
        this.#models = models.toSorted((a, b) => Number(b.installed) - Number(a.installed));
        this.#personas = personas;
        this.#restore();
        this.#offerModels();
        await Promise.all([this.#modelChosen(), this.#modeChosen()]);
    }

    /** @returns {Mode} */
    get mode() {
        return this.#radio("browser").checked ? "browser" : "machine";
    }

    set mode(mode) {
        this.#radio(mode).checked = true;
        this.#keep();
        void this.#modeChosen();
    }

    /**
     * @param {boolean} running a conversation is; what is changed counts from the next one
     */
    set running(running) {
        element("setup-note", HTMLParagraphElement).hidden = !running;
    }

    /** @returns {{name: string, reason: string} | null} a number that is none, or out of its bounds */
    get wrong() {
        const input = NUMBERS.map((name) => this.#input(name)).find((candidate) => !candidate.validity.valid);
        return input ? { name: input.name, reason: input.validationMessage } : null;
    }

    /**
     * What to ask the server for. Nothing is said of what was left empty: the server's own values count there.
     * @returns {api.Settings}
     */
    read() {
        /** @type {api.Settings} */
        const settings = { model: this.#select("model").value || undefined, record: this.#input("record").checked };
        for (const name of NUMBERS) {
            if (this.#input(name).value !== "") settings[name] = this.#input(name).valueAsNumber;
        }
        if (!this.#role.hidden) {
            settings.voice = this.#select("voice").value || undefined;
            settings.prompt = this.#promptText();
        }
        if (this.mode === "machine") {
            settings.input_device = this.#select("input_device").value || undefined;
            settings.output_device = this.#select("output_device").value || undefined;
            settings.echo_cancel = this.#input("echo_cancel").checked;
        }
        return settings;
    }

    /**
     * Shows that a setting was not accepted, and goes there.
     * @param {string} name
     * @param {string} reason
     */
    mark(name, reason) {
        const field = this.#form.elements.namedItem(name);
        if (!(field instanceof HTMLElement)) return;
        field.closest("details")?.setAttribute("open", "");
        field.setAttribute("aria-invalid", "true");
        field.title = reason;
        field.focus();
    }

    #restore() {
        for (const [name, value] of Object.entries(this.#kept)) {
            const field = this.#form.elements.namedItem(name);
            if (field instanceof RadioNodeList) field.value = String(value);
            else if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = Boolean(value);
            else if (field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement) field.value = String(value);
        }
        if (!("echo_cancel" in this.#kept)) this.#input("echo_cancel").checked = this.#defaults.echo_cancel !== false;
        if (!("record" in this.#kept)) this.#input("record").checked = this.#defaults.record === true;
        for (const name of NUMBERS) {
            const value = this.#defaults[name];
            this.#input(name).placeholder = typeof value === "number" ? String(value) : "model’s own";
        }
    }

    #offerModels() {
        const choices = this.#models.map((model) => ({
            value: model.name,
            label: `${model.title || model.name} · ${model.name}${model.installed ? "" : ` · ${size(model.size_bytes)}, not here yet`}`,
            disabled: !model.installed && model.name !== this.#served,
        }));
        if (!choices.some((choice) => choice.value === this.#served)) {
            choices.unshift({ value: this.#served, label: this.#served, disabled: false });
        }
        offer(this.#select("model"), choices, String(this.#kept.model ?? this.#served));
    }

    /** @param {Event} event */
    async #changed(event) {
        const name = event.target instanceof HTMLElement ? (event.target.getAttribute("name") ?? "") : "";
        if (name === "model") await this.#modelChosen();
        if (name === "mode") await this.#modeChosen();
        if (name === "voice") this.#offerPreview();
        if (name === "persona") this.#personaChosen();
        this.#keep();
    }

    async #modelChosen() {
        const name = this.#select("model").value;
        const model = this.#models.find((candidate) => candidate.name === name);
        const slow = model?.realtime === false;
        const absent = this.#models.some((candidate) => !candidate.installed);
        this.#hint.hidden = !slow && !absent;
        this.#hint.textContent = slow
            ? "This machine is probably too slow for it to answer in time."
            : "Models that are not here yet are fetched in a terminal: pymoshi pull NAME";
        this.#hint.classList.toggle("serious", slow);

        this.#voices = await api.fetchVoices(name).catch(() => []);
        this.#role.hidden = this.#voices.length === 0; // a model with one voice and one role of its own
        const own = this.#defaults.voice ? `As the server was started: ${this.#defaults.voice}` : "Default";
        const voices = this.#voices.map((voice) => ({ value: voice.name, label: voice.title || voice.name }));
        offer(this.#select("voice"), [{ value: "", label: own }, ...voices], String(this.#kept.voice ?? ""));
        this.#offerPreview();
        const personas = this.#personas.map((persona) => ({ value: persona.name, label: persona.title }));
        const standard = personas.find((persona) => persona.value === STANDARD)?.label ?? "the server’s";
        const served = this.#defaults.prompt ? "As the server was started" : `Default: ${standard}`;
        const ownWords = { value: OWN, label: "My own words" };
        const all = [{ value: "", label: served }, ownWords, { value: NOBODY, label: "Nobody in particular" }, ...personas];
        offer(this.#select("persona"), all, String(this.#kept.persona ?? ""));
        this.#showPrompt();
    }

    async #modeChosen() {
        const devices = element("devices", HTMLDivElement);
        devices.hidden = this.mode !== "machine";
        if (devices.hidden) return;
        const found = await api.fetchDevices().catch(() => ({ inputs: [], outputs: [] }));
        this.#offerDevices("input_device", found.inputs);
        this.#offerDevices("output_device", found.outputs);
    }

    /**
     * @param {"input_device" | "output_device"} name
     * @param {api.Device[]} devices
     */
    #offerDevices(name, devices) {
        const own = devices.find((device) => device.default);
        const first = { value: "", label: own ? `Default: ${own.name}` : "Default" };
        const names = [...new Set(devices.map((device) => device.name))];
        offer(this.#select(name), [first, ...names.map((value) => ({ value, label: value }))], String(this.#kept[name] ?? ""));
    }

    #personaChosen() {
        const persona = this.#personas.find((candidate) => candidate.name === this.#select("persona").value);
        if (persona?.voice && this.#voices.some((voice) => voice.name === persona.voice)) {
            this.#select("voice").value = persona.voice;
            this.#offerPreview();
        }
        this.#showPrompt();
    }

    /** A preset's words can be read, and become one's own when they are changed. */
    #showPrompt() {
        const chosen = this.#select("persona").value;
        const persona = this.#personas.find((candidate) => candidate.name === chosen);
        this.#prompt.hidden = chosen === "" || chosen === NOBODY;
        const area = this.#area();
        area.readOnly = chosen !== OWN;
        if (persona) area.value = persona.prompt;
        else if (chosen === OWN) area.value = String(this.#kept.own ?? area.value);
    }

    /** @returns {string | undefined} */
    #promptText() {
        const persona = this.#select("persona").value;
        if (persona === "") return undefined;
        return persona === NOBODY ? "" : this.#area().value.trim();
    }

    #offerPreview() {
        this.#quiet();
        const voice = this.#voices.find((candidate) => candidate.name === this.#select("voice").value);
        this.#preview.hidden = !voice?.preview;
        this.#preview.dataset.url = voice?.preview ?? "";
    }

    async #listen() {
        if (!this.#audio.paused) return this.#quiet();
        this.#audio.src = this.#preview.dataset.url ?? "";
        this.#preview.textContent = "Stop";
        await this.#audio.play().catch(() => this.#quiet());
    }

    #quiet() {
        this.#audio.pause();
        this.#preview.textContent = "Listen";
    }

    #keep() {
        if (this.#select("persona").value === OWN) this.#kept.own = this.#area().value;
        for (const field of this.#form.elements) {
            if (field instanceof HTMLInputElement && field.type === "radio") {
                if (field.checked) this.#kept[field.name] = field.value;
            } else if (field instanceof HTMLInputElement && field.type === "checkbox") this.#kept[field.name] = field.checked;
            else if (field instanceof HTMLInputElement) this.#kept[field.name] = field.value;
            else if (field instanceof HTMLSelectElement && field.options.length > 0) this.#kept[field.name] = field.value;
        }
        try {
            localStorage.setItem(KEY, JSON.stringify(this.#kept));
        } catch {
            // no storage for this page: the settings last until it is closed
        }
    }

    async #reset() {
        this.#kept = {};
        this.#restore();
        this.#offerModels();
        await Promise.all([this.#modelChosen(), this.#modeChosen()]);
        this.#keep();
    }

    /** @param {string} value */
    #radio(value) {
        const found = this.#form.querySelector(`input[name=mode][value=${value}]`);
        return /** @type {HTMLInputElement} */ (found);
    }

    /** @param {string} name */
    #input(name) {
        return /** @type {HTMLInputElement} */ (this.#form.elements.namedItem(name));
    }

    /** @param {string} name */
    #select(name) {
        return /** @type {HTMLSelectElement} */ (this.#form.elements.namedItem(name));
    }

    #area() {
        return /** @type {HTMLTextAreaElement} */ (this.#form.elements.namedItem("prompt"));
    }
}

/** @param {EventTarget | null} target a field that is being changed */
function unmark(target) {
    if (!(target instanceof HTMLElement) || !target.hasAttribute("aria-invalid")) return;
    target.removeAttribute("aria-invalid");
    target.title = "";
}

/** @returns {Record<string, string | boolean>} */
function stored() {
    try {
        const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
        return typeof kept === "object" && kept !== null ? kept : {};
    } catch {
        return {};
    }
}

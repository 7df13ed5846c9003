/** What the server has to say, the newest at the end. */

import { create, element } from "../dom.js";
import { isAtEnd, scrollToEnd } from "./scroll.js";

const MOST = 500; // lines

export class Log {
    #list = element("log-lines", HTMLOListElement);
    #empty = element("log-empty", HTMLParagraphElement);
    #panel = element("log", HTMLDivElement);

    /**
     * @param {string} level
     * @param {string} text
     * @param {number} [time] seconds since 1970
     */
    add(level, text, time = Date.now() / 1000) {
        const stays = isAtEnd(this.#panel);
        const row = create("li", `log-line ${/^(warning|error|critical)$/i.test(level) ? "serious" : ""}`);
        row.append(
            create("time", "", new Date(time * 1000).toLocaleTimeString([], { hour12: false })),
            create("span", "log-level", level.toLowerCase()),
            create("span", "log-text", text),
        );
        this.#list.append(row);
        while (this.#list.childElementCount > MOST) this.#list.firstElementChild?.remove();
        this.#empty.hidden = true;
        if (stays) scrollToEnd(this.#panel);
    }
}

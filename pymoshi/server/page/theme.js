/** Light, dark, or as the system has it. No module: it runs before the page is painted. */
{
    const NAMES = /** @type {const} */ (["automatic", "light", "dark"]);
    const KEY = "pymoshi.theme";

    const stored = () => {
        try {
            return NAMES.find((name) => name === localStorage.getItem(KEY)) ?? "automatic";
        } catch {
            return "automatic"; // no storage for this page
        }
    };

    /** @param {string} name */
    const apply = (name) => {
        document.documentElement.dataset.theme = name;
        const label = document.getElementById("theme-name");
        if (label) label.textContent = name;
        dispatchEvent(new Event("themechange"));
    };

    let theme = stored();
    apply(theme);
    document.addEventListener("DOMContentLoaded", () => {
        apply(theme);
        document.getElementById("theme")?.addEventListener("click", () => {
            theme = NAMES[(NAMES.indexOf(theme) + 1) % NAMES.length];
            try {
                localStorage.setItem(KEY, theme);
            } catch {
                // it holds until the page is closed
            }
            apply(theme);
        });
    });
}

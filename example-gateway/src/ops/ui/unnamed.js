// Clients that name no session, and what would hold them.

import { plural } from "./format.js";

export function showUnnamed(list, clients) {
  list.hidden = clients.length === 0;
  list.replaceChildren(...clients.map(({ client, requests, advice }) => {
    const item = document.createElement("li");
    const name = document.createElement("strong");
    name.textContent = client;
    item.append(name, ` names no session (${plural(requests, "request")}), so each of its requests is routed anew: ${advice}.`);
    return item;
  }));
}

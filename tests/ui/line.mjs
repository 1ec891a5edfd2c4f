// A line to a server that can be cut and mended.

import net from "node:net";

export async function lineTo(url) {
  const { hostname: host, port } = new URL(url);
  const open = new Set();
  let whole = true;
  const server = net.createServer((near) => {
    if (!whole) return near.destroy();
    const far = net.connect({ host, port });
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.on("error", () => {}).on("close", () => { open.delete(one); other.destroy(); }).pipe(other);
    }
    return undefined;
  });
  await new Promise((resolve) => { server.listen(0, "127.0.0.1", resolve); });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut: () => { whole = false; open.forEach((socket) => socket.destroy()); },
    mend: () => { whole = true; },
    close: () => { server.close(); open.forEach((socket) => socket.destroy()); },
  };
}
